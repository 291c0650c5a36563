"""Folds prepared: nothing is learnt from what a fold validates on, and all folds keep the same features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from cpivae.config.schema import DataSettings, LogTransform, LogTransforms, Splits
from cpivae.data.prepare import Folds, PreparedData, fingerprint, prepare, prepare_folds, split_report
from cpivae.data.tables import pair_from_frames
from cpivae.errors import DataError
from cpivae.names import PLATFORMS, Split

seeds = st.integers(0, 2**32 - 1)

N = 80
N_A, N_B = 5, 7


def tables(missing: float = 0.1, n: int = N) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(n, 2))
    made = {}
    for platform, d in (("a", N_A), ("b", N_B)):
        values = 20 + factor @ rng.normal(size=(2, d)) + rng.normal(size=(n, d))
        values[rng.random((n, d)) < missing] = np.nan
        columns = [f"{platform}{j}" for j in range(d)]
        made[platform] = pd.DataFrame(values, index=[f"S{i}" for i in range(n)], columns=columns)
    return made


def prepared(frames: dict[str, pd.DataFrame], **changes: Any) -> Folds:
    return prepare_folds(pair_from_frames(frames), DataSettings(**changes))


def is_in(data: PreparedData, split: Split) -> np.ndarray:
    return (data.splits == split).to_numpy()


UNUSABLE: dict[str, Callable[[pd.Series], bool]] = {
    "constant": lambda rows: rows.nunique() == 1,
    "all missing": lambda rows: rows.isna().all(),
    "missing values": lambda rows: rows.isna().any(),
}


def spoilt(column: pd.Series, fold: PreparedData, reason: str) -> pd.Series:
    """Make a feature unusable in the training rows of one fold; a gap is one for all folds that do not validate it."""
    if reason == "missing values":
        return column.where(np.arange(N) != fold.rows("val")[0])
    return column.mask(is_in(fold, "train"), 5.0 if reason == "constant" else np.nan)


@given(st.integers(2, 5), st.data(), st.sampled_from(PLATFORMS), st.sampled_from(list(UNUSABLE)), seeds)
@settings(max_examples=25, deadline=None)
def test_what_is_unusable_in_the_training_rows_of_one_fold_is_dropped_from_all_with_its_reason(
    n: int, data: st.DataObject, platform: str, reason: str, fold_seed: int
) -> None:
    frames = tables(missing=0)
    how = {"folds": n, "fold_seed": fold_seed}
    how["missing_value_strategy"] = "drop" if reason == "missing values" else "mean"
    k, feature = data.draw(st.integers(0, n - 1)), f"{platform}{data.draw(st.integers(0, N_A - 1))}"
    before = prepared(frames, **how)
    assert all(len(fold.preprocessors[p].dropped) == 0 for fold in before for p in PLATFORMS)
    frames[platform][feature] = column = spoilt(frames[platform][feature], before[k], reason)
    affected = [i for i, fold in enumerate(before) if UNUSABLE[reason](column[is_in(fold, "train")])]
    assert affected == ([i for i in range(n) if i != k] if reason == "missing values" else [k])
    after = prepared(frames, **how)
    for fold, old in zip(after, before, strict=True):
        pd.testing.assert_series_equal(fold.splits, old.splits)
        for p, d in (("a", N_A), ("b", N_B)):
            dropped = {feature: reason} if p == platform else {}
            assert fold.preprocessors[p].dropped == dropped
            assert fold.preprocessors[p].features == [c for c in frames[p].columns if c not in dropped]
            assert fold.sources[f"platform_{p}"]["features_dropped"] == dropped
            assert fold.values[p].shape == fold.observed[p].shape == (N, d - len(dropped))
    assert split_report(after)[1:] == [
        f"warning: platform {platform}: 1 features dropped ({reason} in training rows): {feature}"
    ]


def test_features_unusable_in_different_folds_are_all_dropped_from_all() -> None:
    frames = tables(missing=0)
    folds = prepared(frames, folds=4)
    for k, reason in enumerate(["constant", "all missing", "constant"]):
        frames["b"][f"b{k}"] = spoilt(frames["b"][f"b{k}"], folds[k], reason)
    for fold in prepared(frames, folds=4):
        assert fold.preprocessors["b"].dropped == {"b0": "constant", "b1": "all missing", "b2": "constant"}
        assert fold.n_features == {"a": N_A, "b": N_B - 3}


def test_a_feature_that_no_fold_lacks_in_training_is_kept_although_parts_lack_it() -> None:
    frames = tables(missing=0)
    folds = prepared(frames, folds=4)
    frames["a"].loc[is_in(folds[1], "val"), "a0"] = np.nan
    frames["a"].loc[is_in(folds[2], "val"), "a1"] = 5.0
    frames["b"].loc[is_in(folds[0], "test"), "b0"] = np.nan
    for fold in prepared(frames, folds=4):
        assert fold.n_features == {"a": N_A, "b": N_B}
    for fold in prepared(frames, folds=4, missing_value_strategy="drop"):
        assert fold.preprocessors["a"].dropped == {"a0": "missing values"}
        assert fold.preprocessors["b"].dropped == {}  # gaps of test rows are no reason


SCALERS = {"zscore": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


@given(st.integers(2, 6), st.sampled_from(list(SCALERS)), seeds, seeds)
@settings(max_examples=20, deadline=None)
def test_each_fold_is_scaled_as_sklearn_would_by_its_own_training_rows(
    n: int, scaling: str, seed: int, fold_seed: int
) -> None:
    frames = tables()
    folds = prepared(frames, folds=n, random_seed=seed, fold_seed=fold_seed, normalization_method=scaling)
    assert len(folds) == n
    for fold in folds:
        for platform, frame in frames.items():
            measured = frame.to_numpy()
            scaler = SCALERS[scaling]().fit(measured[is_in(fold, "train")])
            observed = ~np.isnan(measured)
            np.testing.assert_array_equal(fold.observed[platform], observed)
            scaled = scaler.transform(measured)
            np.testing.assert_allclose(fold.values[platform][observed], scaled[observed], rtol=1e-5, atol=1e-5)
            fill = np.broadcast_to(np.nanmean(scaled[is_in(fold, "train")], axis=0), scaled.shape)
            np.testing.assert_allclose(fold.values[platform][~observed], fill[~observed], rtol=1e-5, atol=1e-5)
    for one, other in pairwise(folds):
        assert all(not np.array_equal(one.values[p], other.values[p]) for p in PLATFORMS)


def learnt(data: PreparedData) -> dict[str, np.ndarray]:
    """All numbers that were fitted to a fold."""
    numbers = {
        f"{platform}.{step}.{name}": value
        for platform in PLATFORMS
        for step, transformer in data.preprocessors[platform].pipeline.steps
        for name, value in vars(transformer).items()
        if isinstance(value, np.ndarray)
    }
    for direction, fitted in data.linear_maps.items():
        numbers |= {f"{direction}.{i}": part for i, part in enumerate((*fitted.factors, fitted.bias))}
    return numbers


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(v, other[k], equal_nan=True) for k, v in one.items())


@pytest.mark.parametrize("filling", ["mean", "median", "knn"])
@pytest.mark.parametrize("k", range(3))
def test_what_a_fold_validates_on_changes_nothing_that_is_fitted_to_it_but_the_other_folds(
    k: int, filling: str
) -> None:
    how: dict[str, Any] = {"folds": 3, "missing_value_strategy": filling}
    how["log_transform"] = LogTransforms(platform_a=LogTransform(enabled=True))
    frames = tables()
    before = prepared(frames, **how)
    changed = {
        p: frame.mask(np.tile(is_in(before[k], "val"), (frame.shape[1], 1)).T, 3 * frame + 1)
        for p, frame in frames.items()
    }
    after = prepared(changed, **how)
    assert [same(learnt(new), learnt(old)) for new, old in zip(after, before, strict=True)] == [
        i == k for i in range(3)
    ]


def test_linear_maps_differ_by_fold() -> None:
    maps = [fold.linear_maps["a", "b"] for fold in prepared(tables(), folds=4)]
    x = np.eye(N_A, dtype=np.float32)
    for i, one in enumerate(maps):
        for other in maps[:i]:
            assert np.abs(one.predict(x) - other.predict(x)).max() > 1e-3


def test_folds_of_a_group_column_keep_persons_together(tmp_path: Path) -> None:
    frames = tables()
    people = pd.Series([f"P{i // 4}" for i in range(N)], index=pd.Index(frames["a"].index, name="id"), name="person")
    people.to_csv(tmp_path / "samples.csv")
    folds = prepared(frames, folds=4, groups="person", samples_table=tmp_path / "samples.csv")
    for fold in folds:
        assert (fold.splits.groupby(people).nunique() == 1).all()
        assert fold.groups is not None
        assert fold.groups.tolist() == people.tolist()
    assert any((fold.splits.groupby(people).nunique() > 1).any() for fold in prepared(frames, folds=4))


@pytest.mark.parametrize(
    ("folds", "expected"),
    [(4, "80 samples: 12 test, 68 in 4 folds, each validating on 17"),
     (5, "80 samples: 12 test, 68 in 5 folds, each validating on 13-14")],
)  # fmt: skip
def test_the_report_counts_what_each_fold_validates_on(folds: int, expected: str) -> None:
    assert split_report(prepared(tables(), folds=folds)) == [expected]


def test_a_fold_that_scores_nothing_is_an_error_whichever_it_is() -> None:
    for k in range(3):
        frames = tables()
        frames["b"].loc[is_in(prepared(frames, folds=3)[k], "val")] = 1.0
        with pytest.raises(
            DataError, match=r"platform b: no feature has 3 observed values that vary among the 2[23] val"
        ):
            prepared(frames, folds=3)


def test_the_plain_split_is_prepared_as_one_fold() -> None:
    (one,) = prepared(tables())
    plain = prepare(pair_from_frames(tables()), DataSettings())
    assert same(learnt(one), learnt(plain))
    assert fingerprint([one]) == one.fingerprint == plain.fingerprint


def test_the_fingerprint_tells_folds_from_others_of_the_same_data() -> None:
    ways: list[dict[str, Any]] = [
        {}, {"folds": 3}, {"folds": 4}, {"folds": 3, "fold_seed": 1}, {"folds": 3, "random_seed": 1},
        {"folds": 3, "splits": Splits(train=0.7, val=0.2, test=0.1)},
    ]  # fmt: skip
    prints = [fingerprint(prepared(tables(), **way)) for way in ways]
    assert prints == [fingerprint(prepared(tables(), **way)) for way in ways]
    assert len(set(prints)) == len(ways)
    first, second, _ = prepared(tables(), folds=3)
    assert len({fingerprint(folds) for folds in ([first, second], [first, first], [second, first])}) == 3
    fewer = {p: frame.drop(columns=f"{p}0") for p, frame in tables().items()}
    assert fingerprint(prepared(fewer, folds=3)) != prints[1]


@given(st.permutations(range(N)))
@settings(max_examples=5, deadline=None)
def test_other_rows_change_the_fingerprint_of_folds_where_they_change_that_of_the_plain_split(order: list[int]) -> None:
    frames = tables()
    mixed = {p: frame.iloc[order] for p, frame in frames.items()}
    b_mixed = {"a": frames["a"], "b": frames["b"].iloc[order]}
    for changed in (mixed, b_mixed):
        plain, folded = (
            fingerprint(prepared(changed, **how)) == fingerprint(prepared(frames, **how)) for how in ({}, {"folds": 3})
        )
        assert folded == plain
    for one, other in zip(prepared(mixed, folds=3), prepared(frames, folds=3), strict=True):
        pd.testing.assert_series_equal(one.splits.loc[other.splits.index], other.splits)
        for p in PLATFORMS:
            np.testing.assert_allclose(one.values[p], other.values[p][order], rtol=1e-5, atol=1e-5)


def test_folds_whose_validation_rows_score_nothing_say_what_to_do() -> None:
    frames = tables()
    frames["b"].loc[prepared(frames, folds=3)[0].splits == "val"] = 1.0
    with pytest.raises(DataError, match=r"platform b: no feature has 3 .*Take fewer folds\."):
        prepared(frames, folds=3)
