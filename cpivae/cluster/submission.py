"""What people ask of a sweep that was handed over: how it is doing, what it prints, its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cpivae.cluster.handed_over import HandedOver, asked, jobs_of, record_of
from cpivae.cluster.ray_jobs import RayJob
from cpivae.cluster.slurm_jobs import SlurmJob
from cpivae.errors import FolderError, ResourceError
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.ledger import read_ledger
from cpivae.tuning.record import ranked


def require_no_living_job(sweep: Path) -> None:
    """Refuse a sweep that a job is running or will run, or may be running where nobody can tell.

    Raises
    ------
    FolderError
        With the job's name and state.
    """
    if not record_of(sweep).exists():
        return
    job = _newest(sweep)
    now = asked(job)
    if now.lives is None:
        raise FolderError(
            f"job {job.name} may still be running the sweep in {sweep}, and {now.line} If it is gone for good, remove "
            f"{record_of(sweep)} and submit again; with --resume in the tune command the sweep goes on."
        )
    if now.lives:
        raise FolderError(
            f"job {job.name} ({now.state.lower()}) has the sweep in {sweep} already. Wait for it, or end it with "
            f"cpivae submit cancel {sweep}"
        )


def status(folder: SweepFolder) -> list[str]:
    """Say in a few lines how a sweep and its job are doing."""
    job = _newest(folder.path.resolve())
    now = asked(job)
    folder.bring(to_run=False)
    lines = [f"job     {job.name}: {now.line}"]
    lines += _trial_lines(folder, lives=now.lives) if folder.has_begun() else ["trials  none yet"]
    return [*lines, f"folder  {folder.name}"]


def log_lines(sweep: Path, *, follow: bool) -> Iterator[str]:
    """Yield the lines of the newest job's log; with ``follow`` go on until the job has ended."""
    return _newest(sweep).log(follow=follow)


def cancel(sweep: Path) -> str:
    """End the newest job of a sweep so that nothing is lost, and say what happened.

    Raises
    ------
    ResourceError
        Its cluster cannot be asked.
    """
    job = _newest(sweep)
    now = asked(job)
    if now.lives is None:
        raise ResourceError(f"job {job.name} of the sweep in {sweep} cannot be ended, because {now.line}")
    return job.cancel()


def _newest(sweep: Path) -> HandedOver:
    newest = jobs_of(sweep)[-1]
    if newest["cluster"] == "ray":
        return RayJob(newest["address"], newest["job"])
    return SlurmJob(sweep, newest["job"])


def _trial_lines(folder: SweepFolder, *, lives: bool | None) -> list[str]:
    ledger, goal = read_ledger(folder), folder.goal()
    states: Counter[str] = Counter(r.state for r in ledger.records)
    if lives is None:
        states["running or interrupted"] = states.pop("running", 0) + states.pop("interrupted", 0)
    elif not lives:
        states["interrupted"] += states.pop("running", 0)
    counted = ", ".join(f"{n} {state}" for state, n in states.items() if n)
    epochs = sum(r.epochs for r in ledger.records)
    asked = folder.config().tuning.n_trials
    lines = [f"trials  {sum(states.values())} of {asked}: {counted or 'none'}; {epochs} epochs"]
    best = ranked(ledger.records, goal)
    if best:
        lines.append(f"best    {goal.metric} {best[0].score:.4f} (trial {best[0].number})")
    return lines
