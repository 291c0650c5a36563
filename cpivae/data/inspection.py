"""What ``cpivae inspect`` says of a file: what it is, how much is in it, and what to know before training on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.config.schema import DataSettings
from cpivae.data.cells import as_number, is_written_otherwise
from cpivae.data.content import Content, load_content
from cpivae.data.delimited import read_strings
from cpivae.data.labels import quoted
from cpivae.data.measured import NOT_SAID, Measured, looks_linear
from cpivae.data.olink import is_long
from cpivae.data.olink_wide import is_wide
from cpivae.data.readers import read_measured, readable, text_of
from cpivae.data.tables import without_case_and_blanks
from cpivae.data.text import DELIMITERS, Text
from cpivae.errors import listed

Facts = list[tuple[str, str]]
"""What a line is about, and what it says."""

_SHOWN_PLATES = 12
_LINES_LOOKED_AT = 200


def inspect_file(path: Path, settings: DataSettings | None = None) -> Facts:
    """Say what a file is.

    Raises
    ------
    DataError
        It looks like a table of measurements and cannot be read as one, or nobody could read it.
    """
    settings = settings or DataSettings()
    with readable(path):
        content = load_content(path)
        other = None if settings.transpose else _no_measurements(content)
    if other is not None:
        return other
    return list(_facts(read_measured(path, settings), settings, content))


def _facts(measured: Measured, settings: DataSettings, content: Content) -> Iterator[tuple[str, str]]:
    values = measured.values
    n_measured, n_cells = int(values.notna().to_numpy().sum()), values.size
    yield "what", measured.origin.form + (", compressed" if content.compressed else "")
    yield "shape", f"{values.shape[0]:,} samples x {values.shape[1]:,} features"
    yield "missing", _share(n_cells - n_measured, n_cells)
    yield "units", _units(measured)
    yield "transform", measured.origin.transform
    yield "values", _spread(values)
    yield "QC warnings", "not said by the file" if measured.flagged is None else _flags(measured.flagged)
    below = measured.below_lod
    yield "below LOD", "no LOD in the file" if below is None else _share(int(below.to_numpy().sum()), n_measured)
    yield from _plates(measured)
    yield from _duplicates(measured)
    if settings.min_detected:
        n_kept = int((measured.detected.mean() >= settings.min_detected).sum())
        yield (
            "min_detected",
            f"{n_kept:,} of {values.shape[1]:,} features in at least {settings.min_detected:.0%} of samples",
        )
    for note in measured.origin.notes:
        yield "note", note


def _units(measured: Measured) -> str:
    if measured.origin.units != NOT_SAID:
        return measured.origin.units
    if looks_linear(measured.values):
        return (
            f"{NOT_SAID}; the values look linear (RFU, counts, concentrations): consider "
            "data.log_transform.platform_a.enabled, or platform_b"
        )
    if measured.values.columns.str.contains(r"\|OID\d", regex=True).any():
        return f"{NOT_SAID}; by the names of the features NPX (log2)"
    return f"{NOT_SAID}; the values look logarithmic (NPX, log2 RFU) or scaled"


def _spread(values: pd.DataFrame) -> str:
    measured = values.to_numpy()[values.notna().to_numpy()]
    if not measured.size:
        return "none"
    low, middle, high = np.quantile(measured, [0, 0.5, 1])
    return f"smallest {low:.4g}, median {middle:.4g}, largest {high:.4g}"


def _flags(flagged: pd.DataFrame) -> str:
    samples = flagged.index[flagged.any(axis="columns")]
    if not len(samples):
        return "none"
    return f"{_share(int(flagged.to_numpy().sum()), flagged.size)}, in {len(samples)} samples: {listed(samples, 5)}"


def _plates(measured: Measured) -> Facts:
    shown = [
        (f"plate {plate.name}", f"median {plate.median:.4g} ({plate.n_samples} samples)")
        for plate in measured.plates[:_SHOWN_PLATES]
    ]
    rest = len(measured.plates) - _SHOWN_PLATES
    return shown + ([("plates", f"and {rest} more")] if rest > 0 else []) or [("plates", "not said by the file")]


def _duplicates(measured: Measured) -> Iterator[tuple[str, str]]:
    """Speak of what is there twice in some sense: ids that are nearly the same, proteins with several assays."""
    found = False
    for what, names in (("sample ids", measured.values.index), ("feature names", measured.values.columns)):
        alike: dict[str, list[str]] = {}
        for name in names:
            alike.setdefault(without_case_and_blanks(name), []).append(name)
        groups = [" = ".join(map(quoted, same)) for same in alike.values() if len(same) > 1]
        if groups:
            found = True
            yield "duplicates", f"{len(groups)} {what} differ only by case or blanks: {listed(groups, 3)}"
        blank = [quoted(name) for name in names if name != name.strip()]
        if blank:
            yield (
                "blanks",
                f"{len(blank)} {what} begin or end with a blank: {listed(blank, 3)}; data.strip_ids removes it",
            )
    if measured.proteins is not None:
        named = measured.proteins[measured.proteins.str.strip() != ""]
        several = named[named.duplicated(keep=False)]
        if len(several):
            found = True
            groups = [f"{protein} ({', '.join(of.index)})" for protein, of in several.groupby(several, sort=False)]
            yield "duplicates", f"{len(groups)} proteins have several features: {listed(groups, 3)}"
    if not found:
        yield "duplicates", "none"


def _share(n: int, of: int) -> str:
    return f"{n:,} of {of:,} cells ({n / of:.2%})" if of else "no cells"


def _no_measurements(content: Content) -> Facts | None:
    """Describe prose and tables of text, such as annotation; None for what is read as measurements."""
    if content.container not in ("text", "workbook"):
        return None
    text = text_of(content)
    header, *lines = [cells for _, cells in islice(text.rows(), _LINES_LOOKED_AT)]
    if is_wide(text) or is_long(header) or not lines:
        return None
    even = [cells for cells in lines if len(cells) == len(header)]
    if _is_prose(lines, len(even) / len(lines)):
        return [("what", "plain text and no table; no command reads it")]
    if len(even) < len(lines):
        return None
    words = [name for name, *cells in list(zip(header, *lines, strict=True))[1:] if _is_text(cells)]
    return _annotation(text, header, words) if words else None


def _is_prose(lines: list[list[str]], even: float) -> bool:
    """Tell prose, in which commas stand anywhere, from a table with damaged lines; ``even``: share of intact ones."""
    return even < 0.5 or (even < 0.9 and _is_text([cell for cells in lines for cell in cells[1:]]))


def _is_text(cells: list[str]) -> bool:
    """Say whether most cells of a column are words; a few in a column of numbers are mistakes."""
    filled = [cell for cell in cells if cell.strip()]
    words = (cell for cell in filled if as_number(cell) is None and not is_written_otherwise(cell))
    return sum(1 for _ in words) > len(filled) / 2


def _annotation(text: Text, header: list[str], words: list[str]) -> Facts:
    frame = read_strings(text)
    repeated = frame.index[frame.index.duplicated()].unique()
    return [
        ("what", f"a table of text, such as annotation ({DELIMITERS[text.delimiter]}-separated); not measurements"),
        ("shape", f"{frame.shape[0]:,} rows, columns {listed(header)}"),
        ("missing", _share(int((frame == "").to_numpy().sum()), frame.size)),
        ("text", f"{listed(words)}; measurements are numbers alone"),
        (
            "duplicates",
            f"{len(repeated)} names in the first column: {listed(repeated, 3)}" if len(repeated) else "none",
        ),
    ]
