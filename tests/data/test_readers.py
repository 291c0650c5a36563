"""One table: every format round-trips, and every bad file is answered with one sentence that names the place."""

import gzip
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cpivae.data.formats import WRITABLE, table_ending
from cpivae.data.readers import read_table, read_text_table, require_output, write_table
from cpivae.errors import DataError

GOOD = "SampleID,IL6,TNF\n007,1.5,NA\nNA,-2,3e-2\n"
LAB_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {"IL6|OID1": [0.1, np.nan, -1e-300], 'a "quoted", name': [1 / 3, 2.0, np.nan], "β2M": [1e17, 5.0, np.pi]},
        index=pd.Index(["007", "NA", "S 3, left"], name="Sample"),
    )


def refusal(path: Path, content: str | bytes | None = None, **options: bool) -> str:
    """Write a bad file, read it, and return the sentence without the folder; it must name the file."""
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


# ---------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("ending", WRITABLE)
def test_what_is_written_reads_back_exactly(tmp_path: Path, table: pd.DataFrame, ending: str) -> None:
    write_table(table, tmp_path / f"x{ending}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"x{ending}"), table, check_exact=True)
    assert [p.name for p in tmp_path.iterdir()] == [f"x{ending}"]


@pytest.mark.parametrize("ending", WRITABLE)
def test_an_index_without_a_name_is_called_sample_id(tmp_path: Path, table: pd.DataFrame, ending: str) -> None:
    write_table(table.rename_axis(None), tmp_path / f"x{ending}")
    assert read_table(tmp_path / f"x{ending}").index.name == "SampleID"


def test_plain_text_stays_plain(tmp_path: Path) -> None:
    frame = pd.DataFrame({"IL6": [1.5, np.nan], "TNF": [0.1, 2.0]}, index=["S1", "S2"])
    write_table(frame, tmp_path / "x.csv")
    write_table(frame, tmp_path / "x.txt")
    assert (tmp_path / "x.csv").read_bytes() == b"SampleID,IL6,TNF\nS1,1.5,0.1\nS2,,2\n"
    assert (tmp_path / "x.txt").read_bytes() == b"SampleID\tIL6\tTNF\nS1\t1.5\t0.1\nS2\t\t2\n"


def test_the_same_table_gives_the_same_gzip_bytes(tmp_path: Path, table: pd.DataFrame) -> None:
    write_table(table, tmp_path / "x.csv.gz")
    write_table(table, tmp_path / "y.csv.gz")
    assert (tmp_path / "x.csv.gz").read_bytes() == (tmp_path / "y.csv.gz").read_bytes()


labels = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=8).filter(str.strip)


awkward = st.text(";,\t|a1 ", min_size=1, max_size=5).filter(str.strip)
"""Labels that make one wonder what the delimiter is."""


