"""SomaScan's ADAT files: clinical samples x human proteins, as log2 of relative fluorescence units (RFU)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from cpivae.data.labels import SAMPLE_ID, quoted
from cpivae.errors import DataError, listed

_SAMPLE_COLUMNS: Final = ("SampleId", "SampleType")
_FEATURE_COLUMNS: Final = ("SeqId", "UniProt", "Organism", "Type")


@dataclass(frozen=True)
class Adat:
    """The part of an ADAT that a model can use: N clinical samples x D human proteins."""

    values: pd.DataFrame
    """log2 RFU; rows named by SampleId, columns by SeqId, such as ``10000-28``."""
    samples: pd.DataFrame
    """Annotation of the N samples as text, such as Age and Sex, in the order of the rows."""
    features: pd.DataFrame
    """Annotation of the D proteins as text, such as UniProt and EntrezGeneSymbol, in the order of the columns."""


def read_adat(path: Path) -> Adat:
    """Read the rows of SampleType ``Sample`` and the columns of Organism ``Human`` and Type ``Protein``.

    An RFU of zero or less has no logarithm and becomes missing.

    Raises
    ------
    DataError
        The file is cut off or damaged, lacks one of the annotations above, or holds no such row or column.
    """
    rfu, samples, features = _parsed(path)
    _require(path, "sample", samples, _SAMPLE_COLUMNS)
    _require(path, "protein", features, _FEATURE_COLUMNS)
    for row, cells in enumerate(rfu):
        if len(cells) != len(features):
            raise DataError(
                f"{path}: sample {quoted(samples['SampleId'].iloc[row])} (row {row + 1}) has {len(cells)} values for "
                f"{len(features)} SOMAmers. The file was probably cut off; copy it again."
            )
    clinical = (samples["SampleType"] == "Sample").to_numpy(bool)
    human = ((features["Organism"] == "Human") & (features["Type"] == "Protein")).to_numpy(bool)
    if not clinical.any():
        raise DataError(f"{path} has no row of SampleType 'Sample'; it has {listed(samples['SampleType'].unique())}.")
    if not human.any():
        raise DataError(f"{path} has no column of Organism 'Human' and Type 'Protein'.")
    samples, features = samples[clinical], features[human]
    measured = np.asarray(rfu, dtype=np.float64)[np.ix_(clinical, human)]
    values = pd.DataFrame(
        np.log2(np.where(measured > 0, measured, np.nan)),
        index=pd.Index(samples["SampleId"], dtype="str", name=SAMPLE_ID),
        columns=pd.Index(features["SeqId"].to_numpy(), dtype="str"),
    )
    return Adat(values, samples.set_axis(values.index), features.set_axis(values.columns))


def _parsed(path: Path) -> tuple[list[list[float]], pd.DataFrame, pd.DataFrame]:
    """Return the RFU of all rows, the annotation of the rows, and that of the columns."""
    import somadata  # takes a second, and most tables are no ADAT

    try:
        with path.open(encoding="utf-8", newline="") as stream, _silence():
            # parse_file, not read_adat: the latter pads the short last line of a truncated file with missing values.
            rfu, samples, features, _ = somadata.parse_file(stream)
        return rfu, pd.DataFrame(samples, dtype="str"), pd.DataFrame(features, dtype="str")
    except OSError:
        raise
    except Exception as error:  # the vendor's parser lets out whatever a damaged line trips
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is cut off or damaged and cannot be read as ADAT: {reason}. Copy it again.") from error


def _require(path: Path, what: str, annotation: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in annotation]
    if missing or annotation.empty:
        absent = f"the {what} annotation {listed(missing)}" if missing else f"any {what}"
        raise DataError(f"{path} lacks {absent}; it was probably cut off. Copy it again.")


@contextmanager
def _silence() -> Iterator[Any]:
    """Keep the vendor's warnings to itself: they concern annotation that is not used here."""
    root, threshold = logging.getLogger(), logging.root.manager.disable
    handler = logging.NullHandler()  # without any handler, logging.warning() would configure the caller's logging
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(threshold)
        root.removeHandler(handler)
