"""Folds: the same test samples, every other sample validated once, and nothing learnt from what a fold validates on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.schema import Splits
from cpivae.data.split import MIN_SAMPLES, split_into_folds, split_samples
from cpivae.errors import DataError
from cpivae.names import SPLITS

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


def test_too_few_test_samples_are_no_matter_of_the_folds() -> None:
    ids = [f"S{i}" for i in range(15)]
    with pytest.raises(DataError, match=r"test gets 2 .* Change data\.splits or bring more samples"):
        split_into_folds(ids, Splits(), 0, None, 2, 0)
