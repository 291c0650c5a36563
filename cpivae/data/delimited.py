"""Numbers in comma-, tab- and semicolon-separated text, plain or gzipped.

pyarrow reads the numbers: it is fast, and strict where pandas pads a short row with blanks.  It does not say which
cell it stumbled over, so only a failed read goes through the text once more, slowly, to name that cell.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from cpivae.data.cells import MISSING, as_number
from cpivae.data.labels import SAMPLE_ID, SAMPLES_IN_ROWS, Layout, quoted, unusable_cell
from cpivae.data.text import Text
from cpivae.errors import DataError

# A line, the header with its thousands of names above all, must fit into one block.
_BLOCK_BYTES = 1 << 24


def read_numbers(text: Text, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N lines x D columns as float64; index and columns are the labels as written, not yet checked.

    Raises
    ------
    DataError
        A line with too few or too many cells, or a cell that is neither a finite number nor missing.
    """
    _, header = next(text.rows())
    n_lines = sum(1 for _ in islice(text.rows(), 2)) - 1
    if n_lines == 0 or len(header) == 1:
        return pd.DataFrame(index=[cells[0] for _, cells in text.rows()][1:], columns=header[1:], dtype=np.float64)
    table = read_columns(text, range(len(header)), range(1, len(header)), layout)
    values = np.empty((table.num_rows, len(header) - 1), order="F")
    for i in range(len(header) - 1):
        values[:, i] = table.column(i + 1).to_numpy()
    index = pd.Index(table.column(0).to_pylist(), dtype="str", name=header[0].strip() or SAMPLE_ID)
    return pd.DataFrame(values, index=index, columns=pd.Index(header[1:], dtype="str"))


def read_columns(
    text: Text, wanted: Sequence[int], numeric: Collection[int], layout: Layout = SAMPLES_IN_ROWS, label: int = 0
) -> pa.Table:
    """Return some columns, called by their positions: float64 where ``numeric``, text elsewhere.

    ``label``: the column that names the line in messages.

    Raises
    ------
    DataError
        A line with too few or too many cells, or a cell of ``numeric`` that is neither a finite number nor missing.
    """
    last_line_of_header, header = next(text.rows())
    positions = [str(i) for i in range(len(header))]  # names may repeat, positions cannot
    types = {str(i): pa.float64() if i in numeric else pa.string() for i in wanted}
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(text.content),
            pyarrow.csv.ReadOptions(
                block_size=_BLOCK_BYTES, skip_rows=last_line_of_header, column_names=positions, use_threads=True
            ),
            pyarrow.csv.ParseOptions(delimiter=text.delimiter),
            pyarrow.csv.ConvertOptions(column_types=types, null_values=MISSING, include_columns=list(types)),
        )
    except pa.ArrowException as error:
        reason = f"cannot be read as a table: {str(error).splitlines()[0]}"
        raise _first_problem(text, numeric, layout, label, reason) from error
    if any(np.isinf(table.column(str(i)).to_numpy()).any() for i in wanted if i in numeric):
        raise _first_problem(text, numeric, layout, label, "holds an infinite value")
    return table


def read_strings(text: Text, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N lines x D columns as text, in the same form as :func:`read_numbers`."""
    rows = text.rows()
    _, header = next(rows)
    cells = []
    for line, row in rows:
        if len(row) != len(header):
            raise ragged(text, line, row, len(header), layout, last=next(rows, None) is None)
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


def _first_problem(text: Text, numeric: Collection[int], layout: Layout, label: int, otherwise: str) -> DataError:
    """Walk the file cell by cell to the first line or cell that cannot be used."""
    rows = text.rows()
    _, header = next(rows)
    for line, cells in rows:
        if len(cells) != len(header):
            return ragged(text, line, cells, len(header), layout, label, last=next(rows, None) is None)
        for position in numeric:
            if as_number(cells[position]) is None:
                place = f"line {line} ({layout.row} {quoted(cells[label])})"
                return unusable_cell(text.path, place, header[position], cells[position])
    return DataError(f"{text.path} {otherwise}.")


def ragged(
    text: Text, line: int, cells: list[str], width: int, layout: Layout, label: int = 0, *, last: bool
) -> DataError:
    """Describe a line that has more or fewer cells than the header."""
    n_lines = len("".join(cells).splitlines()) or 1
    if n_lines > 1:
        advice = "A quote is probably opened there and never closed."
    elif last and len(cells) < width:
        advice = "It is the last line: the file was probably cut off; copy it again."
    elif len(cells) == width + 1:
        advice = "If the header lacks a name above the first column, add one."
    else:
        advice = "Every line must have as many cells as the header."
    named = quoted(cells[min(label, len(cells) - 1)])
    return DataError(
        f"{text.path}, line {line - n_lines + 1} ({layout.row} {named}): the header has {width} cells, this line "
        f"{len(cells)}. {advice}"
    )
