"""What ``cpivae submit`` refuses, and what it says where nobody answers; no cluster is needed for either."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cpivae.cli.main import main
from cpivae.cli.tune_command import parse_tune
from cpivae.cluster import partitions, slurm_jobs
from cpivae.cluster.handed_over import jobs_of, record_of, remember
from cpivae.config.load import make_config
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal
from cpivae.tuning.ledger import Ledger

WriteTables = Callable[..., None]
Run = Callable[..., str]
PARTITION = partitions.Partition("main", True, True, (partitions.Nodes(2, 64, 64_000, {}),))


@pytest.fixture
def here(tmp_path: Path, write_tables: WriteTables, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tables and a space, on a machine whose SLURM has a partition."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(partitions, "partitions", lambda: [PARTITION])
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text("training.learning_rate: {loguniform: [1e-4, 1e-2]}\n")
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command to its end and return what it says."""

    def end(*words: object, status: int = 2) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert ended.value.code == status, said
        assert "Traceback" not in said.err
        return said.err if status else said.out

    return end


def tune(*more: object, space: str = "space.yaml", config: str = "default") -> list[object]:
    named = ("--config", config, "--search_space", space, "--platform_a", "a.csv", "--platform_b", "b.csv")
    return ["--", "tune", *named, "--no_check", *more]


