"""Whether a sweep has begun: once its journal knows of anything.  Until then nothing of it is worth keeping."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from cpivae.files import is_half_written

SETTINGS: Final = "sweep.yaml"
TABLE: Final = "trials.csv"
JOURNAL: Final = "journal.jsonl"
TRIALS: Final = "trials"
CLUSTER: Final = "cluster"


def has_begun(journal: Path) -> bool:
    """Say whether a journal has an event; half a line is none."""
    try:
        with journal.open("rb") as lines:
            return lines.readline().endswith(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return False


def left_of_a_start(folder: Path) -> list[str]:
    """Name what a process that ended before its sweep had begun has left in a folder, if all there is that."""
    trials = folder / TRIALS
    if not folder.is_dir() or (trials.is_dir() and any(trials.iterdir())):
        return []
    names = [path.name for path in folder.iterdir() if path != trials]
    whole = {name for name in names if not is_half_written(name) and name != CLUSTER}
    left = is_of_a_start(whole, *(_content(folder / name) for name in (JOURNAL, TABLE)))
    return [*names, TRIALS] if left else []


def is_of_a_start(names: Collection[str], journal: bytes, table: bytes) -> bool:
    """Say whether the files of a folder, with what is in two of them, are left of a sweep that never began.

    A sweep without its journal, but with trials, is none of these: somebody may want it.
    """
    return set(names) <= {SETTINGS, TABLE, JOURNAL} and b"\n" not in journal and table.count(b"\n") <= 1


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
