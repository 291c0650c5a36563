"""``cpivae submit``: a sweep handed over to a cluster, looked at and ended."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cpivae.cli.options import taking
from cpivae.cli.tune_command import SAMPLES_TABLE, Tune, parse_tune
from cpivae.cli.tune_options import sweep_folder
from cpivae.errors import CpivaeError, PreflightError

if TYPE_CHECKING:
    from cpivae.cluster.script import Job
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.place import Place

app = typer.Typer(help="Run a sweep on a cluster: hand it over, look at it, end it.", no_args_is_help=True)

Sweep = Annotated[str, typer.Argument(metavar="SWEEP_DIR", help="Folder of the sweep.")]
TuneCommand = Annotated[list[str], typer.Argument(metavar="-- tune ...", help="The command line of cpivae tune.")]
RuntimeEnv = Annotated[
    Path | None, typer.Option("--runtime_env", help="What Ray is to install or set there: YAML, Ray's runtime_env.")
]
DryRun = Annotated[bool, typer.Option("--dry_run", help="Show what would be handed over, and what check says of it.")]


def _option(name: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(f"--{name}", help=text, metavar=metavar, show_default=False)


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks of SLURM: :class:`cpivae.config.slurm.SlurmSettings`, which has the defaults."""

    cluster: Annotated[Path | None, _option("cluster", "File of these settings; options go first.")] = None
    nodes: Annotated[int | None, _option("nodes", "Machines.")] = None
    gpus_per_node: Annotated[int | None, _option("gpus_per_node", "GPUs of each.")] = None
    gpu_type: Annotated[str | None, _option("gpu_type", "Kind of GPU, such as a100.")] = None
    cpus_per_node: Annotated[int | None, _option("cpus_per_node", "CPUs of each.")] = None
    mem_per_node: Annotated[str | None, _option("mem_per_node", "Memory of each, such as 64G.")] = None
    time: Annotated[str | None, _option("time", "Time limit of a job, such as 12:00:00.")] = None
    partition: Annotated[str | None, _option("partition", "Partition (queue).")] = None
    account: Annotated[str | None, _option("account", "Account that pays.")] = None
    qos: Annotated[str | None, _option("qos", "Quality of service.")] = None
    constraint: Annotated[str | None, _option("constraint", "Features that nodes must have.")] = None
    modules: Annotated[list[str] | None, _option("module", "Environment module to load; several times.")] = None
    env: Annotated[list[str] | None, _option("env", "Shell line that makes cpivae available; several times.")] = None
    container: Annotated[str | None, _option("container", "What starts a program in a container.")] = None
    extra: Annotated[
        list[str] | None, _option("sbatch", "Another option of sbatch; several times.", "--NAME=VALUE")
    ] = None
    shared: Annotated[list[Path] | None, _option("shared", "Folder that all nodes see; several times.")] = None
    stage_data: Annotated[bool, _option("stage_data", "Copy the tables to the node's own disk first.")] = False
    warn_minutes: Annotated[float | None, _option("warn_minutes", "Stop so long before the limit.")] = None
    max_requeues: Annotated[int | None, _option("max_requeues", "Times it may queue again.")] = None

    def given(self) -> dict[str, Any]:
        """Return what was given."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cluster"}
        if self.container is not None:
            values["container"] = shlex.split(self.container)
        return {name: value for name, value in values.items() if value not in (None, False)}


@app.command()
@taking(SlurmOptions)
def slurm(options: SlurmOptions, command: TuneCommand, dry_run: DryRun = False) -> None:
    """Hand a sweep over to SLURM: checked first, on as many nodes and GPUs as asked, resumed until it is done.

    What the options mean, and their defaults: configs/cluster/slurm.yaml.
    """
    from cpivae.cluster.partitions import partitions, problems_of
    from cpivae.cluster.script import Job, batch_script
    from cpivae.cluster.script import problems_of as unfit_for_a_script
    from cpivae.cluster.slurm import megabytes
    from cpivae.cluster.slurm_jobs import submit
    from cpivae.cluster.submission import require_no_living_job
    from cpivae.config.slurm import load_slurm_settings
    from cpivae.tuning.place import Node, Place

    settings = load_slurm_settings(options.cluster, options.given())
    tune = parse_tune(command)
    folder = tune.options.folder
    if folder.disk is None:
        raise CpivaeError(
            f"the processes of a SLURM job meet in the sweep's folder, and {folder.name} is none of theirs. Give an "
            "--output_dir on a file system that all nodes see."
        )
    sweep = folder.path.resolve()
    in_environment = bool(settings.env or settings.container)
    python = "python" if in_environment else sys.executable
    job = Job(settings, tune.options.study_name, sweep, Path.cwd(), tune.words(), python, _reads(tune))
    unfit = unfit_for_a_script(job)
    problems = problems_of(settings, partitions()) + unfit + _not_shared(job)
    require_no_living_job(sweep)
    memory = None if settings.mem_per_node is None else 2**20 * megabytes(settings.mem_per_node)
    node = Node(settings.cpus_per_node, settings.gpus_per_node, memory)
    place = Place((node,) * settings.nodes, "the job", here=False)
    problems += _checked(tune, place)
    if dry_run and not unfit:
        print(batch_script(job))
    if problems:
        raise PreflightError(problems)
    if dry_run:
        print("nothing is wrong with this command; without --dry_run it is handed over")
        return
    number = submit(job)
    print(f"job {number} is handed over")
    _print_what_to_ask(folder)


@app.command()
def ray(
    command: TuneCommand,
    address: Annotated[str, typer.Option("--address", help="Job interface of the cluster, such as http://head:8265.")],
    working_dir: Annotated[
        Path | None, typer.Option("--working_dir", help="Folder to ship, with the tables and settings in it.")
    ] = None,
    runtime_env: RuntimeEnv = None,
    dry_run: DryRun = False,
) -> None:
    """Hand a sweep over to a Ray cluster that is there already, on whatever it runs."""
    from cpivae.cluster.ray_jobs import Order, submit
    from cpivae.cluster.submission import require_no_living_job
    from cpivae.config.yaml import dump_yaml, read_yaml_mapping

    tune = parse_tune(command)
    folder = tune.options.folder
    sweep = folder.path.resolve()
    shipped = None if working_dir is None else working_dir.resolve()
    words = tune.words() if shipped is None else _inside(tune.words(), shipped, sweep)
    declared = {} if runtime_env is None else read_yaml_mapping(runtime_env)
    order = Order(address, sweep, words, shipped, declared)
    if dry_run:
        print(order.entrypoint)
        print(dump_yaml({"runtime_env": order.environment()}), end="")
        return
    require_no_living_job(sweep)
    name = submit(order)
    print(f"job {name} is handed over")
    _print_what_to_ask(folder)


@app.command()
def recipe(
    kind: Annotated[Literal["kuberay", "aws"], typer.Argument(help="What is to be started.")],
    command: TuneCommand,
    image: Annotated[str, typer.Option("--image", help="Container image with cpivae in it.")],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Machines, or pods, that train.")] = 2,
    cpus_per_worker: Annotated[int, typer.Option("--cpus_per_worker", min=1, help="CPUs of each.")] = 8,
    mem_per_worker: Annotated[str, typer.Option("--mem_per_worker", help="Memory of each.")] = "32Gi",
    gpus_per_worker: Annotated[int, typer.Option("--gpus_per_worker", min=0, help="GPUs of each.")] = 1,
    name: Annotated[str, typer.Option("--name", help="Of the cluster.")] = "cpivae",
    runtime_env: RuntimeEnv = None,
    claim: Annotated[str, typer.Option("--claim", help="kuberay: volume claim of the tables, seen as /data.")] = "",
    secret: Annotated[str, typer.Option("--secret", help="kuberay: secret with a bucket's credentials.")] = "",
    region: Annotated[str, typer.Option("--region", help="aws: where.")] = "us-east-1",
    machine: Annotated[str, typer.Option("--machine", help="aws: type of a worker.")] = "g5.2xlarge",
    head_machine: Annotated[str, typer.Option("--head_machine", help="aws: type of the head.")] = "m6i.xlarge",
) -> None:
    """Print a file that starts a Ray cluster in a cloud and runs the sweep there; paths are those of the cluster."""
    from importlib.metadata import version

    from cpivae.cluster import recipes
    from cpivae.cluster.ray_jobs import Order
    from cpivae.config.yaml import read_yaml_mapping

    tune = parse_tune(command)
    declared = {} if runtime_env is None else read_yaml_mapping(runtime_env)
    folder = tune.options.folder
    kept_by_a_claim = kind == "kuberay" and claim and folder.path.is_relative_to(recipes.DATA)
    if folder.disk is not None and not kept_by_a_claim:
        raise CpivaeError(
            f"{folder.path} would be gone with the cluster. Give an --output_dir that outlives it: a bucket such as "
            f"s3://lab/sweeps{f', or a folder of the claim in {recipes.DATA}' if kind == 'kuberay' else ''}."
        )
    order = Order("", folder.path, tune.words(), None, declared)
    fleet = recipes.Fleet(
        name, image, workers, cpus_per_worker, mem_per_worker, gpus_per_worker, claim, secret, region, machine,
        head_machine,
    )  # fmt: skip
    print({"kuberay": recipes.kuberay, "aws": recipes.aws}[kind](order, fleet, version("ray")), end="")


@app.command()
def status(sweep: Sweep) -> None:
    """Say how a sweep and its job are doing."""
    from cpivae.cluster import submission

    print("\n".join(submission.status(sweep_folder(sweep))))


@app.command()
def logs(
    sweep: Sweep, follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False
) -> None:
    """Print what a sweep's job prints."""
    from cpivae.cluster import submission

    for line in submission.log_lines(sweep_folder(sweep).path.resolve(), follow=follow):
        print(line, end="", flush=True)


