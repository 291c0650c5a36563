"""Whether a sweep has begun: once its journal knows of anything.  Until then nothing of it is worth keeping."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cpivae.files import is_half_written

_WRITTEN_BEFORE = ("sweep.yaml", "trials.csv", "journal.jsonl")
"""In this order; a process may end between any two of them."""


def has_begun(journal: Path) -> bool:
    """Say whether a journal has an event; half a line is none."""
    try:
        with journal.open("rb") as lines:
            return lines.readline().endswith(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return False


def left_of_a_start(folder: Path) -> list[str]:
    """Name what a process that ended before its sweep had begun has left in a folder, if all there is that."""
    trials = folder / "trials"
    if not folder.is_dir() or (trials.is_dir() and any(trials.iterdir())):
        return []
    names = [path.name for path in folder.iterdir() if path != trials]
    files = [folder / name for name in ("journal.jsonl", "trials.csv")]
    whole = {name for name in names if not is_half_written(name) and name != "cluster"}
    left = is_of_a_start(whole, *(file.read_bytes() if file.is_file() else b"" for file in files))
    return [*names, trials.name] if left else []


def is_of_a_start(names: Collection[str], journal: bytes, trials: bytes) -> bool:
    """Say whether the names of a folder, with what is in two of its files, are left of a sweep that never began.

    A sweep without its journal, but with trials, is none of these: somebody may want it.
    """
    others = set(names) - set(_WRITTEN_BEFORE)
    return not others and b"\n" not in journal and trials.count(b"\n") <= 1
