"""A disk that takes no more is nothing of one trial: the sweep is interrupted, and goes on when there is room."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpivae.errors import InterruptedSweepError

_WORDS = ("inline_container.cc", "disk is full")
"""In what torch says where it could not write all of a file, and in what SQLite says."""
_ROOM = 1 << 16
"""Bytes that the text of an error, or a line of a table, surely fits into."""


def disk_is_full(error: BaseException | None) -> bool:
    """Say whether an error, or what led to it, means that a disk or a quota takes no more."""
    if error is None:
        return False
    of_system = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return of_system or any(words in str(error) for words in _WORDS) or disk_is_full(_before(error))


def has_room(folder: Path) -> bool:
    """Say whether a folder's disk takes a small file."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".") as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())  # some file systems refuse no earlier
    except OSError as error:
        return not disk_is_full(error)
    return True


def no_room(name: str, error: object) -> InterruptedSweepError:
    """Return what ends a sweep of which a file or the folder, known by its ``name``, could not be written."""
    return InterruptedSweepError(
        f"{name} cannot be written ({error}). Nothing before this is lost: make room, and give the same command with "
        "--resume."
    )


@contextmanager
def interrupted_when_full(name: str) -> Iterator[None]:
    """Turn what goes wrong on a full disk into the end of the sweep.

    Raises
    ------
    InterruptedSweepError
        The disk of the sweep's folder takes no more; or this was raised in the block, where Ray has wrapped it.
    """
    try:
        yield
    except Exception as error:
        earlier: BaseException | None = error
        while earlier is not None:
            if isinstance(earlier, InterruptedSweepError):
                raise earlier from None
            earlier = _before(earlier)
        if disk_is_full(error):
            raise no_room(name, "no space is left") from None
        raise


def _before(error: BaseException) -> BaseException | None:
    return error.__cause__ or error.__context__
