"""Handing over: what the cluster is told, and that no job is lost or left, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from submitting import Run, contents, tune

from cpivae.cli.tune_command import parse_tune
from cpivae.cluster.handed_over import jobs_of


@pytest.fixture
def to_ray(here: Path) -> tuple[object, ...]:
    """Tables and settings in a folder that is shipped."""
    (here / "tables").mkdir()
    for table in ("a.csv", "b.csv"):
        (here / table).rename(here / "tables" / table)
    ids = [line.partition(",")[0] for line in (here / "tables" / "a.csv").read_text().splitlines()[1:]]
    (here / "tables" / "s.csv").write_text("id,group\n" + "".join(f"{i},{i}\n" for i in ids))
    (here / "tables" / "config.yaml").write_text("data: {samples_table: tables/s.csv, groups: group}\n")
    named = ("--config", "tables/config.yaml", "--search_space", "joint_vae", "--platform_a", "tables/a.csv")
    return ("--", "tune", *named, "--platform_b", "tables/b.csv", "--no_check")


def test_what_is_shipped_is_named_as_it_is_there_and_results_are_not_kept_in_it(
    here: Path, run: Run, to_ray: tuple[object, ...]
) -> None:
    ray = ("submit", "ray", "--dry_run", "--address", "http://127.0.0.1:9")
    line, *_ = run(*ray, "--working_dir", "tables", *to_ray, status=0).splitlines()
    assert f"--output_dir {here / 'outputs_tune'} " in line, "without it they would be in the copy"
    assert "--set 'data.samples_table=\"s.csv\"'" in line
    assert "--config config.yaml" in line
    assert f"{here}/tables" not in line
    assert "results would be lost" in run(*ray, "--working_dir", ".", *to_ray)
    line, *_ = run(*ray, *to_ray, status=0).splitlines()
    assert f"--set 'data.samples_table=\"{here}/tables/s.csv\"'" in line


@pytest.mark.parametrize("name", ["date=2024", "a: b", "x #1", '"x"', "𠀀"])
def test_the_table_of_the_samples_may_have_any_name(
    here: Path, run: Run, to_ray: tuple[object, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "tables").rename(here / name)
    config = here / name / "config.yaml"
    config.write_text(config.read_text().replace("tables/s.csv", json.dumps(f"{name}/s.csv", ensure_ascii=False)))
    words = [str(word).replace("tables/", f"{name}/") for word in to_ray]
    for shipped in ((), ("--working_dir", name)):
        ray = ("submit", "ray", "--dry_run", "--address", "http://127.0.0.1:9", *shipped)
        given = shlex.split(run(*ray, *words, status=0).splitlines()[0])
        there = parse_tune(given[given.index("tune") : given.index("--resume")])
        monkeypatch.chdir(here / name if shipped else here)
        assert there.options.settings().data.samples_table == here / name / "s.csv"
        monkeypatch.chdir(here)


def test_a_job_that_could_not_be_recorded_is_not_handed_over(
    run: Run, to_ray: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("cpivae.cluster.ray_jobs._asking", lambda address: asked.append(address))
    said = run("submit", "ray", "--address", "http://127.0.0.1:9", *to_ray, "--output_dir", "/proc/nowhere")
    assert "/proc/nowhere" in said
    assert asked == []


def test_a_cluster_that_does_not_answer_leaves_nothing(here: Path, run: Run, to_ray: tuple[object, ...]) -> None:
    before = contents(here)
    said = run("submit", "ray", "--address", "http://127.0.0.1:9", *to_ray)
    assert "http://127.0.0.1:9 does not do what it is asked" in said
    assert contents(here) == before


SBATCH = """#!/bin/bash
touch begun
sleep 1
echo 7
"""


def test_an_answer_without_a_number_is_told_and_nothing_is_removed(here: Path, run: Run) -> None:
    (here / "bin").mkdir()
    (here / "bin" / "sbatch").write_text("#!/bin/sh\necho thank you\n")
    (here / "bin" / "sbatch").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(here / "bin"), prepend=":")
        said = run("submit", "slurm", "--shared", "/", *tune())
        assert "sbatch has answered 'thank you', which has no line with the number of a job. Look with squeue" in said
        assert (here / "outputs_tune" / "joint_vae_study" / "cluster" / "job.sh").exists()
        (here / "bin" / "sbatch").write_text("#!/bin/sh\necho 'your balance: 3 hours'\necho '12;lab'\n")
        assert "job 12 is handed over" in run("submit", "slurm", "--shared", "/", *tune(), status=0)


@pytest.mark.parametrize(
    ("said", "stays"),
    [("Invalid account", False), ("Batch job submission failed: Socket timed out on send/recv operation", True)],
)
def test_what_may_have_been_taken_keeps_its_folder(
    here: Path, run: Run, said: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "bin").mkdir()
    (here / "bin" / "sbatch").write_text(f"#!/bin/sh\necho 'sbatch: error: {said}' >&2\nexit 1\n")
    (here / "bin" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(here / "bin"), prepend=":")
    assert said in run("submit", "slurm", "--shared", "/", *tune())
    assert (here / "outputs_tune").exists() == stays


def test_a_job_is_recorded_whoever_interrupts_meanwhile(here: Path) -> None:
    (here / "bin").mkdir()
    line = "main*|up|infinite|n/a|1-infinite|UNLIMITED|2|64|64000|(null)"
    for name, text in {"sbatch": SBATCH, "sinfo": f"#!/bin/bash\necho '{line}'\n"}.items():
        (here / "bin" / name).write_text(text)
        (here / "bin" / name).chmod(0o755)
    command = [sys.executable, "-m", "cpivae", *map(str, ("submit", "slurm", "--shared", "/", *tune()))]
    env = os.environ | {"PATH": f"{here / 'bin'}:{os.environ['PATH']}"}
    submitting = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    while not (here / "begun").exists():
        assert submitting.poll() is None
        time.sleep(0.02)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.killpg(submitting.pid, number)  # as a terminal does
    said, _ = submitting.communicate(timeout=60)
    assert "job 7 is handed over" in said
    assert jobs_of(here / "outputs_tune" / "joint_vae_study")[-1]["job"] == "7"
