"""What is known of every trial, and the one rule by which a trial is chosen."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from cpivae.errors import FolderError, SweepFailedError
from cpivae.files import write_text
from cpivae.names import Goal

State = Literal["running", "complete", "stopped", "diverged", "failed", "interrupted"]
"""complete: ran to its end; stopped: by ASHA; diverged: a loss became non-finite; failed: an error."""

SCORED: tuple[State, ...] = ("complete", "stopped", "interrupted")
"""States whose score counts."""

BASE = "base config"
"""Origin of the first trial."""
NEAR_BASE = "near the base config"
"""Origin of a trial that takes over most of it."""

Failure = Literal["", "diverged", "out_of_memory", "lost_worker", "timed_out", "code_error", "full_disk"]
"""Why a trial has no score: a loss no longer finite, no room in memory, a process that is gone, one that hung, an
exception.  No room on the disk is never its end: the sweep is interrupted."""

_COLUMNS = (
    "trial",
    "origin",
    "state",
    "score",
    "score_sd",
    "best_epoch",
    "epochs",
    "seconds",
    "folder",
    "failure",
    "error",
)
_VALUE_PREFIX = "setting:"


@dataclass
class TrialRecord:
    """One trial of a sweep."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    """The searched settings, by path."""
    state: State = "running"
    score: float | None = None
    """The metric at the best epoch so far; that epoch's weights are kept."""
    score_sd: float | None = None
    """Its standard deviation over the trial's folds; none for a plain split."""
    best_epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    error: str = ""
    """One line on what went wrong."""
    failure: Failure = ""
    origin: str = ""
    """Where the settings come from: the base config, the sampler, an older sweep, an earlier trial."""

    @property
    def folder(self) -> str:
        """Name of the trial's run folder below ``trials/``."""
        return trial_name(self.number)

    @cached_property
    def columns(self) -> dict[str, str]:
        """The searched settings as ``trials.csv`` has them; they never change, and the table is written often."""
        return {f"{_VALUE_PREFIX}{name}": json.dumps(value) for name, value in self.values.items()}


class Proposal(NamedTuple):
    """Settings to try that no sampler has proposed."""

    values: dict[str, Any]
    origin: str
    seed: int | None = None
    """None for the sweep's seed + number of the trial."""


def trial_name(number: int) -> str:
    """Name a trial so that names sort as numbers do."""
    return f"trial_{number:05d}"


def ended(records: Iterable[TrialRecord]) -> int:
    """Count the trials that nothing more will happen to."""
    return sum(r.state not in ("running", "interrupted") for r in records)


def ranked(records: Iterable[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Return the trials that have a score, best first; of equal ones the earlier trial is better.

    This is the one selection rule: a trial's score is its best epoch's metric, and a failed trial has none.
    """
    scored = [r for r in records if r.state in SCORED and r.score is not None]
    return sorted(scored, key=lambda r: (-goal.sign * r.score, r.number))  # type: ignore[operator]


def best_of(records: Iterable[TrialRecord], goal: Goal) -> TrialRecord:
    """Return the best trial.

    Raises
    ------
    SweepFailedError
        No trial has a score; the message names the first reason.
    """
    records = list(records)
    best = ranked(records, goal)
    if not best:
        reasons = [f"trial {r.number} {r.state}: {r.error}" for r in records if r.error]
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise SweepFailedError(f"none of {len(records)} trials produced a score.{why}")
    return best[0]


def write_trials(records: Iterable[TrialRecord], path: Path) -> None:
    """Write ``trials.csv``: a row per trial, its searched settings in columns of their own."""
    rows = [
        {
            "trial": r.number,
            "state": r.state,
            "score": r.score,
            "score_sd": r.score_sd,
            "best_epoch": r.best_epoch,
            "epochs": r.epochs,
            "seconds": round(r.seconds, 3),
            "folder": f"trials/{r.folder}",
            "origin": r.origin,
            "failure": r.failure,
            "error": r.error,
            **r.columns,
        }
        for r in sorted(records, key=lambda r: r.number)
    ]
    buffer = io.StringIO()
    columns = dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)])
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_trials(path: Path) -> list[TrialRecord]:
    """Read ``trials.csv`` back.

    Raises
    ------
    FolderError
        The file is missing or not one of ours.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return [_record(row) for row in table.to_dict("records")]
    except FileNotFoundError:
        raise FolderError(f"{path.parent} is not a sweep folder: it has no {path.name}.") from None
    except (KeyError, ValueError) as error:
        raise FolderError(f"{path} is not a table of trials ({error}).") from None


def _record(row: dict[Any, Any]) -> TrialRecord:
    present = {key: value for key, value in row.items() if value != ""}
    return TrialRecord(
        number=int(row["trial"]),
        values={
            k.removeprefix(_VALUE_PREFIX): json.loads(v) for k, v in present.items() if k.startswith(_VALUE_PREFIX)
        },
        state=row["state"],
        score=None if "score" not in present else float(present["score"]),
        score_sd=None if "score_sd" not in present else float(present["score_sd"]),
        best_epoch=None if "best_epoch" not in present else int(present["best_epoch"]),
        epochs=int(row["epochs"]),
        seconds=float(row["seconds"]),
        error=present.get("error", ""),
        failure=row["failure"],
        origin=row["origin"],
    )
