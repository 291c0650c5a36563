"""Which table formats there are, and how each is told by its ending and by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cpivae.errors import DataError, listed

DELIMITED: Final = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
WRITABLE: Final = (*DELIMITED, ".parquet")
READABLE: Final = (*WRITABLE, ".adat")

#: First bytes of a file -> (what it is, what to do when the ending promised something else).
_SIGNATURES: Final = {
    b"\x1f\x8b": ("gzip", "compressed with gzip", "add .gz to its name"),
    b"PAR1": ("parquet", "a parquet file", "rename it to end in .parquet"),
    b"!Checksum": ("adat", "an ADAT file", "rename it to end in .adat"),
    b"^HEADER": ("adat", "an ADAT file", "rename it to end in .adat"),
    b"PK\x03\x04": ("zip", "an Excel workbook or another zip archive", "save the sheet as CSV (UTF-8)"),
    b"\xd0\xcf\x11\xe0": ("xls", "an old Excel workbook", "save the sheet as CSV (UTF-8)"),
    b"\x89HDF": ("hdf5", "an HDF5 file", "export the matrix as CSV or parquet"),
    b"\xff\xfe": ("utf-16", "text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("utf-16", "text in UTF-16", "save it as UTF-8"),
}
_LOOKS = {
    "gzip": "compressed with gzip",
    "parquet": "a parquet file (those start with PAR1)",
    "adat": "an ADAT file (those start with !Checksum or ^HEADER)",
}


def table_ending(path: Path, allowed: tuple[str, ...] = WRITABLE) -> str:
    """Return the ending of ``path`` that decides its format, in lower case, such as ``".csv.gz"``.

    Call it on an output name before hours of work, so that a typing error costs nothing.

    Raises
    ------
    DataError
        The ending is none of ``allowed`` (by default the formats that can be written).
    """
    name = path.name.lower()
    ending = max((e for e in allowed if name.endswith(e)), key=len, default=None)
    if ending is None:
        got = "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix
        problem = f"the ending '{got}' is not a table format" if got else "the name has no ending"
        raise DataError(f"{path}: {problem}. Use one of {listed(allowed)}.")
    return ending


def require_kind(path: Path, head: bytes, ending: str) -> None:
    """Compare the first bytes of a file, or of its uncompressed text, with what ``ending`` promises.

    Raises
    ------
    DataError
        The file is empty, or is not what its ending says.
    """
    if not head:
        raise DataError(f"{path} is empty. A table needs a header line and at least one sample.")
    found = next((facts for mark, facts in _SIGNATURES.items() if head.startswith(mark)), None)
    promised = _kind(ending)
    if found is not None and found[0] != promised:
        raise DataError(f"{path} is {found[1]}, not what its ending {ending} says: {found[2]}.")
    if found is None and promised != "text":
        raise DataError(
            f"{path} is not {_LOOKS[promised]}, although its ending {ending} says so. "
            "Rename it to the ending of its real format, or copy it again if it was damaged."
        )


def _kind(ending: str) -> str:
    if ending.endswith(".gz"):
        return "gzip"
    return ending.removeprefix(".") if ending in (".parquet", ".adat") else "text"
