"""A sweep's job of SLURM: handed over, looked at, ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cpivae.cluster import slurm
from cpivae.cluster.again import cancelled
from cpivae.cluster.handed_over import Standing, asked, handing_over, remember, uninterrupted
from cpivae.cluster.script import Job, batch_script, pattern_of
from cpivae.errors import FolderError
from cpivae.files import write_text
from cpivae.terminal.times import duration
from cpivae.tuning.folder import SweepFolder

_SCRIPT = "job.sh"
_YEAR = 365 * 24 * 60
"""Minutes: on some clusters the limit of a job without one."""
_ENDS_BY_ITSELF = 120
"""Seconds that a driver has to stop its trials and write everything down, before its job is ended from outside."""


def submit(job: Job) -> int:
    """Write the batch script into the sweep's folder, hand it over, and return the job's number.

    Raises
    ------
    SlurmRefusalError
        SLURM does not take it; nothing is left behind then.
    SlurmError
        SLURM does not say whether it takes it.
    """
    # A job whose number is not recorded could be neither asked nor ended.
    with handing_over(job.sweep, slurm.SlurmRefusalError) as folder, uninterrupted():
        write_text(folder / _SCRIPT, batch_script(job))
        number = slurm.submitted(folder / _SCRIPT)
        remember(job.sweep, "slurm", str(number), command=list(job.command))
    return number


class SlurmJob:
    """A job that SLURM has."""

    def __init__(self, sweep: Path, name: str) -> None:
        self.folder, self.name = SweepFolder(sweep).cluster, name

    def standing(self) -> Standing:
        told = slurm.job(int(self.name))
        # Numbers start again at 1 on a cluster that is set up anew: the job must be this sweep's.
        if not told.get("StdOut", "").startswith(tuple(f"{shown}/" for shown in _as_shown(self.folder))):
            return Standing("GONE", False, "SLURM knows it no longer; it has ended")
        return Standing(told["JobState"], told["JobState"] in slurm.LIVING, _line(told))

    def log(self, *, follow: bool) -> Iterator[str]:
        path, now = self.folder / f"job-{self.name}.log", asked(self)  # the log is a file here, whoever answers
        while follow and not path.exists() and now.lives:
            time.sleep(1)
            now = self.standing()
        if not path.exists():
            raise FolderError(f"job {self.name} ({now.state.lower()}) has written no log: it has not started.")
        with path.open(encoding="utf-8", errors="replace") as stream:
            last = 0.0
            while True:
                if line := stream.readline():
                    yield line
                    continue
                if not follow or not now.lives:
                    return
                time.sleep(0.5)
                if time.monotonic() - last > 5:
                    last, now = time.monotonic(), self.standing()

    def cancel(self) -> str:
        now = self.standing()
        if not now.lives:
            return f"job {self.name} has ended already ({now.state.lower()})"
        write_text(cancelled(self.folder, self.name), "")
        if now.state != "RUNNING":
            slurm.ask("scancel", self.name)
            cancelled(self.folder, self.name).unlink(missing_ok=True)
            return f"job {self.name} ({now.state.lower()}) is cancelled; it was not running"
        slurm.ask("scancel", "--batch", "--signal=USR1", self.name)
        until = time.monotonic() + _ENDS_BY_ITSELF
        while time.monotonic() < until:
            time.sleep(1)
            if not self.standing().lives:
                return f"job {self.name} has stopped; cpivae submit slurm with --resume in the tune command goes on"
        slurm.ask("scancel", self.name)
        return f"job {self.name} did not stop in {_ENDS_BY_ITSELF} s and is cancelled; finished trials are not lost"


def _as_shown(folder: Path) -> tuple[str, str]:
    """Return how SLURM may show a folder in a log's path: as it is, or as a pattern, where % is written twice."""
    return str(folder), pattern_of(folder)


def _line(told: dict[str, str]) -> str:
    state = told["JobState"]
    parts = [state.lower()]
    if state == "PENDING":
        parts.append(f"waits for {told.get('Reason', 'its turn')}")
    if told.get("NodeList", "(null)") != "(null)":
        parts.append(f"on {told['NodeList']}")
    if restarts := int(told.get("Restarts", 0)):
        parts.append(f"restarted {restarts} times")
    if state == "RUNNING":
        spent, limit = slurm.minutes(told["RunTime"]), slurm.minutes(told["TimeLimit"])
        left = "" if limit >= _YEAR else f", {duration(60 * (limit - spent))} left"
        parts.append(f"for {duration(60 * spent)}{left}")
    elif told.get("ExitCode", "0:0") != "0:0":
        parts.append(f"exit status {told['ExitCode'].split(':')[0]}")
    return ", ".join(parts)
