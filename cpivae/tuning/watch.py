"""Ends a worker process whose trial makes no progress: what hangs cannot be asked to stop."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

TIMED_OUT = "Timeout ("
"""What the file of a process begins with that was ended here (the interpreter's own words)."""


class Watch:
    """Counts the time since a trial's last epoch.

    The interpreter's watchdog thread does the work: it needs no lock of Python's, so it ends a process that hangs in
    native code as well, and leaves a traceback of where that was.
    """

    def __init__(self, file: IO[str], minutes: float | None) -> None:
        self.file, self.minutes = file, minutes

    def start(self) -> None:
        """Begin to count, or count anew."""
        if self.minutes is not None:
            faulthandler.dump_traceback_later(60 * self.minutes, exit=True, file=self.file)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do not count while the block runs."""
        faulthandler.cancel_dump_traceback_later()
        yield
        self.start()


@contextmanager
def watched(path: Path, minutes: float | None) -> Iterator[Watch]:
    """Watch over the block; if it takes too long, end this process and leave ``path`` to say where it hung."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            watch = Watch(file, minutes)
            watch.start()
            yield watch
        finally:
            faulthandler.cancel_dump_traceback_later()
            if path.exists() and path.stat().st_size == 0:
                path.unlink()


def time_out(text: str) -> str:
    """Say in a line what a file means that the watch has left; empty if it is something else."""
    if not text.startswith(TIMED_OUT):
        return ""
    after = text.removeprefix(TIMED_OUT).partition(")")[0]
    return f"no epoch was finished within {after}; where it hung is in its traceback"
