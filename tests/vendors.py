"""Small files as Olink, SomaLogic and AnnData lay them out, with values that name their sample and protein."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import h5py
import numpy as np
import openpyxl
import pandas as pd

SAMPLES = [f"S{i:02d}" for i in range(1, 9)]
ASSAYS = [
    ("IL6", "OID20101", "P05231", "Inflammation"),
    ("IL6", "OID20563", "P05231", "Oncology"),
    ("TNF", "OID20074", "P01375", "Inflammation"),
    ("CXCL8", "OID20153", "P10145", "Oncology"),
]
NAMES = [f"{assay}|{olink_id}" for assay, olink_id, _, _ in ASSAYS]


def npx(sample: int, assay: int) -> float:
    """A value that occurs once in a table: sample 3 (from 0) and assay 2 give 4.03."""
    return round(sample + 1 + (assay + 1) / 100, 2)


def grid() -> pd.DataFrame:
    """The table that the files below hold."""
    values = [[npx(i, j) for j in range(len(ASSAYS))] for i in range(len(SAMPLES))]
    return pd.DataFrame(values, index=pd.Index(SAMPLES, name="SampleID"), columns=NAMES)


def explore_rows() -> list[dict[str, str]]:
    """A row per sample and assay as in an Explore export, with one control sample; LOD of 2.5 for every assay.

    S02 is under a QC warning on the Oncology panel.
    """
    rows = []
    for i, sample in enumerate([*SAMPLES, "CONTROL_1"]):
        for j, (assay, olink_id, uniprot, panel) in enumerate(ASSAYS):
            rows.append(
                {
                    "SampleID": sample,
                    "Index": str(i + 1),
                    "OlinkID": olink_id,
                    "UniProt": uniprot,
                    "Assay": assay,
                    "MissingFreq": "0.1",
                    "Panel": panel,
                    "PlateID": f"Plate{1 + i % 2}",
                    "QC_Warning": "WARN" if (sample, panel) == ("S02", "Oncology") else "PASS",
                    "LOD": "2.5",
                    "NPX": str(npx(i, j)),
                    "Assay_Warning": "PASS",
                    "Sample_Type": "SAMPLE" if sample in SAMPLES else "PLATE_CONTROL",
                }
            )
    return rows


def as_text(rows: Sequence[dict[str, str]], delimiter: str = ";") -> str:
    """Write records as delimited text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def manager_rows() -> list[list[object]]:
    """The sheet of an NPX Manager export: two panels, each with its plate and QC warning; every LOD is 2.5."""
    panels = ["Inflammation", "Oncology"]
    rows: list[list[object]] = [["NPX data"], ["Olink NPX Manager 3.0"]]
    for k, title in enumerate(("Assay", "OlinkID", "Uniprot ID", "Panel")):
        rows.append([title, *(assay[k] for assay in ASSAYS)])
    header = {str(row[0]): row for row in rows[2:]}
    for kind in ("Plate ID", "QC Warning"):
        header["Panel"] += [f"Olink {p}" for p in panels]
        header["Assay"] += [kind] * 2
        header["Uniprot ID"] += [None] * 2
        header["OlinkID"] += [None] * 2
    header["Panel"][1:5] = [f"Olink {panel}" for *_, panel in ASSAYS]
    rows[2:] = [header[title] for title in ("Panel", "Assay", "Uniprot ID", "OlinkID")]
    rows.append([])
    for i, sample in enumerate(SAMPLES):
        quality = ["Pass", "Warning" if sample == "S02" else "Pass"]
        rows.append([sample, *(npx(i, j) for j in range(4)), f"P{1 + i % 2}", f"Q{1 + i % 2}", *quality])
    rows += [
        [],
        ["LOD", 2.5, 2.5, 2.5, 2.5],
        ["Missing Data freq.", 0.1, 0.1, 0.1, 0.1],
        ["Normalization", "Intensity"],
    ]
    return rows


def write_workbook(path: Path, rows: Sequence[Sequence[object]], *more: str) -> None:
    """Write rows into the first sheet of a workbook; ``more`` names further sheets with a cell each."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(list(row))
    for title in more:
        book.create_sheet(title)["A1"] = "note"
    book.save(path)


def write_h5ad(
    path: Path, frame: pd.DataFrame, obs: dict[str, Sequence[str]] | None = None, kind: str = "array"
) -> None:
    """Write a table as AnnData 0.10 does: X dense or sparse, names in obs and var."""
    from scipy import sparse

    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        if kind == "array":
            file.create_dataset("X", data=frame.to_numpy()).attrs["encoding-type"] = "array"
        else:
            matrix = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}[kind](frame.to_numpy())
            group = file.create_group("X")
            group.attrs.update({"encoding-type": kind, "shape": frame.shape})
            for part in ("data", "indices", "indptr"):
                group.create_dataset(part, data=getattr(matrix, part))
        for name, labels, columns in (("obs", frame.index, obs or {}), ("var", frame.columns, {})):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "dataframe", "_index": "_index", "column-order": list(columns)})
            group.create_dataset("_index", data=list(labels), dtype=text)
            for column, cells in columns.items():
                found = sorted(set(cells))
                category = group.create_group(column)
                category.attrs["encoding-type"] = "categorical"
                category.create_dataset("codes", data=np.array([found.index(c) for c in cells], dtype="int8"))
                category.create_dataset("categories", data=found, dtype=text)


def real_adat(n_somamers: int = 25, n_samples: int = 12) -> str:
    """The first lines and columns of the vendor's example: its header, annotation, calibrators and samples."""
    text = (files("somadata") / "data" / "example_data.adat").read_text(encoding="utf-8")
    head, mark, table = text.replace("\r\n", "\n").partition("^TABLE_BEGIN\n")
    lines = [line.split("\t")[: 35 + n_somamers] for line in table.splitlines()[: 21 + n_samples]]
    return head + mark + "".join("\t".join(line) + "\n" for line in lines)
