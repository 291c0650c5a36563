"""Choosing a hyper-parameter on training rows alone: by squared error on inner folds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, KFold

Array = npt.NDArray[np.float64]
InnerFolds = list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""(fitted, held out) row numbers."""

Path = Callable[[Array, Array, Array, Sequence[Any]], Iterator[Array]]
"""From rows x (N, D), their targets y (N, T), new rows (n, D) and candidates to a prediction (n, T) per candidate."""

N_FOLDS = 5


def inner_folds(n: int, groups: npt.NDArray[np.object_] | None = None) -> InnerFolds:
    """Deal n rows to folds that keep ``groups`` (n,) together."""
    if groups is not None and len(set(groups)) > 1:
        splitter = GroupKFold(min(N_FOLDS, len(set(groups))))
        return list(splitter.split(np.zeros(n), groups=groups))
    # Shuffled, because tables are often sorted by plate or by diagnosis.
    return list(KFold(min(N_FOLDS, n), shuffle=True, random_state=0).split(np.zeros(n)))


def best_candidate(path: Path, candidates: Sequence[Any], x: Array, y: Array, folds: InnerFolds) -> Any:
    """Return the candidate with the least squared error on held-out rows, the first of equals."""
    errors = np.zeros(len(candidates))
    for fitted, held_out in folds:
        for i, predicted in enumerate(path(x[fitted], y[fitted], x[held_out], candidates)):
            errors[i] += np.mean((predicted - y[held_out]) ** 2)
    return candidates[int(errors.argmin())]
