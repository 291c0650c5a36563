"""Split, fit, transform: nothing about validation or test rows ever reaches what is fitted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.schema import DataSettings, LogTransform, LogTransforms, Splits
from cpivae.data.prepare import PreparedData, prepare, read_and_prepare, split_report
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.errors import DataError

N = 80
SERIAL_SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "zoodsma_radboud_olink_panels"


def tables(missing: float = 0.1) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(N, 2))
    made = {}
    for platform, d in (("a", 5), ("b", 7)):
        values = 20 + factor @ rng.normal(size=(2, d)) + rng.normal(size=(N, d))
        values[:, 1:][rng.random((N, d - 1)) < missing] = np.nan
        columns = [f"{platform}{j}" for j in range(d)]
        made[platform] = pd.DataFrame(values, index=[f"S{i}" for i in range(N)], columns=columns)
    return made


def prepared(frames: dict[str, pd.DataFrame], **changes: Any) -> PreparedData:
    return prepare(pair_from_frames(frames), DataSettings(**changes))


@dataclass(frozen=True)
class Fitted:
    """All that training sees, and all that was learnt from it."""

    features: list[str]
    dropped: dict[str, str]
    parameters: dict[str, np.ndarray]
    training_rows: np.ndarray

    @classmethod
    def of(cls, data: PreparedData, platform: str) -> "Fitted":
        preprocessor = data.preprocessors[platform]
        learnt = {
            f"{step}.{name}": value
            for step, transformer in preprocessor.pipeline.steps
            for name, value in vars(transformer).items()
            if isinstance(value, np.ndarray)
        }
        rows = data.values[platform][data.rows("train")]
        return cls(preprocessor.features, preprocessor.dropped, learnt, rows)

    def assert_equal(self, other: "Fitted") -> None:
        assert self.features == other.features
        assert self.dropped == other.dropped
        assert set(self.parameters) == set(other.parameters)
        for name, value in self.parameters.items():
            np.testing.assert_array_equal(value, other.parameters[name], err_msg=name)
        np.testing.assert_array_equal(self.training_rows, other.training_rows)


WAYS = [
    {"normalization_method": scaling, "missing_value_strategy": filling, "log_transform": log}
    for scaling in ("zscore", "minmax", "robust")
    for filling in ("mean", "median", "knn", "drop")
    for log in (LogTransforms(), LogTransforms(platform_a=LogTransform(enabled=True)))
]


@given(
    way=st.sampled_from(WAYS),
    factor=st.floats(2, 1e3) | st.floats(-1e3, -1),
    shift=st.floats(-1e4, 1e4),
    gaps=st.floats(0, 0.5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_validation_and_test_rows_change_nothing_that_is_fitted(
    way: dict[str, Any], factor: float, shift: float, gaps: float, seed: int
) -> None:
    if way["missing_value_strategy"] == "drop":
        gaps = 0.0  # validation would lose its rows, and without enough of them there are no metrics
    frames = tables()
    before = prepared(frames, **way)
    unseen = (before.splits != "train").to_numpy()
    rng = np.random.default_rng(seed)
    changed = {}
    for platform, frame in frames.items():
        values = frame.to_numpy(copy=True)
        values[unseen] = factor * values[unseen] + shift * rng.normal(size=(unseen.sum(), frame.shape[1]))
        values[unseen] = np.where(rng.random((unseen.sum(), frame.shape[1])) < gaps, np.nan, values[unseen])
        changed[platform] = pd.DataFrame(values, index=frame.index, columns=frame.columns)
    after = prepared(changed, **way)
    pd.testing.assert_series_equal(before.splits, after.splits)
    for platform in frames:
        Fitted.of(before, platform).assert_equal(Fitted.of(after, platform))
        held = before.values[platform][unseen], after.values[platform][unseen]
        assert not np.array_equal(*held)  # the change did reach the rows


def test_the_contract_can_fail() -> None:
    """The same comparison notices a single training cell."""
    frames = tables()
    before = prepared(frames)
    frames["a"].iloc[int(before.rows("train")[0]), 0] += 1
    with pytest.raises(AssertionError):
        Fitted.of(before, "a").assert_equal(Fitted.of(prepared(frames), "a"))


def test_a_feature_without_variance_in_training_rows_is_dropped() -> None:
    frames = tables()
    splits = prepared(frames).splits
    frames["a"].loc[splits == "train", "a2"] = 5.0
    frames["b"].loc[splits == "train", "b3"] = np.nan
    data = prepared(frames)
    assert data.preprocessors["a"].dropped == {"a2": "constant"}
    assert data.preprocessors["b"].dropped == {"b3": "all missing"}
    assert data.n_features == {"a": 4, "b": 6}
    assert data.values["a"].shape == data.observed["a"].shape == (N, 4)
    assert split_report([data])[1:] == [
        "warning: platform a: 1 features dropped (constant in training rows): a2",
        "warning: platform b: 1 features dropped (all missing in training rows): b3",
    ]
    assert data.sources["platform_a"]["features_dropped"] == {"a2": "constant"}


def test_a_feature_with_variance_in_training_rows_only_is_kept() -> None:
    frames = tables()
    splits = prepared(frames).splits
    frames["a"].loc[splits != "train", "a2"] = 5.0
    assert "a2" in prepared(frames).preprocessors["a"].features


def test_only_gaps_in_training_rows_make_drop_drop() -> None:
    frames = tables(missing=0)
    splits = prepared(frames).splits
    frames["a"].loc[splits[splits == "val"].index[:2], "a1"] = np.nan
    frames["a"].loc[splits[splits == "train"].index[:1], "a2"] = np.nan
    data = prepared(frames, missing_value_strategy="drop")
    assert data.preprocessors["a"].dropped == {"a2": "missing values"}
    assert np.isfinite(data.values["a"]).all()


@pytest.mark.parametrize("filling", ["mean", "median", "knn", "drop"])
def test_the_masks_are_the_gaps_of_the_tables(filling: str) -> None:
    frames = tables()
    data = prepared(frames, missing_value_strategy=filling)
    for platform, frame in frames.items():
        kept = frame[data.preprocessors[platform].features]
        np.testing.assert_array_equal(data.observed[platform], kept.notna().to_numpy())
        assert np.isfinite(data.values[platform]).all()
        back = data.preprocessors[platform].inverse(data.values[platform])
        np.testing.assert_allclose(back[kept.notna()], kept.to_numpy()[kept.notna()], rtol=1e-5)
    assert not data.observed["a"].all() or filling == "drop"


def test_rows_follow_the_ids_and_the_splits() -> None:
    frames = tables()
    data = prepared(frames)
    assert data.splits.index.tolist() == frames["a"].index.tolist()
    rows = [data.rows(split) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(rows)) == list(range(N))
    assert split_report([data])[0] == "80 samples split into 56 train, 12 val, 12 test"


def test_the_order_of_the_rows_changes_no_row() -> None:
    frames = tables()
    turned = {platform: frame.iloc[::-1] for platform, frame in frames.items()}
    data, reversed_data = prepared(frames), prepared(turned)
    pd.testing.assert_series_equal(reversed_data.splits.iloc[::-1], data.splits)
    for platform in frames:
        np.testing.assert_allclose(reversed_data.values[platform][::-1], data.values[platform], rtol=1e-5, atol=1e-6)


def test_rows_of_both_platforms_are_matched_by_id() -> None:
    frames = tables()
    data = prepared(frames)
    mixed = prepared({"a": frames["a"], "b": frames["b"].sample(frac=1, random_state=0)})
    np.testing.assert_array_equal(mixed.values["b"], data.values["b"])


def test_validation_rows_that_score_nothing_are_an_error() -> None:
    frames = tables()
    val = prepared(frames).splits == "val"
    frames["b"].loc[val] = 1.0
    with pytest.raises(DataError, match=r"platform b: no feature has 3 observed values that vary among the 12 val"):
        prepared(frames)
    frames["b"].loc[val] = np.nan
    with pytest.raises(DataError, match=r"platform b: .*Enlarge data\.splits\.val"):
        prepared(frames)
    frames["b"].loc[val, "b4"] = np.arange(12.0)
    prepared(frames)


def test_too_few_shared_samples() -> None:
    frames = {platform: frame.iloc[:9] for platform, frame in tables(0).items()}
    with pytest.raises(DataError, match="9 shared samples are too few for the splits: val gets 1"):
        prepared(frames)


def test_files_are_recorded_with_what_the_join_dropped(tmp_path: Path) -> None:
    frames = tables()
    frames["a"].iloc[:60].to_csv(tmp_path / "a.csv")
    frames["b"].iloc[2:].to_csv(tmp_path / "b.csv")
    (data,), lines = read_and_prepare({p: tmp_path / f"{p}.csv" for p in "ab"}, DataSettings())
    assert "58 shared samples" in lines
    assert lines[-1] == "58 samples split into 40 train, 9 val, 9 test"
    described = data.sources["platform_a"]
    assert described["path"] == str(tmp_path / "a.csv")
    assert described["samples_without_partner"] == ["S0", "S1"]
    assert described["samples"] == 58
    assert len(described["sha256"]) == 64


def test_groups_come_from_the_samples_table(tmp_path: Path) -> None:
    frames = tables()
    people = pd.Series([f"P{i // 4}" for i in range(N)], index=pd.Index(frames["a"].index, name="id"), name="person")
    people.to_csv(tmp_path / "samples.csv")
    data = prepared(frames, groups="person", samples_table=tmp_path / "samples.csv")
    assert (data.splits.groupby(people).nunique() == 1).all()
    ungrouped = prepared(frames)
    assert (ungrouped.splits.groupby(people).nunique() > 1).any()


@pytest.mark.skipif(not SERIAL_SAMPLES.is_dir(), reason="the lab's tables are not on this machine")
def test_no_patient_with_serial_samples_straddles_the_splits() -> None:
    chosen = DataSettings(
        groups="subject", samples_table=SERIAL_SAMPLES / "samples.csv", splits=Splits(train=0.6, val=0.2, test=0.2)
    )
    (data,), _ = read_and_prepare({p: SERIAL_SAMPLES / f"platform_{p}.csv" for p in "ab"}, chosen)
    subjects = pd.read_csv(SERIAL_SAMPLES / "samples.csv", index_col=0, dtype=str)["subject"].loc[data.splits.index]
    assert subjects.duplicated().sum() > 50
    assert (data.splits.groupby(subjects).nunique() == 1).all()
    counts = data.splits.groupby(subjects).first().value_counts(normalize=True)
    assert counts["val"] == pytest.approx(0.2, abs=1 / subjects.nunique())


def test_a_pair_knows_its_sources_only_when_read() -> None:
    pair: Pair = pair_from_frames(tables())
    described = prepare(pair, DataSettings()).sources["platform_b"]
    assert described["path"] is None
    assert described["sha256"] is None
