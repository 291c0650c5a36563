"""The error tree.  Every error a user can cause is a :class:`CpivaeError`.

A message says what it was, what it got, what is allowed, and what to do.  The command line prints it without a
traceback and ends with :attr:`CpivaeError.exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CpivaeError(Exception):
    """Base of all errors with a message meant for the person at the keyboard."""

    exit_status = 2


class ConfigError(CpivaeError):
    """Settings or a search space that cannot be used; ``problems`` holds one line for each reason."""

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.source = source
        self.problems = list(problems)
        super().__init__("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        if len(self.problems) == 1:
            return [f"{self.source}: {self.problems[0]}"]
        return [f"{self.source}: {len(self.problems)} problems", *(f"  - {p}" for p in self.problems)]


class PreflightError(CpivaeError):
    """A command that would not run; ``problems`` holds one line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        many = [f"{len(self.problems)} problems", *(f"  - {p}" for p in self.problems)]
        super().__init__("\n".join(self.problems if len(self.problems) == 1 else many))


class DataError(CpivaeError):
    """A table that cannot be read, or two tables that do not fit together."""


class FolderError(CpivaeError):
    """A run, sweep or output folder that is missing, incomplete, or already in use."""


class BundleError(CpivaeError):
    """A bundle that is incomplete, damaged, or of an unknown format version."""


class CheckpointError(CpivaeError):
    """A checkpoint that cannot be read or belongs to another model."""


class ResourceError(CpivaeError):
    """More CPUs or GPUs asked for than this machine has."""


class StorageError(CpivaeError):
    """A file system of a bucket, or another remote one, that does not do what it is asked."""


class MetricError(CpivaeError):
    """A metric that no epoch reports."""


class TrainingDivergedError(CpivaeError):
    """A loss or metric that is no longer a finite number.  Not a mistake in the command, hence status 1."""

    exit_status = 1


class SweepFailedError(CpivaeError):
    """A sweep in which no trial produced a score."""

    exit_status = 1


class InterruptedSweepError(CpivaeError):
    """A sweep that was stopped before all its trials were done (EX_TEMPFAIL)."""

    exit_status = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string when none is near."""
    lowered = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[near[0]]}'?" if near else ""


def listed(items: Iterable[object], limit: int = 10) -> str:
    """Join items with commas, naming at most ``limit`` of them and counting the rest.

    >>> listed("abc", limit=2)
    'a, b and 1 more'
    """
    words = [str(i) for i in items]
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")
