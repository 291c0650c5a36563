"""Which sample is for training, validation or test.  Decided by ids and a seed, never by the order of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    labels = pd.Series(list(ids), index=list(ids)) if groups is None else groups.loc[list(ids)].astype(str)
    units = np.array(sorted(labels.unique()))
    shuffled = units[np.random.default_rng(seed).permutation(len(units))]
    n_val = _share(splits.val, len(units))
    n_test = _share(splits.test, len(units))
    of_unit: dict[str, Split] = dict.fromkeys(shuffled, "train")
    of_unit.update(dict.fromkeys(shuffled[:n_val], "val"))
    of_unit.update(dict.fromkeys(shuffled[n_val : n_val + n_test], "test"))
    assigned = labels.map(of_unit)
    assigned.index.name = "sample"
    assigned.name = "split"
    _require_enough(assigned, splits, grouped=groups is not None)
    return assigned


def _share(share: float, n: int) -> int:
    """Round to the nearest, but never a wanted split away."""
    return max(1, math.floor(share * n + 0.5)) if share > 0 else 0


def _require_enough(assigned: pd.Series, splits: Splits, *, grouped: bool) -> None:
    counts = {split: int((assigned == split).sum()) for split in SPLITS}
    short = [
        f"{split} gets {counts[split]} (at least {MIN_SAMPLES[split]} needed)"
        for split in SPLITS
        if counts[split] < MIN_SAMPLES[split] and getattr(splits, split) > 0
    ]
    if short:
        unit = "samples in groups" if grouped else "shared samples"
        raise DataError(
            f"{len(assigned)} {unit} are too few for the splits: {'; '.join(short)}. "
            "Change data.splits or bring more samples."
        )
