"""Olink's long exports (Explore, Target, Reveal): a row for every sample and assay, as text or parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cpivae.data.cells import canonical
from cpivae.data.delimited import read_columns
from cpivae.data.labels import SAMPLE_ID, quoted
from cpivae.data.measured import NPX, Measured, Origin, Plate
from cpivae.data.olink import (
    COLUMNS,
    LIMITS,
    NUMERIC,
    feature_names,
    is_control_assay,
    is_control_sample,
    is_flagged,
    repeated_controls,
    suspected_controls,
)
from cpivae.data.parquet import numbers, strings
from cpivae.data.text import Text
from cpivae.errors import DataError, listed

_NAMED = 3
"""So many cells are named in a message."""

_LEAVE_OUT = "remove their rows, or add a column Sample_Type with anything but SAMPLE for them"


def long_from_text(text: Text) -> Measured:
    """Read a long export from text; see :func:`_measured`."""
    _, header = next(text.rows())
    where = _positions(text.path, header)
    table = read_columns(
        text, list(where.values()), [where[name] for name in NUMERIC if name in where], label=where["sample"]
    )
    records = pd.DataFrame({name: table.column(str(i)).to_pandas() for name, i in where.items()})
    return _measured(text.path, records)


def long_from_parquet(path: Path, table: Any) -> Measured:
    """Read a long export from an Arrow table; see :func:`_measured`."""
    where = _positions(path, table.column_names)
    samples = strings(path, table.column(where["sample"]), "SampleID")
    records = pd.DataFrame({"sample": samples})
    for name, i in where.items():
        column, called = table.column(i), table.column_names[i]
        if name in NUMERIC:
            records[name] = numbers(path, column, called, records["sample"].tolist())
        elif name != "sample":
            records[name] = strings(path, column, called)
    return _measured(path, records)


def _positions(path: Path, header: list[str]) -> dict[str, int]:
    """Return where the known columns are; of two that mean the same, none is better, so they are refused.

    Limits of detection are the exception: the first of ``LIMITS`` is ``lod``, and the others are not read.
    """
    found: dict[str, int] = {}
    for i, name in enumerate(header):
        meaning = COLUMNS.get(canonical(name))
        if meaning is None:
            continue
        if meaning in found:
            raise DataError(
                f"{path}: the columns {quoted(header[found[meaning]])} and {quoted(name)} mean the same. Keep one."
            )
        found[meaning] = i
    limits = [found.pop(name) for name in LIMITS if name in found]
    return found | ({"lod": limits[0]} if limits else {})


def _measured(path: Path, records: pd.DataFrame) -> Measured:
    """Turn records, a row per sample and assay, into samples x assays.

    Controls (Sample_Type, AssayType) are left out.

    Raises
    ------
    DataError
        A sample or assay without a name, only controls, or a cell that is there twice with different values.
    """
    for name in set(records) - set(NUMERIC):
        broken = next((cell for cell in records[name].unique() if len(cell.splitlines()) > 1), None)
        if broken is not None:
            raise DataError(f"{path}: the cell {quoted(broken)} is broken over lines. Write it on one line.")
    records, notes = _without_controls(path, records)
    assay = records["assay"] if "assay" in records else records["olink_id"]
    for what, names in (("sample id", records["sample"]), ("assay", assay)):
        blank = np.flatnonzero(names.str.strip() == "")
        if len(blank):
            raise DataError(f"{path}: the {what} in row {records.index[blank[0]] + 1} is blank. Fill it in.")
    olink_id, panel = records.get("olink_id"), records.get("panel")
    feature = feature_names(path, assay, olink_id, panel) if "assay" in records else assay
    row, samples = pd.factorize(records["sample"])
    column, features = pd.factorize(feature)
    cell = row * len(features) + column
    again = _repeated(path, records, feature, cell)
    notes += [f"{int(again.sum()):,} rows that repeat another with the same value left out"] if again.any() else []

    def spread(where: Any, values: Any, empty: Any) -> pd.DataFrame:
        """Put values into the cells that they belong to."""
        grid = np.full(len(samples) * len(features), empty)
        grid[where] = values
        index = pd.Index(samples, dtype="str", name=SAMPLE_ID)
        return pd.DataFrame(
            grid.reshape(len(samples), len(features)), index=index, columns=pd.Index(features, dtype="str")
        )

    quality = [is_flagged(records[name]) for name in ("sample_qc", "assay_qc") if name in records]
    proteins = None
    if "uniprot" in records:
        proteins = records["uniprot"].set_axis(feature)[lambda s: ~s.index.duplicated()]
    return Measured(
        spread(cell, records["npx"].to_numpy(), np.nan),
        Origin("Olink NPX in long form", NPX, notes=tuple(notes)),
        flagged=spread(cell[np.logical_or.reduce(quality, axis=0)], True, False) if quality else None,
        below_lod=spread(cell[(records["npx"] < records["lod"]).to_numpy()], True, False) if "lod" in records else None,
        proteins=proteins,
        plates=_plates(records[~again]),
    )


def _without_controls(path: Path, records: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    notes = []
    if "sample_type" in records:
        control = is_control_sample(records["sample_type"])
        dropped = records[control].groupby("sample_type")["sample"].nunique()
        if len(dropped):
            kinds = ", ".join(f"{kind} {n}" for kind, n in dropped.items())
            notes.append(f"{dropped.sum()} control samples left out ({kinds})")
            records = records[~control]
    else:
        notes += suspected_controls(records["sample"].unique(), _LEAVE_OUT)
    if "assay" in records and len(records):
        control = is_control_assay(records["assay"], records.get("assay_type"))
        if control.any():
            names = records["assay"][control].unique()
            notes.append(f"{len(names)} control assays left out: {listed(names)}")
            records = records[~control]
    if records.empty:
        raise DataError(f"{path} has a header but no sample below it{f': {notes[0]}' if notes else ''}.")
    return records, notes


def _repeated(path: Path, records: pd.DataFrame, feature: pd.Series, cell: Any) -> Any:
    """Return which rows repeat an earlier one; values that differ are an error, because no mean of them is meant."""
    again = pd.Series(cell).duplicated().to_numpy()
    if not again.any():
        return again
    values = pd.Series(records["npx"].to_numpy()).groupby(cell)
    several = values.nunique(dropna=False)
    if (several > 1).any():
        wrong = several.index[several > 1]
        where = np.flatnonzero(pd.Series(cell).isin(wrong[:_NAMED]) & ~again)
        different = [listed(f"{v:g}" for v in values.get_group(cell[i])) for i in where]
        named = [
            f"{quoted(records['sample'].iloc[i])} {feature.iloc[i]} ({v})"
            for i, v in zip(where, different, strict=True)
        ]
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise DataError(
            f"{path}: {len(wrong)} cells occur more than once with different values: {'; '.join(named)}{more}. "
            "Every sample must be measured once by every assay: rename the replicates or drop them."
            + repeated_controls(records["sample"].iloc[np.flatnonzero(pd.Series(cell).isin(wrong))], _LEAVE_OUT)
        )
    return again


def _plates(records: pd.DataFrame) -> tuple[Plate, ...]:
    if "plate" not in records:
        return ()
    groups = records[records["plate"].str.strip() != ""].groupby("plate", sort=True)
    return tuple(Plate(str(name), rows["sample"].nunique(), float(rows["npx"].median())) for name, rows in groups)
