"""What is recorded of the jobs of a sweep, and what can be asked of one whichever cluster has it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cpivae.errors import CpivaeError, FolderError
from cpivae.files import write_text
from cpivae.tuning.folder import SweepFolder

_RECORD = "submission.json"


@dataclass(frozen=True)
class Standing:
    """How a job is doing."""

    state: str
    lives: bool | None
    """Whether it may still do something; None where nobody can tell."""
    line: str
    """All that is to be told of it."""


class HandedOver(Protocol):
    """A job that a cluster has."""

    name: str

    def standing(self) -> Standing:
        """Ask the cluster."""
        ...

    def log(self, *, follow: bool) -> Iterator[str]:
        """Yield what the job has printed; with ``follow`` until it has ended."""
        ...

    def cancel(self) -> str:
        """End it so that nothing is lost, and say what happened."""
        ...


def asked(job: HandedOver) -> Standing:
    """Return how a job is doing, also where its cluster does not answer or is gone."""
    try:
        return job.standing()
    except CpivaeError as error:
        return Standing("UNKNOWN", None, f"the cluster cannot be asked: {str(error).rstrip('.')}.")


@contextmanager
def handing_over(sweep: Path, refused: type[CpivaeError]) -> Iterator[Path]:
    """Make the folder of a sweep's jobs for one that is handed over in the block; leave nothing new if it is refused.

    What ends the block otherwise than by ``refused`` may leave a job, whose folder then must stay.
    """
    folder = SweepFolder(sweep).cluster
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield folder
    except refused:
        if folder in new:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # somebody else has put something there meanwhile
            for path in new[1:]:
                path.rmdir()
        raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C, a termination and the end of the terminal come to nothing in the block, which must be short."""
    handlers = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def remember(sweep: Path, cluster: str, job: str, **more: Any) -> None:
    """Record a job that was handed over."""
    known = jobs_of(sweep) if record_of(sweep).exists() else []
    new = {"cluster": cluster, "job": job, "submitted": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    write_text(record_of(sweep), json.dumps({"jobs": [*known, new]}, indent=2) + "\n")


def record_of(sweep: Path) -> Path:
    """Return the file that has a sweep's jobs."""
    return SweepFolder(sweep).cluster / _RECORD


def jobs_of(sweep: Path) -> list[dict[str, Any]]:
    """Return what is recorded, the newest last.

    Raises
    ------
    FolderError
        Nothing is, or something else.
    """
    record = record_of(sweep)
    try:
        jobs: list[dict[str, Any]] = json.loads(record.read_text(encoding="utf-8"))["jobs"]
        jobs[-1]["cluster"], jobs[-1]["job"]
    except FileNotFoundError:
        raise FolderError(f"no job has been submitted for {sweep}: there is no {record}.") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise FolderError(f"{record} is not what cpivae submit has written there.") from None
    return jobs
