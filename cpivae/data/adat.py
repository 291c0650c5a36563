"""SomaScan's ADAT files: clinical samples x human proteins, as log2 of relative fluorescence units (RFU)."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from cpivae.data.content import Content, load_content
from cpivae.data.labels import SAMPLE_ID, quoted, reason
from cpivae.data.measured import LOG2_RFU, Measured, Origin, plates_of
from cpivae.data.olink import is_flagged
from cpivae.data.text import not_utf8
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
    steps: str
    """The vendor's ProcessSteps, such as ``Raw RFU, Hyb Normalization, ..., anmlSMP``; empty where not given."""
    notes: tuple[str, ...]
    """What was left out, a line each."""


def measured_adat(content: Content) -> Measured:
    """Read an ADAT (see :func:`read_adat`) with the vendor's row check and plates."""
    adat = adat_of(content)
    steps = adat.steps.casefold()
    normalised = (
        "ANML-normalised" if "anmlsmp" in steps else f"not ANML-normalised (steps: {adat.steps or 'not given'})"
    )
    flagged = None
    notes = adat.notes
    if "RowCheck" in adat.samples:
        rows = is_flagged(adat.samples["RowCheck"]).to_numpy()
        flagged = pd.DataFrame(
            np.repeat(rows[:, None], len(adat.features), axis=1), adat.values.index, adat.values.columns
        )
    if "ColCheck" in adat.features:
        n_flagged = int(is_flagged(adat.features["ColCheck"]).sum())
        notes = (*notes, f"{n_flagged} features carry ColCheck FLAG and are kept") if n_flagged else notes
    return Measured(
        adat.values,
        Origin(f"SomaScan ADAT, {normalised}", LOG2_RFU, "log2 of RFU", notes),
        flagged=flagged,
        proteins=adat.features["UniProt"],
        genes=adat.features.get("EntrezGeneSymbol"),
        plates=plates_of(adat.values, adat.samples["PlateId"]) if "PlateId" in adat.samples else (),
    )


def read_adat(path: Path) -> Adat:
    """Read an ADAT file; see :func:`adat_of`."""
    return adat_of(load_content(path))


def adat_of(content: Content) -> Adat:
    """Take from an ADAT the rows of SampleType ``Sample`` and the columns of Organism ``Human`` and Type ``Protein``.

    An RFU of zero or less has no logarithm and becomes missing.

    Raises
    ------
    DataError
        The file is cut off or damaged, lacks one of the annotations above, or holds no such row or column.
    """
    path = content.path
    rfu, samples, features, steps = _parsed(content)
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
    kinds_of_features = features["Type"].where(features["Type"] != "Protein", "protein of " + features["Organism"])
    notes = [
        f"{int((~kept).sum())} {what} left out ({_counted(kinds[~kept])})"
        for what, kept, kinds in (
            ("calibrators, buffers and other control samples", clinical, samples["SampleType"]),
            ("SOMAmers that are controls or not for human proteins", human, kinds_of_features),
        )
        if not kept.all()
    ]
    samples, features = samples[clinical], features[human]
    measured = np.asarray(rfu, dtype=np.float64)[np.ix_(clinical, human)]
    n_without_log = int((measured <= 0).sum())
    if n_without_log:
        notes.append(f"{n_without_log} RFU of zero or less have no logarithm and count as missing")
    values = pd.DataFrame(
        np.log2(np.where(measured > 0, measured, np.nan)),
        index=pd.Index(samples["SampleId"], dtype="str", name=SAMPLE_ID),
        columns=pd.Index(features["SeqId"].to_numpy(), dtype="str"),
    )
    return Adat(values, samples.set_axis(values.index), features.set_axis(values.columns), steps, tuple(notes))


def _parsed(content: Content) -> tuple[list[list[float]], pd.DataFrame, pd.DataFrame, str]:
    """Return the RFU of all rows, the annotation of the rows, that of the columns, and the steps of processing."""
    import somadata  # takes a second, and most tables are no ADAT

    path = content.path
    try:
        text = content.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, content.data) from error
    _require_equally_wide(path, text)
    try:
        with _silence():
            # parse_file, not read_adat: the latter pads the short last line of a truncated file with missing values.
            rfu, samples, features, header = somadata.parse_file(io.StringIO(text, newline=""))
        steps = str(header.get("!ProcessSteps", header.get("ProcessSteps", "")))
        return rfu, pd.DataFrame(samples, dtype="str"), pd.DataFrame(features, dtype="str"), steps
    except Exception as error:  # the vendor's parser lets out whatever a damaged line trips
        raise DataError(
            f"{path} is cut off or damaged and cannot be read as ADAT: {reason(error)}. Copy it again."
        ) from error


def _require_equally_wide(path: Path, text: str) -> None:
    """Check that the lines of the table have equally many cells, as the vendor writes them.

    The parser fills a line of annotation that has lost a tab with a blank at its end, and every cell behind the tab
    would belong to the neighbour of its SOMAmer.
    """
    before, mark, table = text.partition("^TABLE_BEGIN")
    lines = [line.rstrip("\r") for line in table.split("\n")[1:]]
    cells = [line.count("\t") + 1 for line in lines if line.strip()]
    width = max(cells, default=0)
    uneven = next((i for i, n in enumerate(cells) if n != width), None)
    if uneven is not None and mark:
        line = before.count("\n") + 2 + uneven
        last = uneven == len(cells) - 1
        advice = "It is the last line: the file was probably cut off; copy it again." if last else "Copy it again."
        raise DataError(f"{path}, line {line}: the table is {width} cells wide, this line {cells[uneven]}. {advice}")


def _counted(kinds: pd.Series) -> str:
    return "; ".join(f"{kind} {n}" for kind, n in kinds.value_counts().items())


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
