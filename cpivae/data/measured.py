"""What a file says about the samples and proteins of one platform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from cpivae.errors import DataError, listed

NPX: Final = "NPX (log2)"
LOG2_RFU: Final = "log2 RFU"
LOGARITHMIC: Final = (NPX, LOG2_RFU)
NOT_SAID: Final = "not said by the file"
AS_IN_FILE: Final = "none, values are as in the file"

_LARGEST_LOG: Final = 64.0
"""No log2 of a protein measurement is as large; the median of linear ones (RFU, counts, pg/mL) mostly is."""


class Plate(NamedTuple):
    """A plate as the file names it."""

    name: str
    n_samples: int
    median: float
    """Of all its measured cells."""


@dataclass(frozen=True)
class Origin:
    """What a table was before it was read, and what became of it."""

    form: str
    """What the file is, in words."""
    units: str = NOT_SAID
    transform: str = AS_IN_FILE
    """What was done to the values in reading them."""
    notes: tuple[str, ...] = ()
    """What was left out or merged, a line each."""

    def told(self) -> list[str]:
        """Return the lines that a person should see; a plain table of which nothing was left out needs none."""
        facts = [] if self.units == NOT_SAID else [f"{self.form}; units {self.units}; transform: {self.transform}"]
        return [*facts, *self.notes]

    def noting(self, *notes: str) -> Origin:
        """Return this with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Measured:
    """A table of N samples x D features, and what else its file says."""

    values: pd.DataFrame
    """(N, D) float64, NaN where missing; sample ids in the index, feature names in the columns."""
    origin: Origin
    flagged: pd.DataFrame | None = None
    """(N, D) cells under a QC warning; None where the file has no such warnings."""
    below_lod: pd.DataFrame | None = None
    """(N, D) cells below the limit of detection; None where the file has no limits."""
    proteins: pd.Series | None = None
    """UniProt entry of every feature, where the file has it."""
    genes: pd.Series | None = None
    """Gene symbols of every feature, separated by blanks, where the file has them beside the features' names."""
    plates: tuple[Plate, ...] = ()

    @property
    def detected(self) -> pd.DataFrame:
        """(N, D) cells with a value that is not below the limit of detection."""
        present = self.values.notna()
        return present if self.below_lod is None else present & ~self.below_lod

    def without_flagged(self, source: object) -> Measured:
        """Leave out the cells under a QC warning, and the samples that have no other.

        Raises
        ------
        DataError
            Every measured cell is under a warning.
        """
        if self.flagged is None:
            return replace(self, origin=self.origin.noting("the file has no QC warnings, so none was dropped"))
        values = self.values.mask(self.flagged)
        n_cells = int((self.flagged & self.values.notna()).to_numpy().sum())
        empty = values.isna().all(axis="columns") & self.flagged.any(axis="columns")
        if empty.all():
            raise DataError(f"{source}: every sample is under a QC warning. Read it without drop_qc_warnings.")
        kept = values.index[~empty]
        notes = [f"{n_cells:,} cells under a QC warning dropped"]
        if empty.any():
            notes.append(f"{int(empty.sum())} samples with no cell left dropped: {listed(values.index[empty])}")
        below = None if self.below_lod is None else self.below_lod.loc[kept]
        return replace(
            self,
            values=values.loc[kept],
            flagged=self.flagged.loc[kept],
            below_lod=below,
            origin=self.origin.noting(*notes),
        )

    def stripped(self) -> Measured:
        """Remove the blanks around sample ids and feature names."""
        index, columns = self.values.index.str.strip(), self.values.columns.str.strip()
        changed = int((index != self.values.index).sum()), int((columns != self.values.columns).sum())
        if not any(changed):
            return self
        note = f"blanks around {changed[0]} sample ids and {changed[1]} feature names removed"
        return replace(
            self,
            values=self.values.set_axis(index).set_axis(columns, axis="columns"),
            flagged=None if self.flagged is None else self.flagged.set_axis(index).set_axis(columns, axis="columns"),
            below_lod=None if self.below_lod is None else self.below_lod.set_axis(index).set_axis(columns, axis=1),
            proteins=None if self.proteins is None else self.proteins.set_axis(columns),
            genes=None if self.genes is None else self.genes.set_axis(columns),
            origin=self.origin.noting(note),
        )


def looks_linear(values: pd.DataFrame) -> bool:
    """Say whether values (N, D) are too large to be logarithms."""
    measured = values.to_numpy()
    measured = measured[~np.isnan(measured)]
    return bool(measured.size and measured.min() >= 0 and np.median(measured) > _LARGEST_LOG)


def plates_of(values: pd.DataFrame, plates: pd.Series) -> tuple[Plate, ...]:
    """Summarise the plates of N samples, where ``plates`` (N,) names the plate of each; blank ones are left out."""
    found = []
    for name, rows in values.groupby(plates.to_numpy(), sort=True):
        if not str(name).strip():
            continue
        measured = rows.to_numpy()
        measured = measured[~np.isnan(measured)]
        found.append(Plate(str(name), len(rows), float(np.median(measured)) if measured.size else float("nan")))
    return tuple(found)