@pytest.mark.parametrize("labels", [labels, awkward], ids=["any", "awkward"])
@given(data=st.data(), ending=st.sampled_from([".csv", ".tsv.gz", ".txt", ".parquet"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_round_trips(
    tmp_path: Path, labels: st.SearchStrategy[str], data: st.DataObject, ending: str
) -> None:
    ids = data.draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    names = data.draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    values = data.draw(arrays(np.float64, (len(ids), len(names)), elements=st.floats(allow_infinity=False)))
    frame = pd.DataFrame(values, index=pd.Index(ids, dtype="str", name="id"), columns=pd.Index(names, dtype="str"))
    write_table(frame, tmp_path / f"x{ending}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"x{ending}"), frame, check_exact=True)


# ---------------------------------------------------------------------------------------------- what is accepted


def test_ids_stay_text_and_rows_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(GOOD)
    frame = read_table(tmp_path / "x.csv")
    assert frame.index.tolist() == ["007", "NA"]
    assert frame.index.name == "SampleID"
    assert frame.columns.tolist() == ["IL6", "TNF"]
    np.testing.assert_array_equal(frame.to_numpy(), [[1.5, np.nan], [-2, 0.03]])


def test_row_order_survives_reading_in_blocks(tmp_path: Path) -> None:
    ids = [f"S{i}" for i in random.Random(0).sample(range(400_000), 400_000)]
    padding = "0" * 40
    (tmp_path / "x.csv").write_text("id,a\n" + "".join(f"{i},{i[1:]}.{padding}\n" for i in ids))
    assert (tmp_path / "x.csv").stat().st_size > 1 << 24
    frame = read_table(tmp_path / "x.csv")
    assert frame.index.tolist() == ids
    assert frame["a"].tolist() == [float(i[1:]) for i in ids]


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "nan", "N/A", "NULL", "null", "None", "-", '""'])
def test_every_spelling_of_missing(tmp_path: Path, cell: str) -> None:
    (tmp_path / "x.csv").write_text(f"id,a,b\nS1,{cell},1\n")
    assert read_table(tmp_path / "x.csv").isna().to_numpy().tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbfid,a,b\nS1,1,2\n"),
        ("windows.csv", b"id,a,b\r\nS1,1,2\r\n"),
        ("unfinished.csv", b"id,a,b\nS1,1,2"),
        ("blank_lines.csv", b"\nid,a,b\n\nS1,1,2\n\n"),
        ("quoted.csv", b'"id","a","b"\n"S1","1","2"\n'),
        ("UPPER.CSV", b"id,a,b\nS1,1,2\n"),
        ("no_ending", b"id,a,b\nS1,1,2\n"),
        ("really_tabs.csv", b"id\ta\tb\nS1\t1\t2\n"),
        ("really_semicolons.csv", b"id;a;b\nS1;1;2\n"),
        ("really_commas.adat", b"id,a,b\nS1,1,2\n"),
        ("gzip_inside.csv", gzip.compress(b"id,a,b\nS1,1,2\n")),
        ("no_gzip_inside.csv.gz", b"id,a,b\nS1,1,2\n"),
        ("bom_in_gzip.tsv.gz", gzip.compress(b"\xef\xbb\xbfid,a,b\nS1,1,2\n")),
        ("tabs.txt", b"id\ta\tb\nS1\t1\t2\n"),
        ("commas.txt", b"id,a,b\nS1,1,2\n"),
        ("semicolons.txt", b"id;a;b\nS1;1;2\n"),
        ("tabs.tsv", b"id\ta\tb\nS1\t1\t2\n"),
        ("two_members.csv.gz", gzip.compress(b"id,a,b\n") + gzip.compress(b"S1,1,2\n")),
    ],
)
def test_dialects_of_the_same_table(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    expected = pd.DataFrame({"a": [1.0], "b": [2.0]}, index=pd.Index(["S1"], name="id"))
    pd.testing.assert_frame_equal(read_table(tmp_path / name), expected)


def test_a_tab_in_a_txt_outweighs_commas_in_names(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("id\ta,b,c\nS1\t1\n")
    assert read_table(tmp_path / "x.txt").columns.tolist() == ["a,b,c"]


def test_a_header_of_many_long_names(tmp_path: Path) -> None:
    names = [f"feature_with_a_long_name_{i:06d}" for i in range(40_000)]
    (tmp_path / "x.txt").write_text(f"id,{','.join(names)}\nS1{',1' * 40_000}\n")
    assert read_table(tmp_path / "x.txt").columns.tolist() == names


@pytest.mark.parametrize("ending", [".csv", ".txt", ".parquet"])
def test_a_transposed_file_gives_the_same_table(tmp_path: Path, table: pd.DataFrame, ending: str) -> None:
    turned = table.T.rename_axis("Assay")
    write_table(turned, tmp_path / f"x{ending}")
    expected = table.rename_axis("SampleID")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"x{ending}", transpose=True), expected)


def test_the_tables_of_the_lab_match_a_second_reader() -> None:
    if not LAB_DATA.is_dir():
        pytest.skip("no lab data beside this checkout")
    paths = sorted(LAB_DATA.glob("*/platform_?.csv"))
    assert len(paths) == 6
    for path in paths:
        expected = pd.read_csv(path, dtype={0: str}).set_index("SampleID")
        pd.testing.assert_frame_equal(read_table(path), expected.astype(float), rtol=1e-14)


# ---------------------------------------------------------------------------------------------- parquet's index

