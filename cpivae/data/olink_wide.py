"""NPX Manager's wide export: header rows Panel, Assay, Uniprot ID and OlinkID, samples below, then LOD and the like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final

import numpy as np
import pandas as pd

from cpivae.data.cells import as_number, canonical
from cpivae.data.delimited import ragged
from cpivae.data.labels import SAMPLE_ID, SAMPLES_IN_ROWS, quoted, require_usable, unusable_cell
from cpivae.data.measured import NPX, Measured, Origin, Plate, plates_of
from cpivae.data.olink import (
    feature_names,
    is_control_assay,
    is_flagged,
    repeated_controls,
    suspected_controls,
)
from cpivae.data.text import Text
from cpivae.errors import DataError, listed

_HEADER: Final = {
    "panel": "panel",
    "assay": "assay",
    "uniprotid": "uniprot",
    "uniprot": "uniprot",
    "olinkid": "olink_id",
}
_NEEDED: Final = ("panel", "assay", "uniprot", "olink_id")
_FURTHER_HEADER: Final = ("unit", "units", "panelversion", "panellotnr")
_LIMITS: Final = ("lod", "maxlod", "platelod", "platespecificlod")
_FOOTER: Final = (*_LIMITS, "missingdatafreq", "missingfreq", "normalization", "assaywarning", "lloq", "uloq", "lql")
_TITLE_LINES: Final = 20
"""The header begins within so many lines."""

Row = tuple[int, list[str]]


def is_wide(text: Text) -> bool:
    """Say whether the first column begins with Panel and Assay, as no plain table does."""
    first = [canonical(cells[0]) for _, cells in islice(text.rows(), _TITLE_LINES)]
    return any(pair == ("panel", "assay") for pair in pairwise(first))


@dataclass
class _Layout:
    """Which columns hold what."""

    features: pd.DataFrame
    """(D,) position, name, panel and UniProt entry of every assay."""
    plates: dict[str, int] = field(default_factory=dict)
    """Panel -> column of the plate."""
    warnings: dict[str, int] = field(default_factory=dict)
    """Panel -> column of the QC warning."""
    notes: list[str] = field(default_factory=list)

    def of_panel(self, columns: dict[str, int], panel: str) -> int | None:
        """Return the column that speaks of a panel: its own, or the only one."""
        return columns.get(panel, next(iter(columns.values())) if len(columns) == 1 else None)


def read_wide(text: Text) -> Measured:
    """Read an NPX Manager export.

    Raises
    ------
    DataError
        A row of the header is missing, a row is of no known kind, or a value is no number.
    """
    rows = _equally_wide(text)
    header = _header(text, rows)
    layout = _columns(text, header)
    samples, limits = _body(text, rows)
    if not samples:
        raise DataError(f"{text.path} has a header but no sample below it.")
    positions, names = layout.features["position"], pd.Index(layout.features["name"].tolist(), dtype="str")
    index = pd.Index([cells[0] for _, cells in samples], dtype="str", name=SAMPLE_ID)
    values = pd.DataFrame(_numbers(text, samples, positions, names), index=index, columns=names)
    try:
        require_usable(values, text.path)  # names that occur twice would select more than they mean below
    except DataError as error:
        raise DataError(f"{error}{repeated_controls(index[index.duplicated()], 'remove their rows')}") from None
    layout.notes += suspected_controls(index, "remove their rows")
    return Measured(
        values,
        Origin("Olink NPX Manager's wide form", NPX, notes=tuple(layout.notes)),
        flagged=_flagged(layout, samples, values),
        below_lod=_below(text, layout, samples, limits, values),
        proteins=layout.features.set_index("name")["uniprot"],
        plates=_plates(layout, samples, values),
    )


def _equally_wide(text: Text) -> Iterator[Row]:
    """Yield the rows from the Panel row on, none of them blank and each as wide as that one."""
    width = 0
    rows = text.rows()
    for line, cells in rows:
        if not width and canonical(cells[0]) == "panel":
            width = len(cells)
        if not width or not any(cell.strip() for cell in cells):
            continue
        if len(cells) != width:
            raise ragged(text, line, cells, width, SAMPLES_IN_ROWS, last=next(rows, None) is None)
        yield line, cells


def _header(text: Text, rows: Iterator[Row]) -> dict[str, list[str]]:
    header: dict[str, list[str]] = {}
    for line, cells in rows:
        kind = canonical(cells[0])
        if kind in _FURTHER_HEADER:
            continue
        if kind not in _HEADER or _HEADER[kind] in header:
            raise DataError(
                f"{text.path}, line {line}: {quoted(cells[0])} stands where the rows Panel, Assay, Uniprot ID "
                f"and OlinkID are expected, each once; so far there are {listed(header)}. Export the file again."
            )
        header[_HEADER[kind]] = [cell.strip() for cell in cells]
        if len(header) == len(_NEEDED):
            return header
    raise DataError(
        f"{text.path} ends within its header, after {listed(header)}. It was probably cut off; copy it again."
    )


def _columns(text: Text, header: dict[str, list[str]]) -> _Layout:
    columns = pd.DataFrame({name: header[name][1:] for name in _NEEDED})
    columns["position"] = range(1, len(columns) + 1)
    kinds = columns["assay"].map(canonical)
    control = is_control_assay(columns["assay"])
    deviation = kinds.str.startswith("qcdeviation")
    of_sample = kinds.isin(("plateid", "qcwarning"))
    assays = columns[(columns["olink_id"] != "") & ~control & ~of_sample & ~deviation]
    if assays.empty:
        raise DataError(f"{text.path} has no column with an OlinkID.")
    blank = assays[assays["assay"] == ""]
    if len(blank):
        raise DataError(
            f"{text.path}: the assay with OlinkID {listed(blank['olink_id'])} has no name in the Assay row."
        )
    layout = _Layout(assays.assign(name=feature_names(text.path, assays["assay"], assays["olink_id"], None)))
    for kind, found in (("plateid", layout.plates), ("qcwarning", layout.warnings)):
        found |= dict(zip(columns["panel"][kinds == kind], columns["position"][kinds == kind], strict=True))
    if control.any():
        layout.notes.append(f"{control.sum()} control assays left out: {listed(columns['assay'][control].unique())}")
    other = columns[~control & ~of_sample & ~deviation & (columns["olink_id"] == "")]
    named = other[other["assay"] != ""]
    if len(named):
        raise DataError(
            f"{text.path}: the OlinkID of assay {listed(named['assay'])} is blank. Fill it in, or leave the column out."
        )
    if len(other):
        layout.notes.append(f"{len(other)} columns without assay and OlinkID left out")
    return layout


def _body(text: Text, rows: Iterator[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of samples, and those with limits of detection."""
    samples: list[Row] = []
    footer: list[Row] = []
    for line, cells in rows:
        if canonical(cells[0]) in _FOOTER:
            footer.append((line, cells))
        elif footer:
            raise DataError(
                f"{text.path}, line {line}: the row {quoted(cells[0])} stands below the row "
                f"{quoted(footer[0][1][0])}, where no samples are. Move it above, or remove it."
            )
        else:
            samples.append((line, cells))
    return samples, [row for row in footer if canonical(row[1][0]) in _LIMITS]


