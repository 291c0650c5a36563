"""``--cpus_per_trial auto`` and ``--gpus_per_trial auto`` from the command line to the sweep's folder."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cpivae.cli.main import main
from cpivae.cluster import partitions
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.place import this_machine

TABLES = ("--platform_a", "a.csv", "--platform_b", "b.csv")
SWEEP = ("--config", "default", "--search_space", "smoke", *TABLES)
AUTO = ("--cpus_per_trial", "auto", "--gpus_per_trial", "auto")

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tables: Callable[..., None]) -> None:
    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path)


def cpivae(*words: object) -> str:
    """Run a command in a process of its own, that must end well, and return what it prints."""
    command = [sys.executable, "-m", "cpivae", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_this_process(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.slow
@without_gpu
@pytest.mark.parametrize("more", [(), ("--no_check",)], ids=["checked", "unchecked"])
def test_a_check_says_what_a_trial_would_get(more: tuple[str, ...]) -> None:
    said = cpivae("check", *SWEEP, *AUTO, *more)
    assert "gpus_per_trial: 0, because this machine has none; " in said
    told = re.search(r"^cpus_per_trial: (\d+), because an epoch of the largest .* with 1 thread.*", said, re.MULTILINE)
    assert told is not None, said
    assert 1 <= int(told[1]) <= this_machine().nodes[0].cpus
    assert said.endswith("nothing is wrong with this command\n")
    assert ("the largest configuration (joint_vae" in said) == (not more)
    assert not Path("outputs_tune").exists()


@pytest.mark.slow
@without_gpu
def test_a_sweep_records_numbers_and_the_same_command_goes_on_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    short = ("--max_epochs", "2", "--set", "logging.tensorboard=false")
    assert "cpus_per_trial: " in cpivae("tune", *SWEEP, *AUTO, *short, "--n_trials", 2, "--no_check")
    folder = SweepFolder(Path("outputs_tune/joint_vae_study"))
    first = folder.config().tuning
    assert isinstance(first.cpus_per_trial, float)
    assert first.gpus_per_trial == 0
    assert "auto" not in folder.best_config.read_text().partition("tuning:")[2]
    monkeypatch.setattr("cpivae.tuning.packing.probe", None)
    code = in_this_process("tune", *SWEEP, *AUTO, *short, "--n_trials", "3", "--resume")
    assert code == 0
    assert len(folder.records()) == 3
    assert folder.config().tuning.cpus_per_trial == first.cpus_per_trial


@pytest.mark.slow
def test_a_single_run_does_not_care() -> None:
    said = cpivae("check", "--config", "default", *TABLES, "--set", "tuning.gpus_per_trial=auto")
    assert "the configuration (joint_vae" in said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--cpus_per_trial", "some"), "tuning.cpus_per_trial: must be a number above 0, or auto, got 'some' (text)"),
        (("--cpus_per_trial", "0"), "tuning.cpus_per_trial: must be a number above 0, or auto, got 0"),
        (("--gpus_per_trial", "-0.5"), "tuning.gpus_per_trial: must be a number of at least 0, or auto, got -0.5"),
    ],
)
def test_what_is_neither_a_number_nor_auto(
    given: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_this_process("check", *SWEEP, *given) == 2
    assert told in capsys.readouterr().err


@without_gpu
def test_a_job_measures_for_itself(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_nodes = partitions.Partition("gpu", True, True, (partitions.Nodes(4, 32, 128_000, {"a100": 4}),))
    monkeypatch.setattr(partitions, "partitions", lambda: [gpu_nodes])
    monkeypatch.setattr("cpivae.cluster.storage.not_shared", lambda *_: [])
    job = ("--dry_run", "--nodes", "2", "--gpus_per_node", "4", "--cpus_per_node", "32")
    code = in_this_process("submit", "slurm", *job, "--", "tune", *SWEEP, *AUTO, "--no_check")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "--cpus_per_trial auto --gpus_per_trial auto" in " ".join(said.out.split())
    assert "gpus_per_trial: auto, measured where the trials run; estimates here take it for 1\n" in said.out
    assert "cpus_per_trial: auto, measured where the trials run; estimates here take it for 8\n" in said.out
