"""Olink's exports, long and wide: values under their names, controls out, warnings and limits where they belong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors import ASSAYS, NAMES, SAMPLES, as_text, explore_rows, grid, manager_rows, npx, write_workbook

from cpivae.config.schema import DataSettings
from cpivae.data.measured import Measured, Plate
from cpivae.data.readers import read_measured, read_table
from cpivae.errors import DataError

LAB_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def long(tmp_path: Path, rows: list[dict[str, str]] | None = None, delimiter: str = ";") -> Measured:
    (tmp_path / "npx.csv").write_text(as_text(explore_rows() if rows is None else rows, delimiter))
    return read_measured(tmp_path / "npx.csv")


def wide(tmp_path: Path, rows: list[list[object]] | None = None) -> Measured:
    write_workbook(tmp_path / "npx.xlsx", manager_rows() if rows is None else rows)
    return read_measured(tmp_path / "npx.xlsx")


def refusal(read, tmp_path: Path, rows) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- long


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_a_long_export_becomes_samples_by_assays(tmp_path: Path, delimiter: str) -> None:
    measured = long(tmp_path, delimiter=delimiter)
    pd.testing.assert_frame_equal(measured.values, grid())
    assert measured.origin.units == "NPX (log2)"
    assert measured.origin.transform == "none, values are as in the file"
    assert measured.proteins is not None
    assert measured.proteins.to_dict() == {name: assay[2] for name, assay in zip(NAMES, ASSAYS, strict=True)}


@pytest.mark.parametrize("categorical", [False, True])
def test_parquet_gives_the_same_table(tmp_path: Path, categorical: bool) -> None:
    frame = pd.DataFrame(explore_rows()).astype({"NPX": float, "LOD": "float32"})
    if categorical:
        frame = frame.astype({"SampleID": "category", "Panel": "category"})
    frame.rename(columns={"QC_Warning": "SampleQC", "Sample_Type": "SampleType"}).to_parquet(tmp_path / "x.parquet")
    measured, from_text = read_measured(tmp_path / "x.parquet"), long(tmp_path)
    pd.testing.assert_frame_equal(measured.values, from_text.values)
    assert measured.flagged is not None
    pd.testing.assert_frame_equal(measured.flagged, from_text.flagged)
    pd.testing.assert_frame_equal(measured.below_lod, from_text.below_lod)
    assert measured.plates == from_text.plates


def test_the_order_of_rows_does_not_matter_to_what_a_cell_holds(tmp_path: Path) -> None:
    shuffled = pd.DataFrame(explore_rows()).sample(frac=1, random_state=1).to_dict("records")
    pd.testing.assert_frame_equal(long(tmp_path, shuffled).values.loc[SAMPLES, NAMES], grid())


def test_an_assay_that_a_sample_lacks_is_missing(tmp_path: Path) -> None:
    rows = explore_rows()
    del rows[5]
    rows[6]["NPX"] = "NA"
    expected = grid()
    expected.iloc[1, 1] = expected.iloc[1, 3] = np.nan
    pd.testing.assert_frame_equal(long(tmp_path, rows).values, expected)


def test_controls_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = explore_rows()
    rows += [{**rows[0], "Assay": "Incubation control 1", "OlinkID": "OID99999"}]
    measured = long(tmp_path, rows)
    assert measured.values.index.tolist() == SAMPLES
    assert measured.origin.notes == (
        "1 control samples left out (PLATE_CONTROL 1)",
        "1 control assays left out: Incubation control 1",
    )


def without_types(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """As older Explore exports are, which do not say which samples are controls."""
    return [{k: v for k, v in row.items() if k != "Sample_Type"} for row in rows]


CONTROLS = ("CONTROL_SAMPLE_AS 1", "Plate Control", "NEG_CTRL_2", "IPC", "SC3", "NC")
OF_STUDIES = ("IPCAS1", "SC1024", "NCI-7", "PC-A", "S1", "negative")


@pytest.mark.parametrize("name", CONTROLS)
def test_ids_that_look_like_controls_are_named_and_stay(tmp_path: Path, name: str) -> None:
    rows = [{**row, "SampleID": row["SampleID"].replace("CONTROL_1", name)} for row in explore_rows()]
    measured = long(tmp_path, without_types(rows))
    assert measured.values.index.tolist() == [*SAMPLES, name]
    (note,) = measured.origin.notes
    assert note == (
        f"1 sample ids look like controls, and count as samples: {name}. If they are, remove their rows, or add a "
        "column Sample_Type with anything but SAMPLE for them"
    )
    assert long(tmp_path, [r | {"Sample_Type": "SAMPLE"} for r in rows]).origin.notes == (), "the file says what it is"


@pytest.mark.parametrize("name", OF_STUDIES)
def test_ids_of_studies_do_not_look_like_controls(tmp_path: Path, name: str) -> None:
    rows = [{**row, "SampleID": row["SampleID"].replace("CONTROL_1", name)} for row in explore_rows()]
    assert long(tmp_path, without_types(rows)).origin.notes == ()


def test_a_study_whose_ids_mostly_look_so_is_left_alone(tmp_path: Path) -> None:
    rows = [{**row, "SampleID": row["SampleID"].replace("S0", "SC0")} for row in explore_rows()]
    assert long(tmp_path, without_types(rows)).origin.notes == ()


def test_a_control_on_several_plates_is_refused_with_what_it_is(tmp_path: Path) -> None:
    rows = explore_rows()
    again = [{**row, "NPX": "0.5", "PlateID": "Plate2"} for row in rows[-4:]]
    said = refusal(long, tmp_path, without_types([*rows, *again]))
    assert "4 cells occur more than once with different values: 'CONTROL_1' IL6|OID20101 (9.01, 0.5)" in said
    assert "CONTROL_1: if these are the controls of several plates, remove their rows, or add a column" in said
    assert long(tmp_path, [*rows, *again]).values.index.tolist() == SAMPLES, "with Sample_Type they are left out"
    replicate = [{**rows[0], "NPX": "0.5"}]
    assert "controls" not in refusal(long, tmp_path, without_types([*rows, *replicate]))


def test_control_assays_by_their_type(tmp_path: Path) -> None:
    rows = [{**row, "AssayType": "ext_ctrl" if row["Assay"] == "TNF" else "assay"} for row in explore_rows()]
    assert long(tmp_path, rows).values.columns.tolist() == [name for name in NAMES if "TNF" not in name]


def test_warnings_limits_and_plates(tmp_path: Path) -> None:
    rows = explore_rows()
    rows[2]["Assay_Warning"] = "WARN"
    measured = long(tmp_path, rows)
    assert measured.flagged is not None
    assert measured.below_lod is not None
    flagged = measured.flagged.stack()
    assert flagged[flagged].index.tolist() == [("S01", NAMES[2]), ("S02", NAMES[1]), ("S02", NAMES[3])]
    assert measured.below_lod.sum(axis=1).tolist() == [4, 4, 0, 0, 0, 0, 0, 0]
    assert measured.plates == (Plate("Plate1", 4, 4.025), Plate("Plate2", 4, 5.025))


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize(
    ("limits", "below"),
    [
        ({"MaxLOD": 3.5}, 3),
        ({"Plate LOD": 1.5}, 1),
        ({"PlateLOD": 1.5, "MaxLOD": 3.5}, 1),
        ({"MaxLOD": 3.5, "plate_lod": 1.5}, 1),
        ({"MaxLOD": 3.5, "LOD": 2.5}, 2),
        ({"LOD": 2.5, "PlateLOD": 1.5}, 1),
    ],
)
def test_the_limit_of_a_samples_own_plate_comes_first_and_the_largest_last(
    tmp_path: Path, limits: dict[str, float], below: int, parquet: bool
) -> None:
    rows = [{k: v for k, v in row.items() if k != "LOD"} for row in explore_rows()]
    if parquet:
        frame = pd.DataFrame(rows).astype({"NPX": float}).assign(**limits)
        frame.to_parquet(tmp_path / "x.parquet")
        measured = read_measured(tmp_path / "x.parquet")
    else:
        measured = long(tmp_path, [row | {name: str(limit) for name, limit in limits.items()} for row in rows])
    assert measured.below_lod is not None
    assert measured.below_lod.sum(axis=1).tolist() == [4] * below + [0] * (8 - below)


def test_without_limits_nothing_is_known_to_be_below_one(tmp_path: Path) -> None:
    assert long(tmp_path, [{k: v for k, v in row.items() if k != "LOD"} for row in explore_rows()]).below_lod is None


def test_feature_names_are_those_of_any_other_export(tmp_path: Path) -> None:
    alone = [row for row in explore_rows() if row["Panel"] == "Inflammation"]
    assert long(tmp_path, alone).values.columns.tolist() == ["IL6|OID20101", "TNF|OID20074"]
    without_ids = [{k: v for k, v in row.items() if k != "OlinkID"} for row in explore_rows()]
    named = long(tmp_path, without_ids).values.columns.tolist()
    assert named == ["IL6|Inflammation", "IL6|Oncology", "TNF|Inflammation", "CXCL8|Oncology"]


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    rows = explore_rows()
    measured = long(tmp_path, [*rows, rows[3], {**rows[3], "QC_Warning": "WARN"}])
    pd.testing.assert_frame_equal(measured.values, grid())
    assert "2 rows that repeat another with the same value left out" in measured.origin.notes
    assert measured.flagged is not None
    assert measured.flagged.loc["S01", NAMES[3]]


def test_cells_that_differ_are_named_and_not_averaged(tmp_path: Path) -> None:
    rows = explore_rows()
    said = refusal(long, tmp_path, [*rows, {**rows[4], "NPX": "9"}, {**rows[9], "NPX": "NA"}])
    assert "2 cells occur more than once with different values" in said
    assert "'S02' IL6|OID20101 (2.01, 9)" in said
    assert "'S03' IL6|OID20563 (3.02, nan)" in said


def change(**cells: str):
    def changed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[5] |= cells
        return rows

    return changed


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (change(SampleID=" "), "the sample id in row 6 is blank"),
        (change(Assay=""), "the assay in row 6 is blank"),
        (change(OlinkID=""), "the OlinkID of assay IL6 is blank"),
        (change(Assay="IL-6"), "1 OlinkIDs are used for several assays: OID20563 (IL6, IL-6)"),
        (change(NPX="2,02"), "line 7 (sample 'S02'), column 'NPX': '2,02' is not a number"),
        (change(NPX="=A1"), "line 7 (sample 'S02'), column 'NPX': '=A1' is a formula, not a value"),
        (change(LOD="low"), "column 'LOD': 'low' is not a number"),
        (lambda rows: rows[-4:], "has a header but no sample below it: 1 control samples left out"),
        (lambda rows: [{**r, "SampleQC": "PASS"} for r in rows], "'QC_Warning' and 'SampleQC' mean the same. Keep one"),
        (lambda rows: [{**r, "Plate LOD": "1", "PlateLOD": "2"} for r in rows], "'Plate LOD' and 'PlateLOD' mean the"),
    ],
)
def test_unusable_long_exports(tmp_path: Path, damage, expected: str) -> None:
    assert expected in refusal(long, tmp_path, damage(explore_rows()))


@pytest.mark.parametrize("column", [-1, -2, 1])
def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path, column: int) -> None:
    lines = as_text([{**row, "ExploreVersion": "1"} for row in explore_rows()]).splitlines()
    cells = lines[9].split(";")
    cells[column] = f'"{cells[column]}'
    lines[9] = ";".join(cells)
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 10: a cell goes on over several lines"):
        read_table(tmp_path / "x.csv")


def test_a_long_export_cannot_be_transposed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(as_text(explore_rows()))
    with pytest.raises(DataError, match="Olink NPX in long form always has its samples in rows"):
        read_table(tmp_path / "x.csv", transpose=True)


def test_the_labs_long_export_is_the_pair_made_from_it() -> None:
    folder = LAB_DATA / "gisby_serum_olink"
    if not folder.is_dir():
        pytest.skip("no lab data beside this checkout")
    values = read_table(folder / "serum_npx_long.csv.gz")
    records = pd.read_csv(folder / "serum_npx_long.csv.gz")
    genes = dict(
        zip(records["Assay"] + "|" + records["Panel"], records["GeneID"] + "|" + records["Panel"], strict=True)
    )
    values = values.rename(columns=genes)
    for platform in "ab":
        pair = read_table(folder / f"platform_{platform}.csv")
        pd.testing.assert_frame_equal(values.loc[pair.index, pair.columns], pair)
    assert values.shape == (63, 436)


# ---------------------------------------------------------------------------------------------- wide


def test_an_npx_manager_sheet_becomes_samples_by_assays(tmp_path: Path) -> None:
    measured = wide(tmp_path)
    pd.testing.assert_frame_equal(measured.values, grid())
    assert measured.origin.units == "NPX (log2)"
    assert measured.flagged is not None
    assert measured.below_lod is not None
    flagged = measured.flagged.stack()
    assert flagged[flagged].index.tolist() == [("S02", NAMES[1]), ("S02", NAMES[3])]
    assert measured.below_lod.sum(axis=1).tolist() == [4, 4, 0, 0, 0, 0, 0, 0]
    names = [
        f"{p} (Olink {panel})" for panel, q in (("Inflammation", "P"), ("Oncology", "Q")) for p in (f"{q}1", f"{q}2")
    ]
    assert [plate.name for plate in measured.plates] == names
    assert [plate.n_samples for plate in measured.plates] == [4] * 4


def test_the_sheet_saved_as_text_gives_the_same(tmp_path: Path) -> None:
    rows = manager_rows()
    width = max(map(len, rows))
    filled = [[*row, *[None] * (width - len(row))] for row in rows]
    text = io.StringIO()
    pd.DataFrame(filled, dtype=object).to_csv(text, sep=";", header=False, index=False)
    (tmp_path / "x.csv").write_text(text.getvalue())
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.csv"), wide(tmp_path).values)


def test_blanks_behind_sample_names_stay_until_asked_for(tmp_path: Path) -> None:
    rows = [[f"{row[0]}  ", *row[1:]] if row and row[0] in SAMPLES else row for row in manager_rows()]
    assert wide(tmp_path, rows).values.index.tolist() == [f"{s}  " for s in SAMPLES]
    measured = read_measured(tmp_path / "npx.xlsx", DataSettings(strip_ids=True))
    assert measured.values.index.tolist() == SAMPLES
    assert "blanks around 8 sample ids and 0 feature names removed" in measured.origin.notes


def test_limits_of_each_plate(tmp_path: Path) -> None:
    rows = manager_rows()
    where = next(i for i, row in enumerate(rows) if row[:1] == ["LOD"])
    rows[where : where + 1] = [
        ["Plate LOD", *[1.5] * 4, "P1", "Q1"],
        ["Plate LOD", *[3.5] * 4, "P2", "Q2"],
    ]
    below = wide(tmp_path, rows).below_lod
    assert below is not None
    assert below.sum(axis=1).tolist() == [4, 4, 0, 0, 0, 0, 0, 0]
    assert below.loc["S03"].sum() == 0, "3.01 is above the 1.5 of its own plate"


def test_control_assays_and_deviations_of_a_sheet_are_left_out(tmp_path: Path) -> None:
    rows = manager_rows()
    extra = {"Panel": "Olink Oncology", "Assay": "Inc Ctrl 1", "Uniprot ID": None, "OlinkID": "OID00001"}
    deviation = {"Panel": "Olink Oncology", "Assay": "QC Deviation from median", "Uniprot ID": None, "OlinkID": None}
    for row in rows:
        if row and row[0] in extra:
            row += [extra[str(row[0])], deviation[str(row[0])]]
        elif row and row[0] in SAMPLES:
            row += [10.0, 0.2]
    measured = wide(tmp_path, rows)
    pd.testing.assert_frame_equal(measured.values, grid())
    assert measured.origin.notes == ("1 control assays left out: Inc Ctrl 1",)


def test_controls_of_a_sheet_are_named_too(tmp_path: Path) -> None:
    named = [["IPC 1", *row[1:]] if row[:1] == ["S03"] else row for row in manager_rows()]
    measured = wide(tmp_path, named)
    assert "IPC 1" in measured.values.index
    assert measured.origin.notes == (
        "1 sample ids look like controls, and count as samples: IPC 1. If they are, remove their rows",
    )
    twice = [["IPC 1", *row[1:]] if row[:1] in (["S03"], ["S04"]) else row for row in manager_rows()]
    said = refusal(wide, tmp_path, twice)
    assert "1 sample id occurs more than once: IPC 1" in said
    assert said.endswith(" IPC 1: if these are the controls of several plates, remove their rows.")


def replaced(at: str, position: int, cell: object):
    def changed(rows: list[list[object]]) -> list[list[object]]:
        next(row for row in rows if row[:1] == [at])[position] = cell
        return rows

    return changed


def moved_below(rows: list[list[object]]) -> list[list[object]]:
    sample = next(row for row in rows if row[:1] == ["S03"])
    return [*rows, sample]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda rows: [row for row in rows if row[:1] != ["Uniprot ID"]], "'S01' stands where the rows Panel, Assay"),
        (lambda rows: rows[:5], "ends within its header, after panel, assay, uniprot"),
        (lambda rows: rows[:6], "has a header but no sample below it"),
        (moved_below, "the row 'S03' stands below the row 'LOD', where no samples are"),
        (replaced("S03", 2, "high"), "(sample 'S03'), column 'IL6|OID20563': 'high' is not a number"),
        (replaced("S03", 2, "=B9*2"), "sheet 'Sheet', cell C10: '=B9*2' is a formula"),
        (replaced("OlinkID", 2, None), "the OlinkID of assay IL6 is blank"),
        (replaced("OlinkID", 2, "OID20101"), "1 feature name occurs more than once: IL6|OID20101"),
        (replaced("Assay", 2, None), "the assay with OlinkID OID20563 has no name"),
        (replaced("S03", 0, "S02"), "1 sample id occurs more than once: S02"),
    ],
)
def test_unusable_sheets(tmp_path: Path, damage, expected: str) -> None:
    assert expected in refusal(wide, tmp_path, damage(manager_rows()))


def test_the_value_of_a_cell_names_it() -> None:
    assert npx(3, 2) == 4.03
    assert grid().stack().is_unique