PARQUET = pd.DataFrame({"IL6": [1.0, 2.0], "TNF": [3.0, np.nan]}, index=["a", "b"])


@pytest.mark.parametrize(
    ("stored", "ids", "name", "columns"),
    [
        (PARQUET, ["a", "b"], "SampleID", ["IL6", "TNF"]),
        (PARQUET.rename_axis("pid"), ["a", "b"], "pid", ["IL6", "TNF"]),
        (PARQUET.set_axis(pd.Index([7, 8], name="pid")), ["7", "8"], "pid", ["IL6", "TNF"]),
        (PARQUET.set_axis(pd.CategoricalIndex(["u", "v"], name="c")), ["u", "v"], "c", ["IL6", "TNF"]),
        (PARQUET.reset_index(names="pid"), ["a", "b"], "pid", ["IL6", "TNF"]),
        (PARQUET.reset_index(names="pid").set_axis([5, 9]), ["a", "b"], "pid", ["IL6", "TNF"]),
        (PARQUET.astype({"IL6": "int16", "TNF": "float32"}), ["a", "b"], "SampleID", ["IL6", "TNF"]),
        (PARQUET.assign(none=None), ["a", "b"], "SampleID", ["IL6", "TNF", "none"]),
    ],
)
def test_parquet_ids_come_from_the_index_or_the_first_column(
    tmp_path: Path, stored: pd.DataFrame, ids: list[str], name: str, columns: list[str]
) -> None:
    stored.to_parquet(tmp_path / "x.parquet")
    frame = read_table(tmp_path / "x.parquet")
    assert (frame.index.tolist(), frame.index.name, frame.columns.tolist()) == (ids, name, columns)
    np.testing.assert_array_equal(frame[["IL6", "TNF"]].to_numpy(), PARQUET.to_numpy())
    assert set(frame.dtypes) == {np.dtype("float64")}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (PARQUET.set_index("TNF", append=True), "index of several levels"),
        (PARQUET.reset_index(drop=True), "column 'IL6', are of type double"),
        (PARQUET.assign(sex=[None, "F"]), "row 2 (sample 'b'), column 'sex': 'F' is not a number"),
        (PARQUET.assign(ok=[True, False]), "column 'ok' is of type bool"),
        (PARQUET.assign(TNF=[1, -np.inf]), "row 2 (sample 'b'), column 'TNF': 'inf' is infinite"),
        (PARQUET.set_axis(["a", None]), "the sample id in row 2 is blank"),
        (PARQUET.set_axis(["a", "a"]), "more than once: a"),
        (PARQUET[[]], "no feature column"),
        (PARQUET[:0], "header but no sample"),
    ],
)
def test_unusable_parquet(tmp_path: Path, stored: pd.DataFrame, expected: str) -> None:
    stored.to_parquet(tmp_path / "x.parquet")
    assert expected in refusal(tmp_path / "x.parquet")


def test_parquet_with_repeated_feature_names(tmp_path: Path) -> None:
    columns = [pa.array(["S1"]), pa.array([1.0]), pa.array([2.0])]
    pyarrow.parquet.write_table(pa.table(columns, names=["id", "a", "a"]), tmp_path / "x.parquet")
    assert "1 feature name occurs more than once: a." in refusal(tmp_path / "x.parquet")


# ---------------------------------------------------------------------------------------------- bad text

