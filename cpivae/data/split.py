"""Which sample is for training, validation or test.  Decided by ids and a seed, never by the order of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cpivae.config.schema import Splits
from cpivae.errors import DataError
from cpivae.names import SPLITS, Split

MIN_SAMPLES: dict[Split, int] = {"train": 4, "val": 3, "test": 3}
"""A correlation needs three values; a batch of training rows two, and its standard deviation more."""


def split_samples(ids: Sequence[str], splits: Splits, seed: int, groups: pd.Series | None = None) -> pd.Series:
    """Assign every sample to a split.

    Parameters
    ----------
    ids : sample ids, all different.
    groups : a label per id (indexed by id); samples of one label stay together.  Default: every sample by itself.

    Returns
    -------
    Series of "train" / "val" / "test", indexed by id in the given order.  Shares hold for groups, to the nearest one.

    Raises
    ------
    DataError
        A split would hold too few samples.
    """
    labels = _labels(ids, groups)
    of_unit = _split_units(labels, splits, seed)
    assigned = _assigned(labels, of_unit)
    _require_enough(assigned, splits, grouped=groups is not None)
    return assigned


def split_into_folds(
    ids: Sequence[str], splits: Splits, seed: int, groups: pd.Series | None, folds: int, fold_seed: int
) -> list[pd.Series]:
    """Assign every sample to a split, once per fold.

    The test samples are those of :func:`split_samples`; all others are dealt to ``folds`` parts (groups stay together),
    and each part is the validation split once while the others are for training.

    Raises
    ------
    DataError
        A split would hold too few samples.
    """
    labels = _labels(ids, groups)
    of_unit = _split_units(labels, splits, seed)
    dealt = np.array(sorted(unit for unit, split in of_unit.items() if split != "test"))
    if folds > len(dealt):
        unit = "samples" if groups is None else "groups"
        raise DataError(f"{len(dealt)} {unit} cannot be dealt to {folds} folds. Lower the number of folds.")
    shuffled = dealt[np.random.default_rng((fold_seed, folds)).permutation(len(dealt))]
    test = {unit: split for unit, split in of_unit.items() if split == "test"}
    assigned = []
    for fold in np.array_split(shuffled, folds):
        of_fold = test | dict.fromkeys(shuffled, "train") | dict.fromkeys(fold, "val")
        assigned.append(_assigned(labels, of_fold))
        _require_enough(assigned[-1], splits, grouped=groups is not None, of_folds=folds)
    return assigned


def _labels(ids: Sequence[str], groups: pd.Series | None) -> pd.Series:
    return pd.Series(list(ids), index=list(ids)) if groups is None else groups.loc[list(ids)].astype(str)


def _split_units(labels: pd.Series, splits: Splits, seed: int) -> dict[str, Split]:
    units = np.array(sorted(labels.unique()))
    shuffled = units[np.random.default_rng(seed).permutation(len(units))]
    n_val = _share(splits.val, len(units))
    n_test = _share(splits.test, len(units))
    of_unit: dict[str, Split] = dict.fromkeys(shuffled, "train")
    of_unit.update(dict.fromkeys(shuffled[:n_val], "val"))
    of_unit.update(dict.fromkeys(shuffled[n_val : n_val + n_test], "test"))
    return of_unit


def _assigned(labels: pd.Series, of_unit: Mapping[str, str]) -> pd.Series:
    assigned = labels.map(of_unit)
    assigned.index.name = "sample"
    assigned.name = "split"
    return assigned


def _share(share: float, n: int) -> int:
    """Round to the nearest, but never a wanted split away."""
    return max(1, math.floor(share * n + 0.5)) if share > 0 else 0


def _require_enough(assigned: pd.Series, splits: Splits, *, grouped: bool, of_folds: int = 0) -> None:
    counts = {split: int((assigned == split).sum()) for split in SPLITS}
    short = [
        f"{split} gets {counts[split]} (at least {MIN_SAMPLES[split]} needed)"
        for split in SPLITS
        if counts[split] < MIN_SAMPLES[split] and getattr(splits, split) > 0
    ]
    if short:
        unit = "samples in groups" if grouped else "shared samples"
        # Another number of folds gives no more test samples.
        of_the_folds = of_folds > 0 and counts["test"] >= MIN_SAMPLES["test"] * (splits.test > 0)
        change = "the number of folds" if of_the_folds else "data.splits"
        raise DataError(
            f"{len(assigned)} {unit} are too few for {f'{of_folds} folds' if of_folds else 'the splits'}: "
            f"{'; '.join(short)}. Change {change} or bring more samples."
        )