@app.command()
def cancel(sweep: Sweep) -> None:
    """End a sweep's job so that it can be gone on with."""
    from cpivae.cluster import submission

    print(submission.cancel(sweep_folder(sweep).path.resolve()))


def _inside(words: list[str], shipped: Path, sweep: Path) -> list[str]:
    """Return a command line whose paths in a shipped folder are relative to it."""
    if sweep.is_relative_to(shipped):
        raise CpivaeError(
            f"the sweep's folder {sweep} lies in {shipped}, of which the cluster gets a copy: results would be lost "
            "with it. Give an --output_dir that all nodes of the cluster see."
        )

    def moved(word: str) -> str:
        name, _, value = word.partition("=")
        if name == SAMPLES_TABLE and value.startswith('"'):
            return f"{name}={json.dumps(moved(json.loads(value)), ensure_ascii=False)}"
        path = Path(word)
        return str(path.relative_to(shipped)) if path.is_absolute() and path.is_relative_to(shipped) else word

    return [moved(word) for word in words]


def _print_what_to_ask(folder: SweepFolder) -> None:
    for question in ("status", "logs -f", "cancel"):
        print(f"  cpivae submit {question} {shlex.quote(folder.name)}")


def _checked(tune: Tune, place: Place) -> list[str]:
    from cpivae.cli.examine import examine

    try:
        examine(tune.options, tune.search_space, tune.options.folder, attempt_steps=not tune.no_check, place=place)
    except PreflightError as error:
        return error.problems
    return []


def _reads(tune: Tune) -> list[Path]:
    from cpivae.config.shipped import shipped_folder

    # What comes with the program is wherever the program is, unless it is named by its path.
    shipped, named = shipped_folder("search_spaces").resolve(), Path(tune.search_space).resolve()
    files = [file.resolve() for file in tune.files()]
    return [file for file in files if file == named or not file.is_relative_to(shipped)]


def _not_shared(job: Job) -> list[str]:
    from cpivae.cluster.storage import not_shared

    files = [*job.reads, job.sweep, job.directory]
    # The folder: the program in a virtual environment is a link to one that every node may have of its own.
    files += [Path(job.python).parent] if Path(job.python).is_absolute() else []
    files += [
        Path(word)
        for word in job.settings.container[1:]
        if os.access(word, os.F_OK) and Path(word).is_absolute() and Path(word).is_file()
    ]
    return not_shared(files, job.settings.shared)
