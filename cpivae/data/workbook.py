"""Excel workbooks: the first sheet that holds anything, as the text that saving it as CSV would give.

What is told about a text (which line, which cell) then holds for a sheet as well, and there is one way to read both.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from datetime import date, time
from typing import Any

from cpivae.data.content import Content
from cpivae.data.labels import quoted, reason
from cpivae.data.text import Text
from cpivae.errors import DataError, listed


def load_workbook(content: Content) -> Text:
    """Return a sheet as comma-separated text; a row that is empty in the sheet is an empty line.

    Raises
    ------
    DataError
        The workbook is damaged or empty, or holds a formula: its result may be stored or not.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            filled, others = _first_with_cells(content)
    except DataError:
        raise
    except Exception as error:  # openpyxl lets out whatever damaged XML trips
        raise DataError(
            f"{content.path} is cut off or damaged and cannot be read as .xlsx: {reason(error)}."
        ) from error
    if filled is None:
        raise DataError(f"{content.path} holds only empty sheets. A table needs a header line and at least one sample.")
    name, rows = filled
    note = f"sheet {quoted(name)} was read, and not {listed(map(quoted, others))}" if others else ""
    width = max(map(len, rows))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        if row:
            writer.writerow(row + [""] * (width - len(row)))
        else:
            text.write("\n")
    return Text(content.path, text.getvalue().encode(), ",", note)


def _first_with_cells(content: Content) -> tuple[tuple[str, list[list[str]]] | None, list[str]]:
    """Return the name and rows of the first sheet with cells, and the names of further ones."""
    import openpyxl  # half a second, and most tables are no workbook

    book = openpyxl.load_workbook(io.BytesIO(content.data), read_only=True, keep_links=False)
    filled, others = None, []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a sheet says of its own size may be wrong
        if filled is not None:
            others += [sheet.title] if any(c.value is not None for row in sheet.iter_rows() for c in row) else []
            continue
        rows = list(_rows(content, sheet))
        while rows and not rows[-1]:
            rows.pop()
        filled = (sheet.title, rows) if rows else None
    return filled, others


def _rows(content: Content, sheet: Any) -> Iterator[list[str]]:
    """Yield the cells of every row up to its last that is not empty."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = []
        for cell in row:
            if cell.data_type == "f":
                raise DataError(
                    f"{content.path}, sheet {quoted(sheet.title)}, cell {cell.column_letter}{number}: "
                    f"{quoted(str(cell.value))} is a formula. Paste the values in place of the formulas."
                )
            cells.append(_text(cell.value))
        while cells and not cells[-1]:
            cells.pop()
        yield cells


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, date | time):
        return value.isoformat()
    return repr(value) if isinstance(value, float) else str(value)