def _numbers(text: Text, rows: Iterable[Row], positions: Iterable[int], names: pd.Index) -> list[list[float]]:
    values = []
    for line, cells in rows:
        values.append([as_number(cells[i]) for i in positions])
        for value, i, name in zip(values[-1], positions, names, strict=True):
            if value is None:
                raise unusable_cell(text.path, f"line {line} (sample {quoted(cells[0])})", name, cells[i])
    return values  # type: ignore[return-value]


def _flagged(layout: _Layout, samples: list[Row], values: pd.DataFrame) -> pd.DataFrame | None:
    if not layout.warnings:
        return None
    flagged = pd.DataFrame(False, index=values.index, columns=values.columns)
    for panel, assays in layout.features.groupby("panel"):
        column = layout.of_panel(layout.warnings, str(panel))
        if column is not None:
            rows = is_flagged(pd.Series([cells[column] for _, cells in samples], dtype="str")).to_numpy()
            flagged.loc[rows, assays["name"]] = True
    return flagged


def _below(
    text: Text, layout: _Layout, samples: list[Row], limits: list[Row], values: pd.DataFrame
) -> pd.DataFrame | None:
    """Compare with the limits of the sample's plate where a row of limits names its plate, else with the only row."""
    if not limits:
        return None
    rows = np.array(_numbers(text, limits, layout.features["position"], values.columns))
    below = np.zeros(values.shape, dtype=bool)
    for panel, assays in layout.features.groupby("panel"):
        here = values.columns.get_indexer(pd.Index(assays["name"]))
        plate = layout.of_panel(layout.plates, str(panel))
        row_of = {
            "" if plate is None else cells[plate].strip(): k for k, (_, cells) in reversed(list(enumerate(limits)))
        }
        for i, (_, cells) in enumerate(samples):
            own = row_of.get("" if plate is None else cells[plate].strip(), row_of.get(""))
            if own is not None:
                below[i, here] = values.to_numpy()[i, here] < rows[own, here]
    return pd.DataFrame(below, index=values.index, columns=values.columns)


def _plates(layout: _Layout, samples: list[Row], values: pd.DataFrame) -> tuple[Plate, ...]:
    found: list[Plate] = []
    for panel, assays in layout.features.groupby("panel"):
        column = layout.of_panel(layout.plates, str(panel))
        if column is not None:
            plates = pd.Series([cells[column] for _, cells in samples], dtype="str")
            several = len(layout.plates) > 1
            of_panel = plates_of(values[assays["name"]], plates)
            found += [p._replace(name=f"{p.name} ({panel})") if several else p for p in of_panel]
    return tuple(found)
