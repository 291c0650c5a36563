"""The journal of a sweep: what happened, one line of JSON per event, written before Ray hears of it.

It is the only truth.  ``trials.csv``, ``study.db``, the sampler's memory and ASHA's rungs are made from it, and made
again when a sweep is resumed; Ray's own snapshots are never read.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpivae.errors import FolderError
from cpivae.files import append_whole, whole_lines
from cpivae.tuning.full_disk import no_room

Event = dict[str, Any]


class Journal:
    """The open journal of a running sweep.  One process at a time has it."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal and take it for this process.

        Raises
        ------
        FolderError
            Another process is running this sweep.
        """
        self.path = path
        self.stream = path.open("ab", buffering=0)  # what a full disk has refused must not be tried again later
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.stream.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise FolderError(
                    f"{path} cannot be locked ({error.strerror}): its file system keeps no locks, so that two "
                    "processes could run one sweep. Choose an output folder on another one; cpivae doctor "
                    "--output_dir tries it."
                ) from None
            raise FolderError(
                f"another process is running the sweep in {path.parent}. Wait for it, or end it."
            ) from None
        os.truncate(path, len(whole_lines(path)))  # a process that was killed may have left half a line

    def write(self, event: Event, *, lasting: bool = True) -> Event:
        """Append an event with its time, whole or not at all, and return it.

        ``lasting`` events survive a power failure, all survive the end of any process.

        Raises
        ------
        InterruptedSweepError
            The disk takes no more; what is in the journal stays.
        """
        event = {"time": time.time(), **event}
        line = (json.dumps(event, separators=(",", ":")) + "\n").encode()
        try:
            append_whole(self.stream, line, lasting=lasting)
        except OSError as error:
            raise no_room(str(self.path), error.strerror) from None
        return event

    def close(self) -> None:
        """Let another process have it."""
        self.stream.close()


def read_journal(path: Path) -> Iterator[Event]:
    """Yield the events of a journal, oldest first; half a line at its end was never an event.

    Raises
    ------
    FolderError
        The file is missing or something else.
    """
    try:
        lines = whole_lines(path).splitlines()
    except FileNotFoundError:
        raise FolderError(f"{path.parent} cannot be resumed: it has no {path.name}.") from None
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            event["event"], event["time"]
        except (ValueError, KeyError, TypeError):
            raise FolderError(f"{path}, line {number} is no event of a sweep.") from None
        yield event
