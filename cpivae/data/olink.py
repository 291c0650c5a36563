"""Words of Olink's exports: columns, controls, quality; and the names that features get."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pandas as pd

from cpivae.data.cells import canonical
from cpivae.errors import DataError, listed

#: Column of a long export as :func:`canonical` spells it -> what it is to the reader.
COLUMNS: Final = {
    "sampleid": "sample",
    "olinkid": "olink_id",
    "uniprot": "uniprot",
    "uniprotid": "uniprot",
    "assay": "assay",
    "panel": "panel",
    "npx": "npx",
    "lod": "lod",
    "platelod": "plate_lod",
    "platespecificlod": "plate_lod",
    "maxlod": "max_lod",
    "qcwarning": "sample_qc",
    "sampleqc": "sample_qc",
    "assaywarning": "assay_qc",
    "assayqc": "assay_qc",
    "sampletype": "sample_type",
    "assaytype": "assay_type",
    "plateid": "plate",
}
LIMITS: Final = ("plate_lod", "lod", "max_lod")
"""Limits of detection, the best one first: of the sample's own plate, the export's only one, the largest of all."""
NUMERIC: Final = ("npx", "lod")

_UNFLAGGED: Final = ("", "pass", "na", "nan", "false")  # "false" of a column of warnings
_SAMPLES: Final = ("", "sample", "na", "nan")
_ASSAYS: Final = ("", "assay", "na", "nan")
_LIKE_A_CONTROL: Final = re.compile(r".*(control|ctrl).*|(neg|ipc|sc|nc|pc)\d{0,2}")
_CONTROL_ASSAY: Final = re.compile(r"(inc|ext|amp|det)(ubation|ension|lification|ection)?(ctrl|control)\d*")


def is_long(names: list[str]) -> bool:
    """Say whether these are the column names of a long Olink export."""
    known = {canonical(name) for name in names}
    return {"sampleid", "npx"} <= known and bool({"olinkid", "assay"} & known)


def is_flagged(qc: pd.Series) -> pd.Series:
    """Say of every QC field whether it is a warning (WARN, FAIL, Warning, EXCLUDED, ...)."""
    return ~qc.str.strip().str.casefold().isin(_UNFLAGGED)


def is_control_sample(kinds: pd.Series) -> pd.Series:
    """Say of every Sample_Type whether it is a control."""
    return ~kinds.str.strip().str.casefold().isin(_SAMPLES)


def like_controls(ids: Iterable[str]) -> list[str]:
    """Return, each once, the sample ids that look like the controls of a plate; nobody but the user can know.

    >>> like_controls(["CONTROL_SAMPLE_AS 1", "Neg Ctrl", "IPC_2", "SC", "SC1024", "IPCAS1"])
    ['CONTROL_SAMPLE_AS 1', 'Neg Ctrl', 'IPC_2', 'SC']
    """
    return [name for name in dict.fromkeys(ids) if _LIKE_A_CONTROL.fullmatch(canonical(name))]


def suspected_controls(ids: Iterable[str], remedy: str) -> list[str]:
    """Name, in one line or none, the samples that are probably controls, in a file that does not say which are.

    Where most ids look so, it is how the study names its samples.
    """
    samples = list(dict.fromkeys(ids))
    found = like_controls(samples)
    if not found or len(found) * 2 > len(samples):
        return []
    return [f"{len(found)} sample ids look like controls, and count as samples: {listed(found)}. If they are, {remedy}"]


def repeated_controls(ids: Iterable[str], remedy: str) -> str:
    """Return the sentence that follows where ids occur more than once: a control is on every plate."""
    found = like_controls(ids)
    return f" {listed(found)}: if these are the controls of several plates, {remedy}." if found else ""


def is_control_assay(names: pd.Series, kinds: pd.Series | None = None) -> pd.Series:
    """Say of every assay whether it is an internal control, by its name or by its AssayType."""
    controls = names.map(canonical).str.fullmatch(_CONTROL_ASSAY).astype(bool)
    return controls if kinds is None else controls | ~kinds.str.strip().str.casefold().isin(_ASSAYS)


def feature_names(path: object, assay: pd.Series, olink_id: pd.Series | None, panel: pd.Series | None) -> pd.Series:
    """Name every assay ``Assay|OlinkID``; without OlinkIDs ``Assay|Panel``, and without panels ``Assay``.

    An OlinkID is one assay on one panel: IL6, which is on four Explore panels, becomes four features, and the name of
    each is the same in every export, whatever else an export holds.

    Raises
    ------
    DataError
        An assay without an OlinkID, or an OlinkID under several assay names, whose values would part.
    """
    if olink_id is None:
        return assay if panel is None else assay + "|" + panel
    pairs = pd.DataFrame({"assay": assay, "olink_id": olink_id}).drop_duplicates()
    blank = pairs[pairs["olink_id"].str.strip() == ""]
    if len(blank):
        raise DataError(f"{path}: the OlinkID of assay {listed(blank['assay'])} is blank. Fill it in, or leave it out.")
    twice = pairs[pairs["olink_id"].duplicated(keep=False)]
    if len(twice):
        named = (f"{i} ({', '.join(rows['assay'])})" for i, rows in twice.groupby("olink_id"))
        raise DataError(
            f"{path}: {twice['olink_id'].nunique()} OlinkIDs are used for several assays: {listed(named)}. "
            "Write one name for each, or read the exports one by one."
        )
    return assay + "|" + olink_id
