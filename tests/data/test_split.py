"""The split: decided by ids and a seed, complete, near its shares, and never through a group."""

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.schema import Splits
from cpivae.data.split import split_samples
from cpivae.errors import DataError

DEFAULT = Splits()
IDS = [f"S{i}" for i in range(100)]

shares = st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)).map(
    lambda s: Splits(train=1 - s[0] - s[1], val=s[0], test=s[1])
)
seeds = st.integers(0, 2**32 - 1)


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    first = split_samples(IDS, DEFAULT, seed=1)
    pd.testing.assert_series_equal(first, split_samples(IDS, DEFAULT, seed=1))
    assert (first != split_samples(IDS, DEFAULT, seed=2)).sum() > 20


def test_known_split() -> None:
    """Splits of old runs must stay what they were: a change here breaks ``confirm`` for them."""
    split = split_samples([f"S{i}" for i in range(20)], DEFAULT, seed=42)
    assert "".join(name[1] for name in split) == "rreraarrrrrrrrreraer"


@given(st.permutations(range(60)), seeds, st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int, grouped: bool) -> None:
    ids = IDS[:60]
    groups = pd.Series([f"G{i % 23}" for i in range(60)], index=ids) if grouped else None
    expected = split_samples(ids, DEFAULT, seed, groups)
    shuffled = [ids[i] for i in order]
    split = split_samples(shuffled, DEFAULT, seed, None if groups is None else groups.sample(frac=1, random_state=1))
    assert split.index.tolist() == shuffled
    pd.testing.assert_series_equal(split.loc[ids], expected)


@given(st.integers(60, 400), shares, seeds)
@settings(max_examples=100, deadline=None)
def test_every_sample_is_in_one_split_and_shares_hold_to_the_nearest_sample(n: int, splits: Splits, seed: int) -> None:
    split = split_samples([f"S{i}" for i in range(n)], splits, seed)
    assert split.index.tolist() == [f"S{i}" for i in range(n)]
    assert set(split) == {"train", "val", "test"}
    for name in ("val", "test"):
        assert abs((split == name).sum() - getattr(splits, name) * n) <= 0.5 + 1e-9
    assert abs((split == "train").sum() - splits.train * n) <= 1 + 1e-9


@given(st.data(), shares, seeds)
@settings(max_examples=100, deadline=None)
def test_groups_stay_together_and_their_number_has_the_shares(data: st.DataObject, splits: Splits, seed: int) -> None:
    sizes = data.draw(st.lists(st.integers(3, 6), min_size=40, max_size=60))
    labels = [f"G{g}" for g, size in enumerate(sizes) for _ in range(size)]
    random.Random(seed).shuffle(labels)
    ids = [f"S{i}" for i in range(len(labels))]
    split = split_samples(ids, splits, seed, pd.Series(labels, index=ids))
    per_group = split.groupby(labels).nunique()
    assert (per_group == 1).all()
    of_group = split.groupby(labels).first()
    for name in ("val", "test"):
        assert abs((of_group == name).sum() - getattr(splits, name) * len(sizes)) <= 0.5 + 1e-9


def test_groups_of_one_split_like_samples_of_that_name() -> None:
    itself = pd.Series(IDS, index=IDS)
    pd.testing.assert_series_equal(split_samples(IDS, DEFAULT, 3, itself), split_samples(IDS, DEFAULT, 3))


def test_groups_may_be_numbers_and_hold_more_samples_than_asked_for() -> None:
    groups = pd.Series(np.arange(200) // 2, index=[f"S{i}" for i in range(200)])
    split = split_samples(IDS, DEFAULT, 3, groups)
    assert split.index.tolist() == IDS
    assert (split.groupby(groups.loc[IDS]).nunique() == 1).all()


def test_a_wanted_split_never_vanishes() -> None:
    ids = [f"S{i}" for i in range(1000)]
    groups = pd.Series([f"G{i % 10}" for i in range(1000)], index=ids)
    split = split_samples(ids, Splits(train=0.98, val=0.01, test=0.01), 0, groups)
    assert split.value_counts().to_dict() == {"train": 800, "val": 100, "test": 100}


def test_an_unwanted_test_split_is_empty() -> None:
    split = split_samples(IDS, Splits(train=0.8, val=0.2, test=0), 0)
    assert split.value_counts().to_dict() == {"train": 80, "val": 20}


@pytest.mark.parametrize(
    ("n", "splits", "expected"),
    [
        (9, DEFAULT, "9 shared samples are too few for the splits: val gets 1 (at least 3 needed); test gets 1"),
        (1, DEFAULT, "train gets 0 (at least 4 needed)"),
        (10, Splits(train=0.3, val=0.7, test=0), "train gets 3 (at least 4 needed). Change data.splits"),
        (40, Splits(train=0.9, val=0.05, test=0.05), "val gets 2 (at least 3 needed); test gets 2"),
    ],
)
def test_too_few_samples_name_the_split(n: int, splits: Splits, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        split_samples(IDS[:n], splits, 0)
    assert expected in str(caught.value)


def test_too_few_groups_say_that_groups_are_the_reason() -> None:
    with pytest.raises(DataError, match="100 samples in groups are too few for the splits: train gets 0"):
        split_samples(IDS, DEFAULT, 0, pd.Series("one", index=IDS))


@pytest.mark.parametrize("n", range(1, 40))
@pytest.mark.parametrize("train", [0.05, 0.4, 0.7, 0.9])
def test_what_is_split_is_always_enough_for_a_correlation(n: int, train: float) -> None:
    try:
        split = split_samples(IDS[:n], Splits(train=train, val=(1 - train) / 2, test=(1 - train) / 2), 0)
    except DataError as error:
        assert "too few for the splits" in str(error)
    else:
        counts = split.value_counts()
        assert counts["train"] >= 4
        assert counts["val"] >= 3
        assert counts["test"] >= 3
