"""Filters: what they leave out, that they are told and recorded, and that test rows have no say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors import NAMES, SAMPLES, as_text, explore_rows, grid

from cpivae.config.load import make_config
from cpivae.config.schema import DataSettings
from cpivae.data.prepare import prepare, read_and_prepare
from cpivae.data.readers import read_measured
from cpivae.data.tables import pair_from_frames, read_pair
from cpivae.errors import DataError


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "npx.csv").write_text(as_text(explore_rows()))
    return tmp_path / "npx.csv"


def test_nothing_is_filtered_unless_asked_for(export: Path) -> None:
    pd.testing.assert_frame_equal(read_measured(export, make_config({}, "defaults").data).values, grid())


def test_cells_under_a_warning_become_missing(export: Path) -> None:
    measured = read_measured(export, DataSettings(drop_qc_warnings=True))
    expected = grid()
    expected.loc["S02", [NAMES[1], NAMES[3]]] = np.nan
    pd.testing.assert_frame_equal(measured.values, expected)
    assert measured.origin.notes[-1] == "2 cells under a QC warning dropped"


def test_a_sample_with_nothing_but_warnings_is_left_out(tmp_path: Path) -> None:
    rows = [{**r, "QC_Warning": "WARN" if r["SampleID"] == "S05" else "PASS"} for r in explore_rows()]
    (tmp_path / "npx.csv").write_text(as_text(rows))
    measured = read_measured(tmp_path / "npx.csv", DataSettings(drop_qc_warnings=True))
    assert measured.values.index.tolist() == [s for s in SAMPLES if s != "S05"]
    assert measured.below_lod is not None
    assert measured.below_lod.index.tolist() == measured.values.index.tolist()
    assert measured.origin.notes[-1] == "1 samples with no cell left dropped: S05"


def test_a_file_of_warnings_alone(tmp_path: Path) -> None:
    (tmp_path / "npx.csv").write_text(as_text([{**r, "QC_Warning": "FAIL"} for r in explore_rows()]))
    with pytest.raises(DataError, match=r"npx\.csv: every sample is under a QC warning"):
        read_measured(tmp_path / "npx.csv", DataSettings(drop_qc_warnings=True))


def test_a_file_without_warnings_says_that_none_was_dropped(tmp_path: Path) -> None:
    grid().to_csv(tmp_path / "x.csv")
    measured = read_measured(tmp_path / "x.csv", DataSettings(drop_qc_warnings=True))
    assert measured.origin.notes == ("the file has no QC warnings, so none was dropped",)


def test_blanks_that_make_two_ids_one_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,a\nS1,1\nS1 ,2\n")
    assert read_measured(tmp_path / "x.csv").values.shape == (2, 1)
    with pytest.raises(DataError, match="1 sample id occurs more than once: S1"):
        read_measured(tmp_path / "x.csv", DataSettings(strip_ids=True))


def big_export(tmp_path: Path, n: int = 60) -> tuple[Path, Path]:
    """A long export of n samples and a wide table of the same; IL6 of one panel is below its LOD in most samples."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(n):
        for row in explore_rows()[:4]:
            below = row["OlinkID"] == "OID20101" and i % 5
            npx = f"{random.normal(0 if below else 8, 0.5):.4f}"
            rows.append({**row, "SampleID": f"S{i:02d}", "NPX": npx, "QC_Warning": "WARN" if i == 7 else "PASS"})
    (tmp_path / "npx.csv").write_text(as_text(rows))
    frame = pd.DataFrame(random.normal(size=(n, 5)), [f"S{i:02d}" for i in range(n)], list("abcde"))
    frame.to_csv(tmp_path / "b.csv", index_label="SampleID")
    return tmp_path / "npx.csv", tmp_path / "b.csv"


def test_features_detected_too_rarely_are_left_out_and_recorded(tmp_path: Path) -> None:
    a, b = big_export(tmp_path)
    folds, lines = read_and_prepare({"a": a, "b": b}, DataSettings(min_detected=0.5, drop_qc_warnings=True))
    assert NAMES[0] not in folds[0].preprocessors["a"].features
    assert any("1 features dropped (detected more rarely than data.min_detected 0.5" in line for line in lines)
    assert "  Olink NPX in long form; units NPX (log2); transform: none, values are as in the file" in lines
    recorded = folds[0].sources["platform_a"]
    assert recorded["units"] == "NPX (log2)"
    assert recorded["transform"] == "none, values are as in the file"
    assert "1 samples with no cell left dropped: S07" in recorded["notes"]
    assert list(recorded["features_dropped"]) == [NAMES[0]]


def test_detection_is_counted_on_training_rows_alone(tmp_path: Path) -> None:
    a, b = big_export(tmp_path)
    pair = read_pair({"a": a, "b": b})
    settings = DataSettings(min_detected=0.5)
    training = prepare(pair, settings).splits.pipe(lambda s: s.index[s == "train"])
    cells = pair.detected["a"]
    cells.loc[:, NAMES[1]] = ~cells.index.isin(training)
    cells.loc[:, NAMES[0]] = cells.index.isin(training)
    assert prepare(pair, settings).preprocessors["a"].features == [NAMES[0], *NAMES[2:]]


def test_without_limits_a_value_that_is_there_is_detected(simulated_pair) -> None:
    a = simulated_pair.frames["a"].copy()
    a.iloc[: int(len(a) * 0.8), 0] = np.nan
    pair = pair_from_frames({"a": a, "b": simulated_pair.frames["b"]})
    kept = prepare(pair, DataSettings(min_detected=0.5)).preprocessors["a"].features
    assert kept == list(a.columns[1:])


def test_ids_that_nearly_match_are_suggested_and_not_joined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x\nS1,1\nS2 ,2\nP 3,3\n")
    (tmp_path / "b.csv").write_text("id,y\nS1,1\nS2,2\np3,3\n")
    paths = {p: tmp_path / f"{p}.csv" for p in "ab"}
    pair = read_pair(paths)
    assert pair.frames["a"].index.tolist() == ["S1"]
    (warning,) = [line for line in pair.join_report() if line.startswith("warning")]
    assert "2 ids differ only by case or blanks and were not joined: 'S2 ' (a) and 'S2' (b), 'P 3' (a)" in warning
    assert read_pair(paths, DataSettings(strip_ids=True)).frames["a"].index.tolist() == ["S1", "S2"]


@pytest.mark.parametrize(("log", "expected"), [(False, "look linear"), (True, None)])
def test_a_logarithm_is_never_taken_unasked_and_its_lack_is_told(
    tmp_path: Path, log: bool, expected: str | None
) -> None:
    _, b = big_export(tmp_path)
    rfu = pd.read_csv(b, index_col=0)
    np.exp2(rfu + 10).to_csv(tmp_path / "rfu.csv")
    settings = make_config({"data": {"log_transform": {"platform_a": {"enabled": log}}}}, "test").data
    folds, lines = read_and_prepare({"a": tmp_path / "rfu.csv", "b": b}, settings)
    assert [expected for line in lines if "look linear" in line] == ([expected] if expected else [])
    assert folds[0].preprocessors["a"].pipeline.steps[0][0] == ("log" if log else "scale")


def test_a_second_logarithm_is_told(tmp_path: Path) -> None:
    a, b = big_export(tmp_path)
    settings = make_config({"data": {"log_transform": {"platform_a": {"enabled": True}}}}, "test").data
    _, lines = read_and_prepare({"a": a, "b": b}, settings)
    assert any("platform a is in NPX (log2) already" in line for line in lines)
