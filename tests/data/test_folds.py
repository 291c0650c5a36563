"""Folds: the same test samples, every other sample validated once, and nothing learnt from what a fold validates on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from cpivae.batch import Batch
from cpivae.config.schema import DataSettings, LogTransform, LogTransforms, Splits
from cpivae.data.module import PairModule
from cpivae.data.prepare import Folds, PreparedData, fingerprint, prepare, prepare_folds, split_report
from cpivae.data.split import MIN_SAMPLES, split_into_folds, split_samples
from cpivae.data.tables import pair_from_frames
from cpivae.errors import DataError
from cpivae.names import PLATFORMS, SPLITS, Split

DEFAULT = Splits()
IDS = [f"S{i}" for i in range(100)]

seeds = st.integers(0, 2**32 - 1)
shares = st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)).map(
    lambda s: Splits(train=1 - s[0] - s[1], val=s[0], test=s[1])
)


@dataclass(frozen=True)
class Cohort:
    """Samples, perhaps in groups, and how they are dealt."""

    ids: list[str]
    groups: pd.Series | None
    splits: Splits
    seed: int
    folds: int
    fold_seed: int

    @property
    def units(self) -> pd.Series:
        """What stays together: the group of every sample, or the sample itself."""
        return pd.Series(self.ids, index=self.ids) if self.groups is None else self.groups.loc[self.ids]

    def dealt(self, **changes: Any) -> list[pd.Series]:
        return split_into_folds(**vars(self) | changes)

    def parts(self, **changes: Any) -> set[frozenset[str]]:
        """The validation samples of the folds, whichever fold is the first."""
        return {frozenset(split.index[split == "val"]) for split in self.dealt(**changes)}


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    if draw(st.booleans()):
        sizes = draw(st.lists(st.integers(1, 20), min_size=3, max_size=3))
        sizes += draw(st.lists(st.integers(3, 6), min_size=35, max_size=45))
        ids = [f"S{i}" for i in range(sum(sizes))]
        labels = [f"G{g}" for g, size in enumerate(sizes) for _ in range(size)]
        random.Random(draw(seeds)).shuffle(labels)
        groups = pd.Series(labels, index=ids)
    else:
        text = st.text("aZ09 .-_é漢", min_size=1, max_size=6)
        ids, groups = draw(st.lists(text, min_size=40, max_size=90, unique=True)), None
    return Cohort(ids, groups, draw(shares), draw(seeds), draw(st.integers(2, 6)), draw(seeds))


def letters(split: pd.Series) -> str:
    return "".join(name[1] for name in split)


# ------------------------------------------------------------------------------------------- dealing


@given(cohorts())
@settings(max_examples=60, deadline=None)
def test_every_sample_is_tested_as_in_the_plain_split_or_validated_once(cohort: Cohort) -> None:
    plain = split_samples(cohort.ids, cohort.splits, cohort.seed, cohort.groups)
    folds = cohort.dealt()
    assert len(folds) == cohort.folds
    table = pd.concat([split.rename(i) for i, split in enumerate(folds)], axis=1)
    assert table.index.tolist() == cohort.ids
    is_test = plain == "test"
    assert (table[is_test] == "test").all(axis=None)
    assert ((table[~is_test] == "val").sum(axis=1) == 1).all()
    assert ((table[~is_test] == "train").sum(axis=1) == cohort.folds - 1).all()
    for split in folds:
        assert all((split == name).sum() >= MIN_SAMPLES[name] for name in SPLITS)
        assert (split.index.name, split.name) == (plain.index.name, plain.name)


@given(cohorts())
@settings(max_examples=60, deadline=None)
def test_no_group_straddles_the_splits_of_any_fold_and_parts_differ_by_one_group_at_most(cohort: Cohort) -> None:
    validated = []
    for split in cohort.dealt():
        of_unit = split.groupby(cohort.units)
        assert (of_unit.nunique() == 1).all()
        validated.append(int((of_unit.first() == "val").sum()))
    assert max(validated) - min(validated) <= 1


@given(cohorts(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_does_not_matter(cohort: Cohort, rng: random.Random) -> None:
    shuffled = rng.sample(cohort.ids, len(cohort.ids))
    groups = None if cohort.groups is None else cohort.groups.sample(frac=1, random_state=rng.randrange(999))
    for split, expected in zip(cohort.dealt(ids=shuffled, groups=groups), cohort.dealt(), strict=True):
        assert split.index.tolist() == shuffled
        pd.testing.assert_series_equal(split.loc[cohort.ids], expected)


@given(cohorts(), seeds)
@settings(max_examples=30, deadline=None)
def test_another_fold_seed_deals_otherwise_and_keeps_the_test_samples(cohort: Cohort, other: int) -> None:
    for again, split in zip(cohort.dealt(), cohort.dealt(), strict=True):
        pd.testing.assert_series_equal(again, split)
    if other != cohort.fold_seed:
        assert cohort.parts(fold_seed=other) != cohort.parts()
    for split, first in zip(cohort.dealt(fold_seed=other), cohort.dealt(), strict=True):
        pd.testing.assert_series_equal(split == "test", first == "test")


@given(cohorts())
@settings(max_examples=15, deadline=None)
def test_the_seed_of_the_split_chooses_the_test_samples(cohort: Cohort) -> None:
    first = [cohort.dealt(seed=seed)[0] for seed in range(5)]
    assert len({frozenset(split.index[split == "test"]) for split in first}) > 1


def test_known_folds() -> None:
    """Folds of old runs must stay what they were: a change here breaks ``confirm`` for them."""
    folds = split_into_folds(IDS[:20], DEFAULT, 42, None, folds=3, fold_seed=7)
    assert [letters(split) for split in folds] == [
        "rrerrrararaarareraer",
        "rreraarararrarrearer",
        "aaearrrrrrrrrraerrea",
    ]


def test_groups_of_one_are_dealt_like_samples_of_that_name() -> None:
    itself = pd.Series(IDS, index=IDS)
    for grouped, plain in zip(
        split_into_folds(IDS, DEFAULT, 3, itself, 4, 0), split_into_folds(IDS, DEFAULT, 3, None, 4, 0), strict=True
    ):
        pd.testing.assert_series_equal(grouped, plain)


def test_without_a_test_split_every_sample_is_validated() -> None:
    folds = split_into_folds(IDS, Splits(train=0.8, val=0.2, test=0), 0, None, 4, 0)
    assert [split.value_counts().to_dict() for split in folds] == [{"train": 75, "val": 25}] * 4
    assert sum((split == "val").astype(int) for split in folds).eq(1).all()  # type: ignore[union-attr]


@given(st.integers(7, 60), st.sampled_from([0.0, 0.15, 0.3]), st.integers(2, 100), seeds, st.booleans())
@settings(max_examples=200, deadline=None)
def test_folds_are_dealt_if_every_part_has_enough_samples_and_otherwise_told_what_is_short(
    n: int, test: float, folds: int, seed: int, grouped: bool
) -> None:
    ids = IDS[:n]
    groups = pd.Series(ids, index=ids) if grouped else None  # groups of one
    n_test = max(1, int(test * n + 0.5)) if test else 0
    sizes = [len(part) for part in np.array_split(np.arange(n - n_test), folds)]

    def short(part: int) -> str:
        counts = {"train": n - n_test - part, "val": part} | ({"test": n_test} if test else {})
        told = [f"{s} gets {c} (at least {MIN_SAMPLES[s]} needed)" for s, c in counts.items() if c < MIN_SAMPLES[s]]
        return "; ".join(told)

    try:
        dealt = split_into_folds(ids, Splits(train=0.85 - test, val=0.15, test=test), seed, groups, folds, 0)
    except DataError as error:
        told = str(error)
        if folds > n - n_test:
            unit = "groups" if grouped else "samples"
            assert told == f"{n - n_test} {unit} cannot be dealt to {folds} folds. Lower the number of folds."
        else:
            unit = "samples in groups" if grouped else "shared samples"
            first = next(filter(None, map(short, sizes)))
            assert told.startswith(f"{n} {unit} are too few for {folds} folds: {first}. Change ")
            assert "\n" not in told
    else:
        assert not any(map(short, sizes))
        assert [int((split == "val").sum()) for split in dealt] == sizes
        assert {int((split == "test").sum()) for split in dealt} == {n_test}


def test_more_folds_than_groups_although_there_are_samples_enough() -> None:
    groups = pd.Series([f"G{i // 10}" for i in range(100)], index=IDS)
    with pytest.raises(DataError, match=r"^8 groups cannot be dealt to 9 folds\. Lower the number of folds\.$"):
        split_into_folds(IDS, DEFAULT, 0, groups, 9, 0)
    split_into_folds(IDS, DEFAULT, 0, groups, 8, 0)


# ------------------------------------------------------------------------------------------- preparing

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


# ------------------------------------------------------------------------------------------- lockstep


@dataclass(frozen=True)
class Lockstep:
    """Folds whose every row tells its number and its fold, and how they are dealt into batches."""

    folds: list[PreparedData]
    batch_size: int
    seeds: list[int]
    epoch: int

    def module(self) -> PairModule:
        return PairModule(self.folds, self.batch_size, self.seeds)

    def alone(self, replica: int) -> PairModule:
        return PairModule([self.fold(replica)], self.batch_size, [self.seeds[replica]])

    def fold(self, replica: int) -> PreparedData:
        return self.folds[replica % len(self.folds)]

    def steps(self, module: PairModule, split: Split) -> list[Sequence[Batch]]:
        loader = getattr(module, f"{split}_dataloader")()
        loader.sampler.set_epoch(self.epoch)
        steps = list(loader)
        assert len(loader) == len(steps)
        return steps


@st.composite
def locksteps(draw: st.DrawFn) -> Lockstep:
    sizes = draw(st.lists(st.integers(3, 12) | st.integers(3, 150), min_size=2, max_size=5))
    parts = np.repeat(np.arange(-1, len(sizes)), [draw(st.integers(3, 30)), *sizes])  # -1: test
    parts = np.random.default_rng(draw(seeds)).permutation(parts)
    folds = []
    for i in range(len(sizes)):
        splits = pd.Series(np.select([parts == -1, parts == i], ["test", "val"], "train"))
        rows = np.arange(len(parts), dtype=np.float32)[:, None]
        values, observed = {"a": rows, "b": -rows + i / 8}, dict.fromkeys(PLATFORMS, rows % 2 == 0)
        folds.append(PreparedData(splits, values, observed, {}, {}))
    replicas = draw(st.integers(1, 2 * len(folds)))
    return Lockstep(
        folds,
        draw(st.integers(3, 64)),
        draw(st.lists(seeds, min_size=replicas, max_size=replicas, unique=True)),
        draw(st.integers(0, 9)),
    )


def rows_of(batches: Sequence[Batch], fold: int) -> list[int]:
    """Return the numbers of the rows, which are a fold's."""
    a, b = (torch.cat([batch.targets[p] for batch in batches])[:, 0].tolist() for p in PLATFORMS)
    observed = torch.cat([batch.observed["a"] for batch in batches])[:, 0].tolist()
    assert b == [-row + fold / 8 for row in a]
    assert observed == [row % 2 == 0 for row in a]
    return list(map(int, a))


