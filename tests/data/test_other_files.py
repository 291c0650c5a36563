"""Workbooks, AnnData, and cells as spreadsheets leave them."""

from __future__ import annotations

import gzip
import zipfile
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import openpyxl
import pandas as pd
import pytest
from vendors import SAMPLES, grid, manager_rows, real_adat, write_h5ad, write_workbook

from cpivae.config.schema import DataSettings
from cpivae.data.readers import read_measured, read_table, read_text_table
from cpivae.errors import DataError


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- workbooks


def plain_rows() -> list[list[object]]:
    frame = grid()
    return [
        ["SampleID", *frame.columns],
        *([i, *row] for i, row in zip(frame.index, frame.to_numpy().tolist(), strict=True)),
    ]


def test_a_plain_sheet_is_a_wide_table(tmp_path: Path) -> None:
    write_workbook(tmp_path / "x.xlsx", plain_rows())
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.xlsx"), grid())
    assert read_measured(tmp_path / "x.xlsx").origin.form == "wide .xlsx"


@pytest.mark.parametrize(
    ("cell", "value"), [(None, np.nan), ("NA", np.nan), (1 / 3, 0.3333333333333333), (5, 5.0), ("1.5", 1.5)]
)
def test_cells_of_a_sheet(tmp_path: Path, cell: object, value: float) -> None:
    rows = plain_rows()
    rows[3][2] = cell
    write_workbook(tmp_path / "x.xlsx", rows)
    np.testing.assert_equal(read_table(tmp_path / "x.xlsx").iloc[2, 1], value)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=B2+1", "sheet 'Sheet', cell C4: '=B2+1' is a formula. Paste the values in place of the formulas"),
        (date(2024, 3, 1), "'2024-03-01T00:00:00' is not a number"),
        (True, "'True' is not a number"),
        ("#DIV/0!", "'#DIV/0!' is not a number"),
        ("1,5", "Whether it has a decimal comma or a thousands separator cannot be told"),
    ],
)
def test_cells_of_a_sheet_that_are_no_numbers(tmp_path: Path, cell: object, expected: str) -> None:
    rows = plain_rows()
    rows[3][2] = cell
    write_workbook(tmp_path / "x.xlsx", rows)
    assert expected in refusal(tmp_path / "x.xlsx")


def test_empty_rows_and_columns_around_a_table_are_no_part_of_it(tmp_path: Path) -> None:
    write_workbook(tmp_path / "x.xlsx", [[], *([*row, None, None] for row in plain_rows()), [], [None, None]])
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.xlsx"), grid())


@pytest.mark.parametrize("rows", [plain_rows(), manager_rows()], ids=["plain", "manager"])
def test_further_sheets_are_named(tmp_path: Path, rows: list[list[object]]) -> None:
    write_workbook(tmp_path / "x.xlsx", rows, "legend")
    assert read_measured(tmp_path / "x.xlsx").origin.notes == ("sheet 'Sheet' was read, and not 'legend'",)


def test_a_workbook_without_cells(tmp_path: Path) -> None:
    write_workbook(tmp_path / "x.xlsx", [])
    assert "holds only empty sheets" in refusal(tmp_path / "x.xlsx")


def test_a_zip_that_is_no_workbook(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.xlsx", "w") as archive:
        archive.writestr("table.csv", "id,a\nS1,1\n")
    assert "is a zip archive and no .xlsx workbook. Unpack it" in refusal(tmp_path / "x.xlsx")


def test_annotation_in_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["id", "plate"], ["S1", 7]):
        book.active.append(row)
    book.save(tmp_path / "s.xlsx")
    assert read_text_table(tmp_path / "s.xlsx").loc["S1", "plate"] == "7"


# ---------------------------------------------------------------------------------------------- AnnData


@pytest.mark.parametrize(("kind", "name"), [("array", "x.dat"), ("csr_matrix", "x.h5ad"), ("csc_matrix", "x.h5ad.gz")])
def test_anndata_dense_and_sparse(tmp_path: Path, kind: str, name: str) -> None:
    frame = grid()
    frame.iloc[0, 0], frame.iloc[1, 1] = 0.0, np.nan
    write_h5ad(tmp_path / "x.h5ad", frame, kind=kind)
    content = (tmp_path / "x.h5ad").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), frame)


@pytest.mark.parametrize("name", ["dense.h5ad", "sparse.h5ad"])
def test_anndata_as_the_package_writes_it(name: str) -> None:
    """Written by anndata 0.12.19, the sparse one as csr with gzip; it does not go with pandas 3 yet."""
    measured = read_measured(Path(__file__).with_name("anndata") / name)
    pd.testing.assert_frame_equal(measured.values, grid())
    assert [plate.name for plate in measured.plates] == ["P1", "P2"]


def test_plates_and_warnings_in_obs(tmp_path: Path) -> None:
    quality = ["PASS", "WARN", *["PASS"] * 6]
    write_h5ad(tmp_path / "x.h5ad", grid(), {"PlateID": ["P1", "P2"] * 4, "QC_Warning": quality})
    measured = read_measured(tmp_path / "x.h5ad", DataSettings(drop_qc_warnings=True))
    assert measured.values.index.tolist() == [s for s in SAMPLES if s != "S02"]
    assert [(p.name, p.n_samples) for p in measured.plates] == [("P1", 4), ("P2", 4)]


