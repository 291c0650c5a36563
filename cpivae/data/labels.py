"""What every table must satisfy, whatever format it came from: distinct names, and finite or missing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from cpivae.data.cells import why_unusable
from cpivae.errors import DataError, listed

SAMPLE_ID: Final = "SampleID"
"""Name of the id column where a file leaves it blank."""

_REMEDY = {
    "sample id": "Every sample must have one row: average or drop the replicates",
    "column name": "Every column must have a name of its own",
    "feature name": "Every feature must have one column: make the names unique, for example by adding the assay id",
}


@dataclass(frozen=True)
class Layout:
    """What the rows and the columns of a file are called in messages."""

    row: str
    """What one line of the file is: ``sample`` or ``feature``."""
    row_label: str
    column: str
    column_label: str


SAMPLES_IN_ROWS: Final = Layout("sample", "sample id", "feature", "feature name")
FEATURES_IN_ROWS: Final = Layout("feature", "feature name", "sample", "sample id")
ANNOTATION: Final = Layout("sample", "sample id", "other", "column name")


def require_usable(frame: pd.DataFrame, source: object, layout: Layout = SAMPLES_IN_ROWS) -> None:
    """Check a table of N rows x D columns, whose labels are text and whose values are float64.

    Raises
    ------
    DataError
        No row, no column, a label that is blank, broken over lines or repeated, or an infinite value; the message
        starts with ``source``.
    """
    require_labels(frame, source, layout)
    infinite = np.argwhere(np.isinf(frame.to_numpy()))
    if len(infinite):
        row, column = infinite[0]
        place = f"row {row + 1} ({layout.row} {quoted(str(frame.index[row]))})"
        raise unusable_cell(source, place, str(frame.columns[column]), "inf")


def require_labels(frame: pd.DataFrame, source: object, layout: Layout = SAMPLES_IN_ROWS) -> None:
    """Check the row and column labels of a table (see :func:`require_usable`)."""
    if frame.shape[1] == 0:
        raise DataError(f"{source} has only the column of {layout.row_label}s and no {layout.column} column.")
    if frame.shape[0] == 0:
        raise DataError(f"{source} has a header but no {layout.row} below it.")
    _require_distinct(source, layout.row_label, frame.index, first="in row", offset=1)
    _require_distinct(source, layout.column_label, frame.columns, first="in the header of column", offset=2)


def unusable_cell(source: object, place: str, column: str, cell: str) -> DataError:
    """Describe one cell that is neither a finite number nor missing."""
    return DataError(f"{source}, {place}, column {quoted(column)}: {quoted(cell)} {why_unusable(cell)}")


def quoted(text: str, limit: int = 60) -> str:
    """Show a cell of a possibly damaged file within a sentence: shortened, without line breaks or control codes."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:limit])
    return f"'{shown}...'" if len(text) > limit else f"'{shown}'"


def _require_distinct(source: object, what: str, labels: Iterable[str], first: str, offset: int) -> None:
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for position, label in enumerate(labels, start=offset):
        if not label.strip():
            raise DataError(f"{source}: the {what} {first} {position} is blank. Give every {what} a text of its own.")
        if label.splitlines() != [label]:
            raise DataError(f"{source}: the {what} {quoted(label)} is broken over lines. Write it on one line.")
        if label in seen:
            repeated[label] = None
        seen.add(label)
    if repeated:
        noun = f"{what} occurs" if len(repeated) == 1 else f"{what}s occur"
        raise DataError(f"{source}: {len(repeated)} {noun} more than once: {listed(repeated)}. {_REMEDY[what]}.")


def reason(error: Exception, limit: int = 200) -> str:
    """Return the first line of what another package says, or the kind of its error where it says nothing."""
    words = "".join(c if c.isprintable() else repr(c)[1:-1] for c in (str(error).splitlines() or [""])[0])
    return (words if len(words) <= limit else f"{words[:limit]}...") or type(error).__name__
