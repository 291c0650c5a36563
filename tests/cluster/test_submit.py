"""What ``cpivae submit`` refuses, and what it says where nobody answers; no cluster is needed for either."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from submitting import Run, WriteTables, contents, tune

from cpivae.cluster import slurm_jobs
from cpivae.cluster.handed_over import jobs_of, record_of, remember
from cpivae.config.load import make_config
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal
from cpivae.tuning.ledger import Ledger


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
