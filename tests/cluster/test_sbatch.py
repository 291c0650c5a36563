"""What a real SLURM makes of a script, and what it is asked before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from jobs import Sweep, prepare
from lab import LOGIN, Lab
from test_script import HOSTILE, job, names

from cpivae.cluster.script import batch_script

pytestmark = pytest.mark.slow

WriteTables = Callable[..., None]


def held(lab: Lab, folder: Path, name: str) -> dict[str, str]:
    """Hand over a job that is not to start, and return what SLURM knows of it."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"account": name, "extra": [f"--comment={name}"]}
    script = batch_script(job(name=name, sweep=folder / name, directory=folder, **asked))
    (folder / "job.sh").write_text(script)
    number = lab.run(LOGIN, ["sbatch", "--parsable", "--hold", str(folder / "job.sh")]).stdout.strip()
    # scontrol parts its fields by blanks, so that those at the end of a name cannot be seen there.
    shown = lab.job(number)
    for field, letter in (("JobName", "j"), ("Comment", "k")):
        there = lab.run(LOGIN, ["squeue", "--noheader", f"--format=%{letter}", "--jobs", number]).stdout
        shown[field] = there.removesuffix("\n")
    lab.run(LOGIN, ["scancel", number])
    return shown


@pytest.mark.parametrize("name", ["study", "two words", *HOSTILE])
def test_a_name_means_nothing_to_sbatch(lab: Lab, name: str) -> None:
    folder = lab.shared / "hostile"
    shown = held(lab, folder, name)
    assert (shown["JobName"], shown["Comment"]) == (f"cpivae-{name}", name)
    assert shown["Requeue"] == "1"
    assert not list(folder.rglob("owned"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names)
def test_no_name_changes_what_is_asked_for(lab: Lab, name: str) -> None:
    shown = held(lab, lab.shared / "any", name)
    assert shown["NumNodes"] in ("1", "1-1")
    assert (shown["CPUs/Task"], shown["Requeue"]) == ("4", "1")
    assert (shown["JobName"], shown["Comment"]) == (f"cpivae-{name}", name)


@pytest.fixture
def sweep(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> Sweep:
    return Sweep(lab, prepare(lab.shared / tmp_path.name, write_tables, lab))


def test_what_the_cluster_does_not_have_is_refused_all_at_once_and_nothing_is_left(sweep: Sweep) -> None:
    asked = ("--nodes", 3, "--cpus_per_node", 99, "--gpus_per_node", 8, "--gpu_type", "a100", "--mem_per_node", "900G")
    done = sweep.submit(*asked, "--partition", "mian", check=False)
    assert done.returncode == 2
    assert "there is no partition 'mian'. Did you mean 'main'? There are main" in done.stderr
    done = sweep.submit(*asked, check=False)
    assert done.returncode == 2
    for told in (
        "3 nodes are asked for, and partition main has 2. Lower --nodes",
        "99 CPUs in a node are asked for, and partition main has 4. Lower --cpus_per_node",
        "8 GPUs in a node are asked for, and partition main has 2. Lower --gpus_per_node",
        "921600 MB of memory in a node are asked for, and partition main has 4000. Lower --mem_per_node",
        "there is no GPU 'a100' in partition main: it has none with a name",
    ):
        assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not sweep.folder.path.parent.exists()


def test_a_dry_run_shows_the_script_and_leaves_nothing(sweep: Sweep) -> None:
    done = sweep.submit("--nodes", 2, "--account", "the lab", "--dry_run")
    assert '#SBATCH "--account=the lab"' in done.stdout
    assert f"--output_dir {sweep.home / 'sweeps'}" in done.stdout, "paths are absolute"
    assert "without --dry_run it is handed over" in done.stdout
    assert not sweep.folder.path.parent.exists()


def test_what_sbatch_refuses_is_told_and_nothing_is_left(sweep: Sweep) -> None:
    done = sweep.submit("--sbatch", "--begin=yesterdayish", check=False)
    assert done.returncode == 2
    assert "sbatch refuses: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not sweep.folder.path.exists()


def test_mistakes_of_the_tune_command_are_those_of_tune(sweep: Sweep) -> None:
    sweep.tune = ["--n_trils", 3]
    done = sweep.submit(check=False)
    assert done.returncode == 2
    assert "No such option: --n_trils" in done.stderr
    done = sweep.cpivae("submit", "slurm", "--", "train", "--config", "default", check=False)
    assert done.returncode == 2
    assert "'train' cannot be handed over to a cluster" in done.stderr


def test_a_path_that_nodes_do_not_see_is_refused(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> None:
    sweep = Sweep(lab, prepare(lab.shared / tmp_path.name, write_tables, lab))
    sweep.lab.run(LOGIN, ["cp", "-r", str(sweep.home), "/tmp/mine"])
    done = lab.run(
        LOGIN, [os.sys.executable, "-m", "cpivae", "submit", "slurm", "--", *sweep.command()], check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])}, cwd=Path("/tmp/mine"),
    )  # fmt: skip
    assert done.returncode == 2
    assert "/tmp/mine is in /tmp, which every node has of its own" in done.stderr


def test_a_sweep_without_a_job_says_so(sweep: Sweep) -> None:
    for command in ("status", "logs", "cancel"):
        done = sweep.cpivae("submit", command, sweep.home, check=False)
        assert done.returncode == 2
        assert "no job has been submitted for" in done.stderr
