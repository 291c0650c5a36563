"""Two tables become a pair: same samples, platform a's order, and nothing dropped without a word."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.config.schema import DataSettings
from cpivae.data.readers import write_table
from cpivae.data.tables import Pair, pair_from_frames, read_groups, read_pair
from cpivae.errors import DataError
from cpivae.files import sha256
from cpivae.names import PLATFORMS

LAB_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def frame(ids: list[str], *features: str) -> pd.DataFrame:
    """Every value tells its sample and feature, so that a mixed-up row cannot go unseen."""
    values = [[float(f"{ord(i[0])}{int(i[1:]):03d}.{j}") for j in range(len(features))] for i in ids]
    return pd.DataFrame(values, index=pd.Index(ids, name="SampleID"), columns=list(features))


A = frame(["S3", "S1", "S9", "S2"], "IL6", "TNF")
B = frame(["S1", "S2", "S3", "T1", "T2"], "CRP|1", "CRP|2", "IL6")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    paths = {"a": tmp_path / "olink.csv", "b": tmp_path / "soma.parquet"}
    write_table(A, paths["a"])
    write_table(B, paths["b"])
    return paths


def test_a_pair_holds_the_shared_samples_in_the_order_of_a(paths: dict[str, Path]) -> None:
    pair = read_pair(paths)
    pd.testing.assert_frame_equal(pair.frames["a"], A.loc[["S3", "S1", "S2"]])
    pd.testing.assert_frame_equal(pair.frames["b"], B.loc[["S3", "S1", "S2"]])
    assert pair.unmatched == {"a": ["S9"], "b": ["T1", "T2"]}


def test_sources_describe_the_files_before_the_join(paths: dict[str, Path]) -> None:
    source = read_pair(paths).sources["b"]
    assert (source.path, source.n_samples, source.n_features) == (paths["b"], 5, 3)
    assert source.sha256 == sha256(paths["b"])


def test_the_report_names_what_was_dropped(paths: dict[str, Path]) -> None:
    assert read_pair(paths).join_report() == [
        "platform a: 4 samples x 2 features (olink.csv); 1 without a partner dropped: S9",
        "platform b: 5 samples x 3 features (soma.parquet); 2 without a partner dropped: T1, T2",
        "3 shared samples",
    ]


def test_the_report_lists_ten_ids_at_most() -> None:
    more = frame([f"S{i}" for i in range(1, 15)], "IL6")
    lines = pair_from_frames({"a": more, "b": frame(["S2", "S1"], "IL6")}).join_report()
    assert lines[0].endswith("12 without a partner dropped: S3, S4, S5, S6, S7, S8, S9, S10, S11, S12 and 2 more")
    assert lines[1] == "platform b: 2 samples x 1 features"


def test_transposed_files_give_the_same_pair(paths: dict[str, Path], tmp_path: Path) -> None:
    turned = {p: tmp_path / f"{p}.tsv" for p in "ab"}
    write_table(A.T.rename_axis("Assay"), turned["a"])
    write_table(B.T.rename_axis("Assay"), turned["b"])
    _assert_same_frames(read_pair(turned, DataSettings(transpose=True)), read_pair(paths))


def test_tables_in_memory_give_the_same_pair(paths: dict[str, Path]) -> None:
    pair = pair_from_frames({"a": A, "b": B})
    _assert_same_frames(pair, read_pair(paths))
    assert pair.sources == {}


def test_tables_in_memory_are_copied_and_brought_into_the_form_of_a_file() -> None:
    given = pd.DataFrame({1: [1, 2], 2: [3, 4]}, index=[10, 11])
    pair = pair_from_frames({"a": given, "b": given})
    assert pair.frames["a"].index.tolist() == ["10", "11"]
    assert pair.frames["a"].index.name == "SampleID"
    assert pair.frames["a"].columns.tolist() == ["1", "2"]
    pair.frames["a"].iloc[0, 0] = 99
    assert given.iloc[0, 0] == 1
    assert pair.frames["b"].iloc[0, 0] == 1


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ({"a": A}, "platforms a were given; exactly a and b are needed"),
        ({"a": A, "b": B, "c": B}, "platforms a, b, c were given"),
        ({"a": A, "b": pd.concat([B, B[:1]])}, "platform b: 1 sample id occurs more than once: S1"),
        ({"a": A.assign(sex="F"), "b": B}, "the table of platform a has a column that is not numeric"),
        ({"a": A.replace(A.iloc[1, 1], np.inf), "b": B}, "platform a, row 2 .sample 'S1'., column 'TNF': 'inf' is inf"),
    ],
)
def test_unusable_tables_in_memory(frames: dict[str, pd.DataFrame], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        pair_from_frames(frames)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (
            ["X1", "X2", "X3", "X4"],
            "a has 'S3', 'S1', 'S9' and 1 more; b has 'X1', 'X2', 'X3' and 1 more. Use the same",
        ),
        (["s1 ", " S2", "x"], "b has 's1 ', ' S2', 'x'. 2 would match without regard to case and surrounding blanks"),
    ],
)
def test_no_shared_sample_shows_both_sides(ids: list[str], expected: str) -> None:
    other = pd.DataFrame({"CRP": range(len(ids))}, index=ids)
    with pytest.raises(DataError) as caught:
        pair_from_frames({"a": A, "b": other})
    assert expected in str(caught.value)


def test_tables_that_share_columns_instead_of_samples_are_perhaps_transposed() -> None:
    with pytest.raises(DataError, match=r"'S1' are in both; if those are the samples, read the tables with transpose"):
        pair_from_frames({"a": A.T, "b": B.T.drop("IL6")})


# ---------------------------------------------------------------------------------------------- groups

IDS = pd.Index(["S2", "S1"])


def test_groups_follow_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("SampleID,person,plate\nS1,007,P1\nS2,NA,P1\nS3,,P2\n")
    groups = read_groups(tmp_path / "s.csv", "person", IDS)
    assert groups.to_dict() == {"S2": "NA", "S1": "007"}
    assert groups.index.tolist() == ["S2", "S1"]


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        (
            "id,Person,Plate\nS1,a,b\nS2,a,b\n",
            "person",
            "no column 'person'. Did you mean 'Person'? Columns: Person, P",
        ),
        ("id,Person,Plate\nS1,a,b\nS2,a,b\n", "visit", "no column 'visit'. Columns: Person, Plate."),
        ("id,person\nS1,a\n", "person", "has no row for 1 of 2 samples: S2. Add them."),
        ("id,person\nS1,a\nS2,  \n", "person", "'person' is blank for 1 of 2 samples: S2."),
        ("id,person\nS1,a\nS2,b\nS2,c\n", "person", "1 sample id occurs more than once: S2"),
    ],
)
def test_unusable_groups(tmp_path: Path, content: str, column: str, expected: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_groups(tmp_path / "s.csv", column, IDS)
    assert expected in str(caught.value)
    assert "s.csv" in str(caught.value)


def test_a_missing_group_table_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("id,person\nS1,a\n")
    with pytest.raises(DataError, match=r"Did you mean 'samples\.csv'\?"):
        read_groups(tmp_path / "sample.csv", "person", IDS)


def test_the_pairs_of_the_lab_join_and_have_groups() -> None:
    if not LAB_DATA.is_dir():
        pytest.skip("no lab data beside this checkout")
    folders = sorted(path.parent for path in LAB_DATA.glob("*/platform_a.csv"))
    assert len(folders) == 3
    for folder in folders:
        pair = read_pair({p: folder / f"platform_{p}.csv" for p in "ab"})
        column = pd.read_csv(folder / "samples.csv").columns[1]
        groups = read_groups(folder / "samples.csv", column, pair.frames["a"].index)
        assert groups.index.equals(pair.frames["b"].index)
        assert len(groups) > 50


def _assert_same_frames(one: Pair, other: Pair) -> None:
    for platform in "ab":
        pd.testing.assert_frame_equal(one.frames[platform], other.frames[platform])
    assert one.unmatched == other.unmatched


def test_tables_that_are_read_from_copies_are_recorded_as_what_they_are_copies_of(tmp_path: Path) -> None:
    home, near = tmp_path / "home", tmp_path / "near"
    for folder in (home, near):
        folder.mkdir()
    paths = {p: home / "table.csv" if p == "a" else home / "b" / "table.csv" for p in PLATFORMS}
    paths["b"].parent.mkdir()
    for p, path in paths.items():
        pd.DataFrame({f"{p}1": [1.0, 2.0, 3.0]}, pd.Index(["x", "y", "z"], name="sample")).to_csv(path)
    plain, staged = read_pair(paths), read_pair(paths, staged_in=near)
    assert staged.sources == plain.sources
    for p in PLATFORMS:
        pd.testing.assert_frame_equal(staged.frames[p], plain.frames[p])
    assert not list(near.iterdir())
    paths["b"].write_text("sample,b1\nx,not a number\n")
    with pytest.raises(DataError):
        read_pair(paths, staged_in=near)
    assert not list(near.iterdir())