@given(locksteps(), st.sampled_from(SPLITS))
@settings(max_examples=120, deadline=None)
def test_each_replica_gets_every_row_of_its_own_split_once_in_as_many_batches_as_the_others(
    lockstep: Lockstep, split: Split
) -> None:
    steps = lockstep.steps(lockstep.module(), split)
    used = [lockstep.fold(r) for r in range(len(lockstep.seeds))]
    assert len(steps) == min(-(-len(fold.rows(split)) // lockstep.batch_size) for fold in used)
    assert {len(step) for step in steps} == {len(lockstep.seeds)}
    for r, batches in enumerate(zip(*steps, strict=True)):
        rows = rows_of(batches, r % len(lockstep.folds))
        assert sorted(rows) == used[r].rows(split).tolist()
        assert (rows == used[r].rows(split).tolist()) or split == "train"
        sizes = [len(batch.targets["a"]) for batch in batches]
        assert min(sizes) >= 2  # batch norm cannot take one row
        assert max(sizes) - min(sizes) <= 1


@given(locksteps(), st.sampled_from(SPLITS))
@settings(max_examples=80, deadline=None)
def test_a_replicas_batches_are_those_of_a_module_of_its_own_where_that_deals_as_many(
    lockstep: Lockstep, split: Split
) -> None:
    together = lockstep.steps(lockstep.module(), split)
    compared = 0
    for r in range(len(lockstep.seeds)):
        alone = lockstep.steps(lockstep.alone(r), split)
        assert len(alone) >= len(together)
        if len(alone) == len(together):
            compared += 1
            for step, (own,) in zip(together, alone, strict=True):
                for field in Batch._fields:
                    for p in PLATFORMS:
                        assert torch.equal(getattr(step[r], field)[p], getattr(own, field)[p])
    assert compared, "the smallest fold sets the pace"


@given(locksteps())
@settings(max_examples=40, deadline=None)
def test_the_order_of_training_rows_is_every_replicas_own_and_another_in_every_epoch(lockstep: Lockstep) -> None:
    orders = set()
    for epoch in (lockstep.epoch, lockstep.epoch + 1):
        steps = lockstep.steps(lockstep.module(), "train")
        orders |= {tuple(rows_of(b, r % len(lockstep.folds))) for r, b in enumerate(zip(*steps, strict=True))}
        lockstep = Lockstep(lockstep.folds, lockstep.batch_size, lockstep.seeds, epoch + 1)
    if min(len(fold.rows("train")) for fold in lockstep.folds) > 12:
        assert len(orders) == 2 * len(lockstep.seeds)


@given(locksteps(), st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_processes_share_the_rows_of_every_replica_and_train_in_step(lockstep: Lockstep, world: int) -> None:
    for split in SPLITS:
        shares = []
        for rank in range(world):
            module = lockstep.module()
            module.trainer = SimpleNamespace(global_rank=rank, world_size=world)  # type: ignore[assignment]
            shares.append(lockstep.steps(module, split))
        for r in range(len(lockstep.seeds)):
            seen = [rows_of([step[r] for step in steps], r % len(lockstep.folds)) for steps in shares]
            own, dealt = lockstep.fold(r).rows(split).tolist(), sorted(row for rows in seen for row in rows)
            assert len(dealt) == len(set(dealt)) == len(own) - (len(own) % world if split == "train" else 0)
            assert set(dealt) <= set(own)
        if split == "train":
            assert len({len(steps) for steps in shares}) == 1


def test_too_few_test_samples_are_no_matter_of_the_folds() -> None:
    ids = [f"S{i}" for i in range(15)]
    with pytest.raises(DataError, match=r"test gets 2 .* Change data\.splits or bring more samples"):
        split_into_folds(ids, Splits(), 0, None, 2, 0)
