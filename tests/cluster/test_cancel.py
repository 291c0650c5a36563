"""A job that is cancelled, and its sweep gone on with somewhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import Sweep, prepare
from lab import LOGIN, Lab

from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WriteTables = Callable[..., None]


def test_a_cancelled_sweep_goes_on_from_its_copy_on_another_machine(
    lab: Lab, write_tables: WriteTables, tmp_path: Path
) -> None:
    sweep = Sweep(lab, prepare(lab.shared / tmp_path.name, write_tables, lab, "ada"), "ada")
    sweep.tune = ["--cpus_per_trial", 1]
    job = sweep.submitted("--nodes", 2)
    sweep.wait_for_ends(3, job)
    said = sweep.cpivae("submit", "cancel", sweep.folder.path, timeout=180).stdout
    assert f"job {job} has stopped" in said, said
    assert lab.job(job)["Restarts"] == "0"
    assert "the job was cancelled" in sweep.log(job)
    assert "75" in sweep.cpivae("submit", "status", sweep.folder.path).stdout
    assert "has ended already" in sweep.cpivae("submit", "cancel", sweep.folder.path).stdout
    assert not list(sweep.folder.cluster.glob("*token*"))
    sweep.finished |= sweep.ends()
    assert len(sweep.finished) < sweep.n_trials, "the sweep is too short for this test"

    laptop = tmp_path / "laptop"
    sweep.tune = ["--cpus_per_trial", 2]
    shutil.copytree(sweep.home, laptop)
    done = subprocess.run(
        [sys.executable, "-m", "cpivae", *sweep.command(), "--resume"],
        cwd=laptop, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "other hardware from now on, and scores may differ in their last digits: hardware.threads: 1 then"
        in done.stdout
    )
    ended = {
        e["trial"]: e for e in read_journal(SweepFolder(laptop / "sweeps" / "study").journal) if e["event"] == "ended"
    }
    assert set(ended) == set(range(sweep.n_trials))
    assert all(ended[number] == event for number, event in sweep.finished.items())


def test_a_job_that_has_not_started_is_just_taken_back(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> None:
    # SLURM shows the log's name as a pattern, among other things that look like a part of the path.
    sweep = Sweep(lab, prepare(lab.shared / tmp_path.name / "50% of JobState=x/a=b", write_tables, lab))
    job = sweep.submitted("--sbatch", "--begin=now+1hour")
    assert f"job {job} (pending) has the sweep" in sweep.submit(check=False).stderr
    said = sweep.cpivae("submit", "status", sweep.folder.path).stdout
    assert f"job     {job}: pending, waits for BeginTime" in said
    assert "trials  none yet" in said
    done = sweep.cpivae("submit", "logs", sweep.folder.path, check=False)
    assert done.returncode == 2
    assert "has written no log" in done.stderr
    assert "it was not running" in sweep.cpivae("submit", "cancel", sweep.folder.path).stdout
    assert lab.job(job)["JobState"] == "CANCELLED"
    # The folder of a sweep that never began is no obstacle.
    again = sweep.submitted("--sbatch", "--begin=now+1hour")
    assert again != job
    lab.run(LOGIN, ["scancel", str(again)])
