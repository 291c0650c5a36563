"""What a file is, told by its content; its ending is never asked."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cpivae.errors import DataError

Container = Literal["parquet", "adat", "workbook", "hdf5", "text"]

_ADAT: Final = (b"!Checksum", b"^HEADER")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_WORKBOOK: Final = "xl/workbook.xml"

#: First bytes -> what it is and what to do: formats that are known and not read.
_REFUSED: Final = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook that is old or has a password. Save it as .xlsx without one",
    b"\xff\xfe": "text in UTF-16. Save it as UTF-8",
    b"\xfe\xff": "text in UTF-16. Save it as UTF-8",
    b"BZh": "compressed with bzip2. Unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz. Unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Unpack it, or compress it with gzip",
    b"RDX3\n": "an R data file. Write the table with write.csv(x, row.names = FALSE)",
    b"X\n\0\0": "an R data file. Write the table with write.csv(x, row.names = FALSE)",
    b"%PDF-": "a PDF. Export the table it shows as CSV",
}


@dataclass(frozen=True)
class Content:
    """The uncompressed bytes of a file and what holds the table in them."""

    path: Path
    data: bytes
    container: Container
    compressed: bool


def load_content(path: Path) -> Content:
    """Read a file, undo gzip, and say what is inside.

    Raises
    ------
    DataError
        The file is empty or damaged, or of a known kind that is not read.
    """
    data = path.read_bytes()
    compressed = data.startswith(b"\x1f\x8b")
    if compressed:
        data = _decompressed(path, data)
    if not data.removeprefix(_BYTE_ORDER_MARK):
        raise DataError(f"{path} is empty. A table needs a header line and at least one sample.")
    return Content(path, data, _container(path, data), compressed)


def _container(path: Path, data: bytes) -> Container:
    if data.startswith(b"PAR1"):
        return "parquet"
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if data.startswith(b"PK\x03\x04"):
        return _in_zip(path, data)
    if data.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is compressed twice with gzip. Unpack it once.")
    for mark, what in _REFUSED.items():
        if data.startswith(mark):
            raise DataError(f"{path} is {what}.")
    if data.removeprefix(_BYTE_ORDER_MARK).startswith(_ADAT):
        return "adat"
    if b"\0" in data:
        raise DataError(
            f"{path} is binary and of no known format: it is damaged, or no table. Export it as CSV (UTF-8)."
        )
    return "text"


def _in_zip(path: Path, data: bytes) -> Container:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise DataError(
            f"{path} is an Excel workbook or another zip archive, and cut off or damaged: {error}."
        ) from error
    if _WORKBOOK not in names:
        raise DataError(f"{path} is a zip archive and no .xlsx workbook. Unpack it and give the table inside.")
    return "workbook"


def _decompressed(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise DataError(f"{path} is cut off: its gzip stream has no end. Copy it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}. Copy it again.") from error
