"""The text of a delimited file: uncompressed, known to be UTF-8 text, and separated by a known delimiter."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cpivae.data.formats import require_kind
from cpivae.errors import DataError

_NAMES = {",": "comma", "\t": "tab", ";": "semicolon"}
_ENDING_FOR = {",": ".csv", "\t": ".tsv", ";": ".txt"}
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Text:
    """The uncompressed bytes of a delimited file."""

    path: Path
    content: bytes
    delimiter: str

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


def load_text(path: Path, ending: str) -> Text:
    """Read a delimited file and find its delimiter.

    Raises
    ------
    DataError
        The file is empty, damaged, binary or not UTF-8, or is separated otherwise than its ending says.
    """
    content = path.read_bytes()
    require_kind(path, content, ending)
    if ending.endswith(".gz"):
        content = _decompressed(path, content)
        require_kind(path, content, ending.removesuffix(".gz"))
    if b"\0" in content:
        raise DataError(f"{path} is binary, not text, although its ending {ending} says so. Export it as CSV (UTF-8).")
    first = next((line for line in _lines(path, content) if line.strip()), None)
    if first is None:
        raise DataError(f"{path} holds only blank lines. A table needs a header line and at least one sample.")
    return Text(path, content, _delimiter(path, ending, first))


def _lines(path: Path, content: bytes) -> Iterator[str]:
    try:
        yield from io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content) from error


def _not_utf8(path: Path, content: bytes) -> DataError:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Save the file as UTF-8."
        )
    return DataError(f"{path} is not UTF-8. Save the file as UTF-8.")


def _decompressed(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise DataError(f"{path} is cut off: its gzip stream has no end. Copy it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Copy it again.") from error


def _delimiter(path: Path, ending: str, header: str) -> str:
    """Choose by the ending; ``.txt`` by the header line, a tab before all because it is never part of a name."""
    unquoted = _QUOTED.sub("", header)
    found = {d: unquoted.count(d) for d in _NAMES}
    wanted = {".csv": ",", ".tsv": "\t"}.get(ending.removesuffix(".gz"))
    if wanted is None:
        return "\t" if found["\t"] else max(",;", key=found.__getitem__)
    other = max(found, key=found.__getitem__)
    if found[other] and not found[wanted]:
        better = _ENDING_FOR[other] + (".gz" if ending.endswith(".gz") else "")
        raise DataError(f"{path} ends in {ending} but looks {_NAMES[other]}-separated; rename it to {better}.")
    return wanted
