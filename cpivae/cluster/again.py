"""Whether a job that ends before its sweep queues again: ``python -m cpivae.cluster.again SWEEP JOB STATUS N MOST``.

Ends with 0 for yes.  Told is why, or why not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cpivae.errors import InterruptedSweepError
from cpivae.files import write_text
from cpivae.tuning.folder import SweepFolder

WITHOUT_PROGRESS = 2
"""Restarts in a row without a new epoch that end the requeueing."""


def cancelled(folder: Path, job: str) -> Path:
    """Return the file of the jobs' folder that says that one of them is not wanted any more."""
    return folder / f"cancelled-{job}"


def _progress(folder: Path, job: str) -> Path:
    """Return the file of the epochs that were known at the end of each start of a job."""
    return folder / f"progress-{job}.json"


def again(sweep: Path, number: str, status: int, restarts: int, most: int) -> tuple[bool, str]:
    """Decide about a job whose driver ended with ``status`` (above 128: by a signal) after so many restarts."""
    folder = SweepFolder(sweep)
    job = folder.cluster
    is_wanted = not cancelled(job, number).exists()
    cancelled(job, number).unlink(missing_ok=True)
    if status == 0:
        return False, "the sweep is done"
    if status != InterruptedSweepError.exit_status and status <= 128:
        return False, f"the sweep has ended with status {status}, which another start would not mend"
    if not is_wanted:
        return False, "the job was cancelled; cpivae submit slurm --resume goes on with the sweep"
    epochs = epochs_of(folder.journal)
    progress = _progress(job, number)
    known = [*_earlier(progress, restarts), epochs]
    write_text(progress, json.dumps(known))
    if len(known) > WITHOUT_PROGRESS and known[-1 - WITHOUT_PROGRESS] == epochs:
        return False, (
            f"{WITHOUT_PROGRESS} restarts have brought no new epoch, so another would not either: see "
            f"{job} for what they say"
        )
    if restarts >= most:
        return False, f"it has queued again {restarts} times (max_requeues); cpivae submit slurm --resume goes on"
    return True, f"the job queues again, to go on with the sweep ({epochs} epochs are done)"


def epochs_of(journal: Path) -> int:
    """Count the epochs in a journal."""
    if not journal.is_file():
        return 0
    with journal.open("rb") as lines:
        return sum(b'"event":"epoch"' in line for line in lines)


def _earlier(progress: Path, restarts: int) -> list[int]:
    """Return the epochs after each of the job's earlier starts; none at the first."""
    if restarts == 0 or not progress.is_file():
        return []
    known: list[int] = json.loads(progress.read_text())
    return known


def main() -> None:
    """Decide, say why, and end with the answer."""
    sweep, number, status, restarts, most = sys.argv[1:]
    yes, why = again(Path(sweep), number, int(status), int(restarts), int(most))
    print(why, flush=True)
    raise SystemExit(0 if yes else 1)


if __name__ == "__main__":
    main()
