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
    table = (folder / TABLE).read_bytes() if TABLE in whole else b""
    left = not has_begun(folder / JOURNAL) and is_of_a_start(whole, table)
    return [*names, TRIALS] if left else []


def is_of_a_start(names: Collection[str], table: bytes) -> bool:
    """Say whether the files of a folder whose sweep has not begun, and what is in its table, are left of a start.

    A sweep without its journal, but with trials, is none: somebody may want it.
    """
    return set(names) <= {SETTINGS, TABLE, JOURNAL} and table.count(b"\n") <= 1
