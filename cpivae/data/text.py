"""The text of a delimited file: known to be UTF-8, and separated by a known delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from cpivae.data.cells import as_number
from cpivae.data.content import Content
from cpivae.errors import DataError

DELIMITERS: Final = {"\t": "tab", ";": "semicolon", ",": "comma"}
"""Delimiter -> its name, the one first that is least often part of a name or a number."""

_SNIFFED_LINES: Final = 50
_SNIFFED_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Text:
    """The uncompressed bytes of a delimited file."""

    path: Path
    content: bytes
    delimiter: str
    note: str = ""
    """What became of a workbook that this text was taken from."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each line that is not blank, counted from 1, and its cells."""
        reader = csv.reader(_lines(self.path, self.content), delimiter=self.delimiter)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(
                f"{self.path}, line {reader.line_num}: {error}. A quote is probably opened and never closed."
            ) from error

    def require_unbroken(self) -> None:
        """Check that no cell goes on over several lines: in a vendor's export it is a quote that was never closed.

        Raises
        ------
        DataError
            There is such a cell; it may have swallowed whole rows.
        """
        if not any(line.count(b'"') % 2 for line in io.BytesIO(self.content)):
            return  # every quote is closed on its line, and a walk through a large file takes a while
        previous = 0
        for line, cells in self.rows():
            if any("\n" in cell or "\r" in cell for cell in cells):
                raise DataError(
                    f"{self.path}, line {previous + 1}: a cell goes on over several lines. A quote is probably opened "
                    "there and never closed."
                )
            previous = line


def load_text(content: Content) -> Text:
    """Find the delimiter of a text.

    Raises
    ------
    DataError
        The text is blank or not UTF-8.
    """
    path, data = content.path, content.data
    first = next((line for line in _lines(path, data) if line.strip()), None)
    if first is None:
        raise DataError(f"{path} holds only blank lines. A table needs a header line and at least one sample.")
    return Text(path, data, _delimiter(path, data, first))


def _lines(path: Path, content: bytes) -> Iterator[str]:
    try:
        yield from io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise not_utf8(path, content) from error


def not_utf8(path: Path, content: bytes) -> DataError:
    """Name the first byte of a text that is not UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8, but probably Latin-1 or "
            "Windows-1252. Save the file as UTF-8."
        )
    return DataError(f"{path} is not UTF-8. Save the file as UTF-8.")


def _delimiter(path: Path, data: bytes, header: str) -> str:
    """Choose the delimiter that cuts the first lines into equally many cells, most cells first.

    Where several do, because ids and names are full of them, it is one that leaves numbers.  Where none does, the lines
    are ragged: the one most frequent in the header, so that the message fits.
    """
    cells = {d: _n_cells(path, data, d) for d in DELIMITERS}
    even = [d for d, n in cells.items() if n > 1]
    if even:
        return max(even, key=lambda d: (len(even) > 1 and _ends_in_numbers(path, data, d), cells[d]))
    counted = header if any(d in header for d in DELIMITERS) else data[:_SNIFFED_BYTES].decode(errors="replace")
    return "\t" if "\t" in counted else max(",;", key=counted.count)


def _n_cells(path: Path, data: bytes, delimiter: str) -> int:
    """Return how many cells the first lines all have, 0 where they differ."""
    try:
        widths = {len(cells) for _, cells in islice(Text(path, data, delimiter).rows(), _SNIFFED_LINES)}
    except DataError:  # a quote never closed; told when the table is read
        return 0
    return widths.pop() if len(widths) == 1 else 0


def _ends_in_numbers(path: Path, data: bytes, delimiter: str) -> bool:
    last = [cells[-1] for _, cells in islice(Text(path, data, delimiter).rows(), 1, _SNIFFED_LINES)]
    return bool(last) and all(cell == cell.strip() and as_number(cell) is not None for cell in last)
