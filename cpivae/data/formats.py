"""Which formats a table can be written in; what a file that is read holds, its content tells (see ``content``)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cpivae.errors import DataError, listed

WRITABLE: Final = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")


def table_ending(path: Path) -> str:
    """Return the ending of an output that decides its format, in lower case, such as ``".csv.gz"``.

    Call it before hours of work, so that a typing error costs nothing.

    Raises
    ------
    DataError
        No table can be written under this ending.
    """
    name = path.name.lower()
    ending = max((e for e in WRITABLE if name.endswith(e)), key=len, default=None)
    if ending is None:
        got = "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix
        problem = f"the ending '{got}' is not a table format" if got else "the name has no ending"
        raise DataError(f"{path}: {problem} that can be written. Use one of {listed(WRITABLE)}.")
    return ending
