"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "WRONG"]
"""``note`` is for what may matter to some, or later; only ``WRONG`` makes the doctor end with status 2."""


@dataclass(frozen=True)
class Finding:
    """One line."""

    level: Level
    what: str
    advice: str = ""
    """What to do, where there is something to do."""

    def __str__(self) -> str:
        return f"{self.what} -> {self.advice}" if self.advice else self.what


def first_line(text: object) -> str:
    """Return the first line that says anything."""
    return next(iter(_lines(text)), "")


def last_line(text: object) -> str:
    """Return the last line that says anything: of what a program has written, usually the reason."""
    return next(reversed(_lines(text)), "")


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text).splitlines() if line.strip()]