NUMBERS_ONLY = "is not a number. Values are plain numbers with a decimal point; leave a missing one empty"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", b"", "x.csv is empty. A table needs a header line"),
        ("x.csv", "\n \n", "x.csv holds only blank lines"),
        ("x.csv", "SampleID,a", "x.csv has a header but no sample below it"),
        ("x.csv", "SampleID,a\n\n", "x.csv has a header but no sample below it"),
        ("x.csv", "SampleID\nS1\nS2\n", "x.csv has only the column of sample ids"),
        ("x.csv", "SampleID\n", "x.csv has only the column of sample ids"),
        ("x.csv", "id,a,b\nS1,1,2\nS2,1", "line 3 (sample 'S2'): the header has 3 cells, this line 2. It is the last"),
        ("x.csv", "id,a,b\nS1,1\nS2,1,2\n", "line 2 (sample 'S1'): the header has 3 cells, this line 2. Every line"),
        ("x.csv", "a,b\nS1,1,2\n", "line 2 (sample 'S1'): the header has 2 cells, this line 3. If the header lacks"),
        (
            "x.csv",
            'id,a\nS0,1\n"S1,1\nS2,1\n',
            "line 3 (sample 'S1,1\\nS2,1\\n'): the header has 2 cells, this line 1. A quote",
        ),
        ("x.csv", "id,a,b\nS1,1,2\n\nS2,<LOD,2\n", f"line 4 (sample 'S2'), column 'a': '<LOD' {NUMBERS_ONLY}"),
        ("x.csv", "id,a,a b\nS1,1,2\nS2,1,F\n", "line 3 (sample 'S2'), column 'a b': 'F' is not a number"),
        ("x.tsv", "id\ta\nS1\t1,5\n", "line 2 (sample 'S1'), column 'a': '1,5' is not a number"),
        ("x.csv", "id,a\nS1, NA\n", "line 2 (sample 'S1'), column 'a': ' NA' is not a number"),
        ("x.csv", "id,a\nS1,infected\n", "'infected' is not a number"),
        ("x.csv", f"id,a\nS1,{'x' * 500}\n", f"'{'x' * 60}...' is not a number"),
        ("x.csv", "id,a,b\nS1,1,2\nS2,1,-inf\n", "line 3 (sample 'S2'), column 'b': '-inf' is infinite"),
        ("x.csv", "id,a\nS1,1e999\n", "line 2 (sample 'S1'), column 'a': '1e999' is infinite"),
        ("x.csv", "id,a\nS1,1\n ,2\n", "the sample id in row 2 is blank"),
        ("x.csv", "id,a,,c\nS1,1,2,3\n", "the feature name in the header of column 3 is blank"),
        ("x.csv", 'id,"a\nb"\nS1,1\n', r"the feature name 'a\nb' is broken over lines"),
        ("x.csv", "id,a\nS1,1\nS2,2\nS1,3\n", "1 sample id occurs more than once: S1. Every sample must have one row"),
        ("x.csv", "id,a,b,a,b\nS1,1,2,3,4\n", "2 feature names occur more than once: a, b. Every feature"),
        (
            "x.csv",
            "id,a\n" + "".join(f"S{i // 2},1\n" for i in range(24)),
            "12 sample ids occur more than once: S0, S1",
        ),
        ("x.csv", "id,a\n" + "".join(f"S{i // 2},1\n" for i in range(24)), "S9 and 2 more."),
        ("x.csv", "id;a\nS1;1,5\n", "line 2 (sample 'S1'), column 'a': '1,5' is not a number"),
        ("x.csv", "id,a\nS1,2\nSé,3\n".encode("latin-1"), "line 3: byte 0xe9 is not UTF-8, but probably Latin-1"),
        ("x.csv", "id,é\nS1,2\n".encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
        ("x.csv", "id,a\nS1,2\n".encode("utf-16"), "x.csv is text in UTF-16. Save it as UTF-8"),
        ("x.csv", b"id,a\nS1,\0\n", "x.csv is binary and of no known format"),
        ("x.csv.gz", gzip.compress(GOOD.encode() * 50)[:-9], "x.csv.gz is cut off: its gzip stream has no end"),
        ("x.csv.gz", gzip.compress(b""), "x.csv.gz is empty"),
        ("x.csv.gz", gzip.compress(gzip.compress(GOOD.encode())), "x.csv.gz is compressed twice"),
        ("x.csv", b"\xef\xbb\xbf", "x.csv is empty"),
        ("x.csv.gz", gzip.compress(b"PAR1"), "x.csv.gz is cut off or damaged and cannot be read as parquet"),
        ("x.csv", b"PK\x03\x04..", "x.csv is an Excel workbook or another zip archive, and cut off or damaged"),
        ("x.tsv", b"\xd0\xcf\x11\xe0..", "x.tsv is an Excel workbook that is old or has a password. Save it as .xlsx"),
        ("x.txt", b"\x89HDF\r\n\x1a\n", "x.txt is cut off or damaged and cannot be read as AnnData"),
        ("x.csv.bz2", b"BZh9", "x.csv.bz2 is compressed with bzip2. Unpack it"),
        ("x.csv.xz", b"\xfd7zXZ\0", "x.csv.xz is compressed with xz"),
        ("x.csv.zst", b"\x28\xb5\x2f\xfd", "x.csv.zst is compressed with zstd"),
        ("x.rds", gzip.compress(b"X\n\0\0\0\3"), "x.rds is an R data file. Write the table with write.csv"),
        ("x.csv", b"%PDF-1.7", "x.csv is a PDF"),
        ("x.json", "{}", "x.json has only the column of sample ids"),
    ],
)
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    assert expected in refusal(tmp_path / name, content)


