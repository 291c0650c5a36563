"""The table of a run's epochs: one row each, appended while it runs, read whatever moment that was cut off at."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from cpivae.files import append_whole, whole_lines


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a csv file, whole or not at all; with a header where it is the first."""
    with path.open("ab", buffering=0) as stream:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
        if stream.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
        append_whole(stream, text.getvalue().encode())


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows of such a file; none where its process was killed between making it and writing to it."""
    rows = whole_lines(path)
    return pd.read_csv(io.BytesIO(rows)) if rows else pd.DataFrame({"epoch": []})


def copy_rows(earlier: Path, path: Path, last_epoch: int) -> None:
    """Append the rows of an earlier file, where there is one, up to and including an epoch."""
    if not earlier.is_file():
        return
    for row in csv.DictReader(io.StringIO(whole_lines(earlier).decode(), newline="")):
        if int(row["epoch"]) <= last_epoch:
            append_row(path, row)