def without(part: str):
    def damage(file: h5py.File) -> None:
        del file[part]

    return damage


def linked(file: h5py.File) -> None:
    del file["X"]
    file["X"] = h5py.ExternalLink("/etc/hostname", "/X")


def too_small(file: h5py.File) -> None:
    del file["X"]
    file["X"] = np.zeros((2, 2))


def huge(file: h5py.File) -> None:
    del file["obs/_index"]
    file["obs"].create_dataset("_index", shape=(10**12,), dtype="i1", chunks=(1000,))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (without("X"), "is an HDF5 file without X: not AnnData"),
        (without("obs/_index"), "lacks the column '_index' of /obs"),
        (linked, "has X in another file"),
        (too_small, "X is (2, 2), and its names are for (8, 4)"),
        (huge, "is damaged, or has /obs/_index in another file"),
    ],
)
def test_unusable_anndata(tmp_path: Path, damage, expected: str) -> None:
    write_h5ad(tmp_path / "x.h5ad", grid())
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        damage(file)
    assert expected in refusal(tmp_path / "x.h5ad")


# ---------------------------------------------------------------------------------------------- cells of text


@pytest.mark.parametrize("cell", ["=1+1", "=SUM(A1:A3)", "@A1", "+SUM(1)", "-A1", '=HYPERLINK("http://x")'])
def test_a_formula_is_named_as_one(tmp_path: Path, cell: str) -> None:
    (tmp_path / "x.tsv").write_text(f"id\ta\tb\nS1\t1\t2\nS2\t{cell}\t3\n".replace('"', "'"))
    assert "is a formula, not a value. Export the table with the results" in refusal(tmp_path / "x.tsv")


@pytest.mark.parametrize(
    "cell", ["1,5", "1,234.5", "1.234,5", "1.234.567", "1'234.5,0", "1 234", "1\u202f234,5", "-1,5"]
)
def test_commas_and_separators_are_not_guessed(tmp_path: Path, cell: str) -> None:
    (tmp_path / "x.csv").write_text(f"id;a;b\nS1;1;2\nS2;{cell};3\n")
    said = refusal(tmp_path / "x.csv")
    assert f"line 3 (sample 'S2'), column 'a': '{cell}'".replace("\u202f", "\\u202f") in said
    assert "decimal comma or a thousands separator cannot be told; export the table with a decimal point" in said


def test_a_file_of_decimal_commas_throughout(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id;a;b\nS1;1,5;2,5\nS2;1,25;3,5\n")
    assert "'1,5' is not a number" in refusal(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text("id,a,b\nS1,1,5,2,5\nS2,1,25,3,5\n")
    assert "the header has 3 cells, this line 5" in refusal(tmp_path / "y.csv")


@pytest.mark.parametrize("label", ["=A1", "+1", "-S1", "@x", "S1 ", "s1"])
def test_labels_stay_exactly_as_written(tmp_path: Path, label: str) -> None:
    (tmp_path / "x.csv").write_text(f"id,{label},b\nS1,1,2\n{label}x,3,4\n")
    frame = read_table(tmp_path / "x.csv")
    assert frame.columns[0] == label
    assert frame.index[1] == f"{label}x"


# ---------------------------------------------------------------------------------------------- ADAT


def test_a_real_adat_reads_alike_however_it_is_stored(tmp_path: Path) -> None:
    text = real_adat()
    for name, content in (
        ("x.adat", text.encode()),
        ("bom.txt", b"\xef\xbb\xbf" + text.encode()),
        ("windows.adat", text.replace("\n", "\r\n").encode()),
        ("x.adat.gz", gzip.compress(text.encode())),
    ):
        (tmp_path / name).write_bytes(content)
        measured = read_measured(tmp_path / name)
        assert measured.origin.form == "SomaScan ADAT, ANML-normalised"
        assert (measured.origin.units, measured.origin.transform) == ("log2 RFU", "log2 of RFU")
        assert measured.values.shape == (11, 22)
        assert measured.values.loc["1", "10000-28"] == pytest.approx(np.log2(476.5))


def test_an_adat_that_is_not_anml_normalised_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.adat").write_text(real_adat().replace(", anmlSMP", ""))
    assert "not ANML-normalised (steps: Raw RFU, Hyb" in read_measured(tmp_path / "x.adat").origin.form


@pytest.mark.parametrize("line", ["SeqId", "UniProt", "Organism", "Type"])
def test_an_annotation_that_lost_a_tab_is_not_shifted(tmp_path: Path, line: str) -> None:
    lines = real_adat().split("\n")
    at = next(i for i, text in enumerate(lines) if text.split("\t")[34:35] == [line])
    cells = lines[at].split("\t")
    lines[at] = "\t".join([*cells[:40], cells[40] + cells[41], *cells[42:]])
    (tmp_path / "x.adat").write_text("\n".join(lines))
    assert f"line {at + 1}: the table is 60 cells wide, this line 59" in refusal(tmp_path / "x.adat")
