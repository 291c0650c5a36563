"""One cell of text: a number, a missing value, or neither; and a name, however it is spelt."""

from __future__ import annotations

import math
import re
from typing import Final

MISSING: Final = ("", "NA", "NaN", "nan", "N/A", "NULL", "null", "None", "-", "#N/A")
"""Cells that stand for a missing value, exactly as written."""

_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan)", re.ASCII | re.IGNORECASE)
_WITH_COMMAS = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f]*,[\d.,' \u00a0\u202f]*\d(e[+-]?\d+)?", re.IGNORECASE)
_WITH_GROUPS = re.compile(r"[+-]?\d{1,3}([.' \u00a0\u202f]\d{3})+")


def as_number(cell: str) -> float | None:
    """Return the value of a cell, NaN where it is missing, and None where it is neither a finite number nor missing.

    >>> as_number(" 1.5"), as_number("NA"), as_number("1,5"), as_number("1e999")
    (1.5, nan, None, None)
    """
    if cell in MISSING:
        return math.nan
    number = cell.strip(" \t")
    if _NUMBER.fullmatch(number) is None:
        return None
    value = float(number)
    return None if math.isinf(value) else value


def is_written_otherwise(cell: str) -> bool:
    """Say whether a cell is a number with a decimal comma or thousands separators, which is refused and not read."""
    shown = cell.strip()
    return _WITH_COMMAS.fullmatch(shown) is not None or _WITH_GROUPS.fullmatch(shown) is not None


def why_unusable(cell: str) -> str:
    """Say what is wrong with a cell that :func:`as_number` cannot read, and what to do.

    >>> why_unusable("=A1*2")
    'is a formula, not a value. Export the table with the results in place of the formulas.'
    """
    rule = (
        "Values are plain numbers with a decimal point; leave a missing one empty, and remove columns that are not "
        "measurements."
    )
    if _is_infinite(cell):
        return f"is infinite. {rule}"
    shown = cell.strip()
    if shown.startswith(("=", "@")) or re.match(r"[+-][A-Z]+[(\d]", shown):
        return "is a formula, not a value. Export the table with the results in place of the formulas."
    if is_written_otherwise(cell):
        return (
            f"is not a number. {rule} Whether it has a decimal comma or a thousands separator cannot be told; export "
            "the table with a decimal point and no separators."
        )
    return f"is not a number. {rule}"


def canonical(name: str) -> str:
    """Spell the name of a column or row without case, blanks and punctuation.

    >>> canonical("Uniprot ID"), canonical("Missing Data freq. ")
    ('uniprotid', 'missingdatafreq')
    """
    return "".join(c for c in name.casefold() if c.isalnum())


def _is_infinite(cell: str) -> bool:
    """Tell ``inf`` and ``1e999``, a number too large for a float, from text."""
    try:
        return math.isinf(float(cell))
    except ValueError:
        return False