def test_messages_about_a_transposed_file_speak_of_its_own_axes(tmp_path: Path) -> None:
    cell = refusal(tmp_path / "x.csv", "Assay,S1,S2\nIL6,1,x\n", transpose=True)
    assert "line 2 (feature 'IL6'), column 'S2': 'x'" in cell
    twice = refusal(tmp_path / "x.csv", "Assay,S1,S1\nIL6,1,2\n", transpose=True)
    assert "1 sample id occurs more than once: S1" in twice


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "platform_a.csv").write_text(GOOD)
    assert refusal(tmp_path / "platfrom_a.csv").endswith("does not exist. Did you mean 'platform_a.csv'?")
    assert "Neither does its folder" in refusal(tmp_path / "nowhere" / "x.csv")


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    assert refusal(tmp_path / "x.csv") == "x.csv is a folder; a table file is expected."


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_text(GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(tmp_path / "x.csv") == "x.csv cannot be read: Permission denied."


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_truncated_parquet(tmp_path: Path, table: pd.DataFrame, kept: int) -> None:
    write_table(table, tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()[:kept]
    assert "cut off or damaged" in refusal(tmp_path / "x.parquet", content)


# ---------------------------------------------------------------------------------------------- writing


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("precious")

    def full(_: pd.DataFrame, beside: Path, __: str) -> None:
        beside.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cpivae.data.readers.write_delimited", full)
    with pytest.raises(DataError, match=r"x\.csv cannot be written: No space left on device\."):
        write_table(table, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"β2M": np.inf}, "'inf' is infinite"),
        ({" ": 1.0}, "the header of column 5 is blank"),
        ({"a\nb": 1.0}, "is broken over lines"),
    ],
)
def test_a_table_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, table: pd.DataFrame, change: dict[str, float], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        write_table(table.assign(**change), tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_an_output_name_is_checked_before_the_work(tmp_path: Path) -> None:
    require_output(tmp_path / "x.csv.gz")
    (tmp_path / "folder.csv").mkdir()
    for name, expected in [
        ("x.adat", "'.adat' is not a table format"),
        ("x.xlsx", "'.xlsx' is not a table format"),
        ("folder.csv", "is a folder"),
        ("nowhere/x.csv", "nowhere does not exist"),
    ]:
        with pytest.raises(DataError, match=expected):
            require_output(tmp_path / name)
    assert table_ending(Path("A.CSV.GZ")) == ".csv.gz"


# ---------------------------------------------------------------------------------------------- text tables


def test_a_text_table_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text('id,plate,note\n01,007,"a, b"\n02,NA,\n')
    frame = read_text_table(tmp_path / "s.csv")
    assert frame.loc["01"].tolist() == ["007", "a, b"]
    assert frame.loc["02"].tolist() == ["NA", ""]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,plate\n01,P1\n02\n", "line 3 .sample '02'.: the header has 2 cells, this line 1. It is the last line"),
        ("id,plate\n01,P1\n01,P2\n", "1 sample id occurs more than once: 01"),
        ("id,plate,plate\n01,P1,P2\n", "1 column name occurs more than once: plate"),
        ("id\n01\n", "no other column"),
    ],
)
def test_bad_text_tables(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError, match=expected):
        read_text_table(tmp_path / "s.csv")


def test_reading_text_does_not_load_the_adat_reader() -> None:
    code = "import sys, cpivae.data.readers; sys.exit('somadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
