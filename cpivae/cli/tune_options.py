"""What describes a sweep on the command line; ``tune`` and ``check`` take the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpivae.cli.options import (
    ConfigFile,
    DropQcWarnings,
    MinDetected,
    PlatformA,
    PlatformB,
    Set,
    Transpose,
    hours,
    load_settings,
    plain_name,
    reading_overrides,
)
from cpivae.errors import CpivaeError
from cpivae.files import is_uri

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.place import Place

SearchSpace = Annotated[str, typer.Option("--search_space", help="What to vary: a YAML file, or a shipped one's name.")]

NoReport = Annotated[bool, typer.Option("--no_report", help="Write no report.html at the end.")]

SWEEPS = Path("outputs_tune")
"""Where sweeps are kept, unless ``--output_dir`` says otherwise."""

_AMOUNT = "NUMBER|auto"
"""Read and checked with the settings."""


OF_READING = ("transpose", "drop_qc_warnings", "min_detected")
"""Options on reading the tables; a run has them as well."""


def absolute(source: str) -> str:
    """Return the whole path of a file, and the name of a shipped one as it is."""
    return str(Path(source).resolve()) if Path(source).is_file() else source


def sweep_folder(output_dir: str, study_name: str = "") -> SweepFolder:
    """Return a sweep's folder, on this machine or, by a URI, on a remote file system."""
    if is_uri(output_dir):
        from cpivae.tuning.mirrored import MirroredFolder
        from cpivae.tuning.remote import Remote

        return MirroredFolder.at(Remote(output_dir) / study_name)
    from cpivae.tuning.folder import SweepFolder

    return SweepFolder(Path(output_dir) / study_name)


def _from_config(key: str) -> str:
    return f"tuning.{key} of the config"