def contents(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("dry_run", [(), ("--dry_run",)])
@pytest.mark.parametrize("broken", ["x\ny", "x\ry", "x\u2028y"])
def test_a_path_that_does_not_fit_into_a_line_is_refused_with_all_else(
    here: Path, run: Run, dry_run: tuple[str, ...], broken: str
) -> None:
    before = contents(here)
    said = run("submit", "slurm", *dry_run, "--shared", "/", "--nodes", 9, *tune("--output_dir", here / broken))
    assert "has a line break or another control character" in said
    assert repr(broken)[1:-1] in said, "it is shown as text that does not break the message"
    assert "9 nodes are asked for" in said
    assert contents(here) == before


def test_a_machine_without_slurm_is_told_in_a_sentence(
    tmp_path: Path, write_tables: WriteTables, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text("training.learning_rate: {loguniform: [1e-4, 1e-2]}\n")
    said = run("submit", "slurm", "--shared", "/", *tune())
    assert "there is no sinfo here: this machine does not belong to a SLURM cluster. Log in to one of its" in said
    assert not (tmp_path / "outputs_tune").exists()


def test_every_file_that_a_node_reads_must_be_seen_there(here: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spaces", "config", "shared", "samples", "older"):
        (here / name).mkdir()
    for table in ("a.csv", "b.csv"):
        (here / table).rename(here / "shared" / table)
    ids = [line.partition(",")[0] for line in (here / "shared" / "a.csv").read_text().splitlines()[1:]]
    (here / "samples" / "samples.csv").write_text("id,group\n" + "".join(f"{i},{i}\n" for i in ids))
    table = here / "samples" / "samples.csv"
    (here / "config" / "config.yaml").write_text(f"data: {{samples_table: {table}, groups: group}}\n")
    (here / "spaces" / "inner.yaml").write_text("model.latent_dim: {randint: [2, 16]}\n")
    (here / "space.yaml").write_text(
        "extends: [joint_vae]\nwhen: {model.linear_skip: {ridge: {extends: spaces/inner.yaml}}}\n"
    )
    monkeypatch.chdir(here / "shared")
    sweep = ("--output_dir", here / "shared" / "sweeps", "--from_sweep", here / "older")
    words = tune(*sweep, space="../space.yaml", config=str(here / "config" / "config.yaml"))
    said = run("submit", "slurm", "--shared", here / "shared", *words)
    for path in ("space.yaml", "spaces/inner.yaml", "config/config.yaml", "samples/samples.csv", "older"):
        assert f"{here / path} is in /tmp" in said or f"{here / path} looks like this machine's own" in said
    assert f"{here / 'shared'} " not in said
    assert "search_spaces/" not in said, "what comes with the program is wherever the program is"


@pytest.mark.parametrize("command", ["tune", "check"])
def test_nodes_of_no_cluster_are_refused(here: Path, run: Run, command: str) -> None:
    before = contents(here)
    said = run(command, *tune("--nodes", 3)[2:])
    assert "--nodes 3" in said
    assert "--address" in said
    assert contents(here) == before


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


@pytest.mark.parametrize("name", ["date=2024", "a: b", "x #1", '"x"'])
def test_the_table_of_the_samples_may_have_any_name(
    here: Path, run: Run, to_ray: tuple[object, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "tables").rename(here / name)
    config = here / name / "config.yaml"
    config.write_text(config.read_text().replace("tables/s.csv", json.dumps(f"{name}/s.csv")))
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


GONE = {
    "ray": ({"address": "http://127.0.0.1:9"}, "the cluster cannot be asked: http://127.0.0.1:9 does not do what"),
    "slurm": ({}, "the cluster cannot be asked: there is no scontrol here"),
}


@pytest.fixture(params=GONE)
def orphan(here: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepFolder, str]:
    """A sweep in which a trial has ended and another has begun, and what is said of its cluster, which is gone."""
    more, told = GONE[request.param]
    folder = SweepFolder(here / "outputs_tune" / "joint_vae_study")
    folder.create()
    folder.describe(make_config({}, "test"), {})
    with closing(Journal(folder.journal)) as journal:
        ledger = Ledger(folder, folder.goal(), None, journal)
        for number in range(2):
            ledger.propose(number, {}, 0, "base")
            ledger.begin(number)
            ledger.epoch(number, 0, 0.5, 0)
        ledger.end(0, "complete")
    folder.cluster.mkdir()
    (folder.cluster / "job-7.log").write_text("what it printed\n")
    remember(folder.path, request.param, "7", **more)
    monkeypatch.setenv("PATH", "/nowhere")
    return folder, told


def test_the_trials_of_a_sweep_are_told_without_its_cluster(orphan: tuple[SweepFolder, str], run: Run) -> None:
    folder, told = orphan
    said = run("submit", "status", folder.path, status=0)
    assert f"job     7: {told}" in said
    assert "trials  2 of 50: 1 complete, 1 running or interrupted; 2 epochs" in said
    assert "0.5000 (trial 0)" in said


def test_a_job_is_not_ended_without_its_cluster(orphan: tuple[SweepFolder, str], run: Run) -> None:
    folder, told = orphan
    assert f"job 7 of the sweep in {folder.path} cannot be ended, because {told}" in run(
        "submit", "cancel", folder.path
    )


def test_the_log_of_a_slurm_job_is_a_file_whoever_answers(orphan: tuple[SweepFolder, str], run: Run) -> None:
    folder, _ = orphan
    if jobs_of(folder.path)[-1]["cluster"] == "slurm":
        assert run("submit", "logs", "-f", folder.path, status=0) == "what it printed\n"


@pytest.mark.parametrize("other", ["ray", "slurm"])
def test_a_sweep_whose_cluster_is_gone_can_be_handed_to_another(
    orphan: tuple[SweepFolder, str], other: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = orphan
    monkeypatch.setattr("cpivae.cluster.ray_jobs.submit", lambda _: "8")
    monkeypatch.setattr("cpivae.cluster.slurm_jobs.submit", lambda _: 8)
    asked = {"ray": ("--address", "http://127.0.0.1:10"), "slurm": ("--shared", "/")}[other]
    words = ("submit", other, *asked, *tune("--resume"))
    said = run(*words)
    assert f"job 7 may still be running the sweep in {folder.path}, and {told}" in said
    assert f"remove {record_of(folder.path)} and submit again" in said
    record_of(folder.path).unlink()
    assert "job 8 is handed over" in run(*words, status=0)


RUNNING = {
    "JobState": "RUNNING", "NodeList": "n[1-2]", "Restarts": "2", "RunTime": "01:10:00", "TimeLimit": "12:00:00",
}  # fmt: skip
WAITING = {"JobState": "PENDING", "NodeList": "(null)", "Reason": "Priority", "Restarts": "0"}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (WAITING, "pending, waits for Priority"),
        ({}, "running, on n[1-2], restarted 2 times, for 1:10:00, 10:50:00 left"),
        ({"TimeLimit": "UNLIMITED", "Restarts": "0"}, "running, on n[1-2], for 1:10:00"),
        ({"TimeLimit": "365-00:00:00", "Restarts": "0"}, "running, on n[1-2], for 1:10:00"),
        ({"JobState": "FAILED", "ExitCode": "2:0", "Restarts": "0"}, "failed, on n[1-2], exit status 2"),
    ],
    ids=["waits", "limit", "none", "a year", "failed"],
)
def test_a_job_is_told_in_a_line(told: dict[str, str], line: str) -> None:
    assert slurm_jobs._line(RUNNING | told) == line
