"""Numbers in comma-, tab- and semicolon-separated text, plain or gzipped.

pyarrow reads the numbers: it is fast, and strict where pandas pads a short row with blanks.  It does not say which
cell it stumbled over, so only a failed read goes through the text once more, slowly, to name that cell.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from cpivae.data.labels import SAMPLE_ID, SAMPLES_IN_ROWS, Layout, quoted, unusable_cell
from cpivae.data.text import Text
from cpivae.errors import DataError

MISSING: Final = ("", "NA", "NaN", "nan", "N/A", "NULL", "null", "None", "-")
"""Cells that stand for a missing value, exactly as written."""

# A line, the header with its thousands of names above all, must fit into one block.
_BLOCK_BYTES = 1 << 24
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan)", re.ASCII | re.IGNORECASE)


def read_numbers(text: Text, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N lines x D columns as float64; index and columns are the labels as written, not yet checked.

    Raises
    ------
    DataError
        A line with too few or too many cells, or a cell that is neither a finite number nor missing.
    """
    rows = text.rows()
    last_line_of_header, header = next(rows)
    if next(rows, None) is None or len(header) == 1:
        return pd.DataFrame(index=[cells[0] for _, cells in text.rows()][1:], columns=header[1:], dtype=np.float64)
    positions = [str(i) for i in range(len(header))]  # names may repeat, positions cannot
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text.content),
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK_BYTES, skip_rows=last_line_of_header, column_names=positions, use_threads=True
            ),
            pyarrow.csv.ParseOptions(delimiter=text.delimiter),
            pyarrow.csv.ConvertOptions(
                column_types={p: pa.float64() for p in positions} | {"0": pa.string()}, null_values=MISSING
            ),
        )
    except pa.ArrowException as error:
        raise _first_problem(text, layout, f"cannot be read as a table: {str(error).splitlines()[0]}") from error
    values = np.empty((table.num_rows, len(header) - 1), order="F")
    for i in range(len(header) - 1):
        values[:, i] = table.column(i + 1).to_numpy()
    if np.isinf(values).any():
        raise _first_problem(text, layout, "holds an infinite value")
    index = pd.Index(table.column(0).to_pylist(), dtype="str", name=header[0].strip() or SAMPLE_ID)
    return pd.DataFrame(values, index=index, columns=pd.Index(header[1:], dtype="str"))


def read_strings(text: Text, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N lines x D columns as text, in the same form as :func:`read_numbers`."""
    rows = text.rows()
    _, header = next(rows)
    cells = []
    for line, row in rows:
        if len(row) != len(header):
            raise _ragged(text, line, row, len(header), layout, last=next(rows, None) is None)
        cells.append(row)
    index = pd.Index([row[0] for row in cells], dtype="str", name=header[0].strip() or SAMPLE_ID)
    return pd.DataFrame([row[1:] for row in cells], index=index, columns=pd.Index(header[1:], dtype="str"), dtype="str")


def write_delimited(frame: pd.DataFrame, path: Path, ending: str) -> None:
    """Write a table of float64; every number comes back as the same float64."""
    delimiter = "," if ending.startswith(".csv") else "\t"
    header = io.StringIO()
    csv.writer(header, delimiter=delimiter, lineterminator="\n").writerow([frame.index.name or SAMPLE_ID, *frame])
    ids = [str(i) for i in frame.index]
    values = frame.to_numpy(np.float64)
    columns = [pa.array(ids), *(pa.array(values[:, i], from_pandas=True) for i in range(values.shape[1]))]
    options = pyarrow.csv.WriteOptions(
        include_header=False,
        delimiter=delimiter,
        # "needed" puts quotes around every text, needed or not.
        quoting_style="needed" if any(set(i) & {'"', delimiter} for i in ids) else "none",
    )
    with _output(path, ending) as stream:
        stream.write(header.getvalue().encode())
        pyarrow.csv.write_csv(pa.table(columns, names=[str(i) for i in range(len(columns))]), stream, options)


@contextmanager
def _output(path: Path, ending: str) -> Iterator[BinaryIO]:
    with path.open("wb") as stream:
        if not ending.endswith(".gz"):
            yield stream
            return
        # Random digits hardly shrink further at higher levels, which take seven times as long.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0) as compressed:
            yield cast(BinaryIO, compressed)


def _first_problem(text: Text, layout: Layout, otherwise: str) -> DataError:
    """Walk the file cell by cell to the first line or cell that cannot be used."""
    rows = text.rows()
    _, header = next(rows)
    for line, cells in rows:
        if len(cells) != len(header):
            return _ragged(text, line, cells, len(header), layout, last=next(rows, None) is None)
        for name, cell in zip(header[1:], cells[1:], strict=True):
            if not _is_usable(cell):
                return unusable_cell(text.path, f"line {line} ({layout.row} {quoted(cells[0])})", name, cell)
    return DataError(f"{text.path} {otherwise}.")


def _is_usable(cell: str) -> bool:
    if cell in MISSING:
        return True
    number = cell.strip(" \t")
    return _NUMBER.fullmatch(number) is not None and not math.isinf(float(number))


def _ragged(text: Text, line: int, cells: list[str], width: int, layout: Layout, *, last: bool) -> DataError:
    n_lines = len("".join(cells).splitlines()) or 1
    if n_lines > 1:
        advice = "A quote is probably opened there and never closed."
    elif last and len(cells) < width:
        advice = "It is the last line: the file was probably cut off; copy it again."
    elif len(cells) == width + 1:
        advice = "If the header lacks a name above the first column, add one."
    else:
        advice = "Every line must have as many cells as the header."
    return DataError(
        f"{text.path}, line {line - n_lines + 1} ({layout.row} {quoted(cells[0])}): the header has {width} cells, "
        f"this line {len(cells)}. {advice}"
    )