@dataclass(frozen=True)
class TuneOptions:
    """The options of a sweep; those that are also settings take precedence over the config."""

    config: ConfigFile
    platform_a: PlatformA
    platform_b: PlatformB
    output_dir: Annotated[
        str | None,
        typer.Option(
            "--output_dir",
            metavar="DIR",
            help="Where sweeps are kept: a folder, or one of a file system such as s3://bucket/sweeps.",
            show_default=str(SWEEPS),
        ),
    ] = None
    study_name: Annotated[str, typer.Option("--study_name", callback=plain_name, help="Folder of this sweep.")] = (
        "joint_vae_study"
    )
    n_trials: Annotated[
        int | None, typer.Option("--n_trials", min=1, help="Settings to try.", show_default=_from_config("n_trials"))
    ] = None
    max_epochs: Annotated[
        int | None,
        typer.Option("--max_epochs", min=1, help="Epochs of a trial at most.", show_default=_from_config("max_epochs")),
    ] = None
    metric: Annotated[
        str | None, typer.Option("--metric", help="What trials are judged by.", show_default=_from_config("metric"))
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Judge a trial by the mean over so many folds.", show_default=_from_config("folds")
        ),
    ] = None
    cpus_per_trial: Annotated[
        str | None,
        typer.Option(
            "--cpus_per_trial",
            metavar=_AMOUNT,
            help="CPUs of a trial; auto: as many as make the sweep shortest.",
            show_default=_from_config("cpus_per_trial"),
        ),
    ] = None
    gpus_per_trial: Annotated[
        str | None,
        typer.Option(
            "--gpus_per_trial",
            metavar=_AMOUNT,
            help="GPUs of a trial, or a part; auto: as many trials on a GPU as fit.",
            show_default=_from_config("gpus_per_trial"),
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option("--max_concurrent", min=1, help="Trials at a time.", show_default=_from_config("max_concurrent")),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the search.", show_default=_from_config("seed"))
    ] = None
    time_budget: Annotated[
        float | None,
        typer.Option(
            "--time_budget",
            parser=hours,
            metavar="DURATION",
            help="End after this long, such as 90m or 2h.",
            show_default=_from_config("time_budget"),
        ),
    ] = None
    gpu_hours: Annotated[
        float | None,
        typer.Option("--gpu_hours", help="End after so many GPU hours.", show_default=_from_config("gpu_hours")),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this sweep where there is one; --n_trials may grow.")
    ] = False
    from_sweep: Annotated[
        Path | None, typer.Option("--from_sweep", help="An older sweep whose trials the sampler learns from.")
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="HOST:PORT", help="Ray cluster to run on.", show_default="this machine alone"
        ),
    ] = None
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, help="With --address: wait until so many nodes have joined.", show_default="1"),
    ] = None
    stage_data: Annotated[
        Path | None,
        typer.Option("--stage_data", metavar="DIR", help="Read the tables from copies in this folder of a quick disk."),
    ] = None
    transpose: Transpose = False
    drop_qc_warnings: DropQcWarnings = False
    min_detected: MinDetected = None
    set: Set = None

    @classmethod
    def of_sweeps(cls) -> list[str]:
        """List the options that a run of ``cpivae train`` does not have, and that nothing is meant by if not given."""
        shared = ("config", "platform_a", "platform_b", "output_dir", "study_name", *OF_READING, "set")
        return [f.name for f in fields(cls) if f.name not in shared]

    @property
    def tables(self) -> dict[str, Path]:
        """The two tables."""
        return {"a": self.platform_a, "b": self.platform_b}

    @property
    def folder(self) -> SweepFolder:
        """The folder of the sweep."""
        return sweep_folder(self.output_dir or str(SWEEPS), self.study_name)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Join the cluster that is named, if one is, and say where trials run.

        Raises
        ------
        CpivaeError
            A number of nodes is given, and no cluster.
        ResourceError
            The cluster cannot be joined.
        """
        if self.nodes is not None and self.address is None:
            raise CpivaeError(
                f"--nodes {self.nodes} waits for nodes of a Ray cluster, and none is named: without --address the "
                "sweep runs on this machine alone. Give --address HOST:PORT as well, or leave --nodes out; cpivae "
                "submit slurm --nodes hands a sweep over to SLURM."
            )
        from cpivae.tuning.place import this_machine
        from cpivae.tuning.ray_environment import set_ray_environment

        if self.address is None:
            yield this_machine()
            return
        set_ray_environment(loopback=False)
        from cpivae.tuning.clusters import joined_ray

        with joined_ray(self.address, self.nodes or 1) as place:
            yield place

    def arguments(self) -> list[str]:
        """Return the options that give these again from any working directory, but for where the sweep runs."""
        words: list[str] = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "output_dir":
                value = value or str(SWEEPS)
            if value is None or value is False or f.name in ("resume", "address", "nodes", "stage_data"):
                continue
            if f.name == "config":
                value = absolute(value)
            elif f.name == "output_dir":
                value = value if is_uri(value) else Path(value).resolve()
            elif f.name == "time_budget":
                value = f"{value:f}h"
            values = value if f.name == "set" else [value.resolve() if isinstance(value, Path) else value]
            for given in values:
                words += [f"--{f.name}"] if given is True else [f"--{f.name}", str(given)]
        return words

    def settings(self, extra: Sequence[str] = ()) -> Config:
        """Return the settings with everything that the options say, and overrides beside them.

        Raises
        ------
        ConfigError
            Settings that cannot be used.
        """
        from cpivae.config.tuning import TuningSettings

        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name in TuningSettings.model_fields}
        options = [f"tuning.{name}={value}" for name, value in given.items() if value is not None]
        # A metric given here brings its own direction, unless --set names one.
        direction = ["tuning.mode=null"] if self.metric is not None else []
        return load_settings(self.config, [*direction, *(self.set or []), *options, *self.reading_overrides(), *extra])

    def reading_overrides(self) -> list[str]:
        """Return what the options on reading tables say, as overrides of settings."""
        return reading_overrides(**{name: getattr(self, name) for name in OF_READING})
