"""Sweeps as jobs of a real SLURM: on two nodes, through losses, and next to others."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import Sweep, prepare
from lab import LOGIN, Lab, MakeLab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WriteTables = Callable[..., None]
SECRET = "a-token-of-the-user"
# As apptainer does: what runs sees of the shared folder what is bound, and nothing else.
CONTAINER = """#!/bin/bash
shift 2
exec unshare --mount bash -c '
  mkdir -p /run/kept && mount --bind {shared} /run/kept && mount -t tmpfs none {shared} || exit 1
  IFS=, read -ra bound <<< "$APPTAINER_BIND"
  for folder in "${{bound[@]}}"; do
    mkdir -p "$folder" && mount --bind "/run/kept${{folder#{shared}}}" "$folder" || exit 1
  done
  umount -l /run/kept
  cd "$PWD" || exit 1
  exec "$@"' - "$@"
"""


@pytest.fixture
def sweep(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> Sweep:
    return Sweep(lab, prepare(lab.shared / tmp_path.name, write_tables, lab))


def having(sweep: Sweep, node: str, text: str) -> list[str]:
    """Name the processes of a node that have a text in their environment."""
    found = sweep.lab.run(node, ["grep", "-rls", text, "/proc", "--include=environ"], check=False).stdout
    return [path for path in found.split() if "self" not in path]


def temporary(sweep: Sweep, node: str) -> set[str]:
    return set(sweep.lab.run(node, ["ls", "/tmp"]).stdout.split())


def test_a_job_of_two_nodes_runs_trials_on_both_and_exports_the_best(sweep: Sweep) -> None:
    before = {node: temporary(sweep, node) for node in ("n1", "n2")}
    # What sbatch and srun would prefer to what the script says, and Ray to the job's own token.
    sweep.environment = {
        "SBATCH_TIMELIMIT": "1", "SBATCH_EXPORT": "NONE", "SLURM_MEM_PER_CPU": "100", "RAY_AUTH_TOKEN": SECRET,
    }  # fmt: skip
    job = sweep.submitted("--nodes", 2, "--time", "1:00:00")
    assert sweep.lab.job(job)["TimeLimit"] == "01:00:00"
    again = sweep.submit("--nodes", 2, check=False)
    assert again.returncode == 2
    assert f"job {job} (" in again.stderr
    sweep.wait_for_ends(2, job)
    said = sweep.cpivae("submit", "status", sweep.folder.path).stdout
    assert re.search(rf"^job     {job}: running, on n\[1-2\], for \d+:\d\d, \d+:\d\d left$", said, re.MULTILINE)
    following = sweep.cpivae_started("submit", "logs", "-f", sweep.folder.path)
    for node in before:
        assert having(sweep, node, "RAY_AUTH_TOKEN_PATH="), "the processes of the job are looked at"
        assert not having(sweep, node, SECRET), "Ray would take it for the job's token"
    assert "trials  " in said
    assert f"of {sweep.n_trials}: " in said
    assert "best    val_cross_a_corr_mean 0." in said
    sweep.wait_for_the_job(job)
    sweep.require_complete()
    assert sweep.nodes() == {"n1", "n2"}
    said, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    assert "best of 16 trials" in said
    assert "the sweep is done" in said
    for node, there in before.items():
        left = temporary(sweep, node) - there
        assert not [name for name in left if "cpivae" in name or "ray" in name], "nothing is left on a node"
        assert "ray" not in sweep.lab.run(node, ["ps", "-eo", "comm"]).stdout
    kept = {path.name.split("-")[0] for path in sweep.folder.cluster.iterdir()}
    assert kept == {"job", "job.sh", "ray", "submission.json"}
    assert "completed" in sweep.cpivae("submit", "status", sweep.folder.path).stdout


def test_a_job_in_a_container_finds_all_that_it_needs(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> None:
    sweep = Sweep(lab, prepare(lab.shared / tmp_path.name / "ours", write_tables, lab), n_trials=2, max_epochs=2)
    tables = lab.shared / tmp_path.name / "tables"
    tables.mkdir()
    for table in ("a.csv", "b.csv"):
        (sweep.home / table).rename(tables / table)
    sweep.tune = ["--platform_a", tables / "a.csv", "--platform_b", tables / "b.csv"]
    runtime = lab.shared / tmp_path.name / "runtime"
    runtime.write_text(CONTAINER.format(shared=lab.shared))
    runtime.chmod(0o755)
    job = sweep.submitted("--container", f"{runtime} exec image.sif")
    sweep.wait_for_the_job(job)
    sweep.require_complete()


@pytest.fixture
def own_sweep(make_lab: MakeLab, write_tables: WriteTables) -> Sweep:
    """A sweep on a cluster that may be broken."""
    lab = make_lab(nodes=2)
    return Sweep(lab, prepare(lab.shared / "home", write_tables, lab), n_trials=20)


def test_a_lost_node_a_killed_driver_and_a_requeue_lose_and_repeat_nothing(own_sweep: Sweep) -> None:
    sweep, lab = own_sweep, own_sweep.lab
    sweep.n_trials, sweep.max_epochs, sweep.tune = 50, 60, ["--set", "training.batch_size=4"]
    job = sweep.submitted("--nodes", 2)
    sweep.wait_until(lambda: sweep.nodes() == {"n1", "n2"}, job)
    sweep.wait_for_ends(3, job)
    lab.kill("n2")
    ended = len(sweep.ends())
    sweep.wait_for_ends(ended + 5, job)
    assert lab.job(job)["Restarts"] == "0", "the sweep has gone on with the node that is left"

    lab.bring_back("n2")
    lab.run("n1", ["pkill", "-KILL", "-f", "cpivae tune"])
    sweep.wait_until(lambda: lab.job(job)["Restarts"] == "1", job)
    assert "the job queues again" in sweep.log(job)
    ended = len(sweep.ends())
    sweep.wait_for_ends(ended + 3, job)

    lab.run(LOGIN, ["scontrol", "requeue", str(job)])
    sweep.wait_for_the_job(job, timeout=420)
    sweep.require_complete()
    assert lab.job(job)["Restarts"] == "2"


def test_a_node_that_falls_silent_is_given_up(own_sweep: Sweep) -> None:
    sweep = own_sweep
    job = sweep.submitted("--nodes", 2)
    sweep.wait_until(lambda: sweep.nodes() == {"n1", "n2"}, job)
    sweep.wait_for_ends(3, job)
    sweep.lab.cut("n2")
    at_n2 = {e["trial"] for e in sweep.events("epoch") if e.get("node") == "n2"} - set(sweep.ends())
    assert len(sweep.ends()) < sweep.n_trials, "the sweep is too short for this test"
    sweep.wait_for_the_job(job, timeout=420)
    sweep.require_complete()
    last_at = {e["trial"]: e["node"] for e in sweep.events("epoch") if "node" in e}
    assert at_n2, "a trial was there when the node fell silent"
    assert {last_at[trial] for trial in at_n2} == {"n1"}, "it has gone on with the other node"


def test_a_job_whose_time_runs_out_queues_again_until_the_sweep_is_done(own_sweep: Sweep) -> None:
    sweep = own_sweep
    # More than there is time for on the quickest machine: the time alone decides when the sweep ends.
    sweep.n_trials, sweep.tune = 5000, ["--time_budget", "170s"]
    # SLURM looks twice a minute, and warns up to a minute early.
    job = sweep.submitted("--nodes", 1, "--time", 3, "--warn_minutes", 1)
    sweep.wait_until(lambda: sweep.lab.job(job)["Restarts"] != "0", job, timeout=240)
    sweep.finished |= sweep.ends()
    assert sweep.finished
    sweep.wait_for_the_job(job, timeout=300)
    sweep.require_none_repeated()
    assert len(sweep.ends()) > len(sweep.finished)
    assert len(sweep.events("started")) >= 2
    printed = (sweep.folder.cluster / f"job-{job}.log").read_text()
    assert "the job queues again, to go on with the sweep" in printed
    assert "ended early: the time budget" in printed


URGENT = {
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
}
PARTITION = "PartitionName=urgent Nodes=n1 PriorityTier=10 PreemptMode=OFF State=UP"


def test_a_job_that_has_to_make_room_queues_again_and_goes_on(make_lab: MakeLab, write_tables: WriteTables) -> None:
    lab = make_lab(nodes=1, settings=URGENT, more=[PARTITION])
    sweep = Sweep(lab, prepare(lab.shared / "home", write_tables, lab), n_trials=30)
    job = sweep.submitted("--nodes", 1)
    sweep.wait_for_ends(2, job)
    asked = lab.run(LOGIN, ["sbatch", "--parsable", "--partition=urgent", "--exclusive", "--wrap", "sleep 2"])
    urgent = int(asked.stdout)
    sweep.wait_until(lambda: lab.job(urgent)["JobState"] in ("RUNNING", "COMPLETED"), job)
    assert len(sweep.ends()) < sweep.n_trials, "the sweep is too short for this test"
    sweep.finished |= sweep.ends()
    lab.wait_for_job(urgent)
    sweep.wait_for_the_job(job)
    assert lab.job(job)["Restarts"] == "1"
    sweep.require_complete()
    assert len(sweep.events("started")) == 2
