"""Ridge regression from one platform to the other, fitted on training rows: what a network has to add to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, KFold

from cpivae.batch import LinearMap

Rows = npt.NDArray[np.float32]

PENALTIES = np.logspace(0, 6, 13)
"""Penalties that are tried; scaled features sum up to (rows x features)."""

N_FOLDS = 5


def fit_linear_map(x: Rows, y: Rows, groups: npt.NDArray[np.object_] | None = None) -> LinearMap:
    """Fit ridge regression from training rows x (N, D_source) to y (N, D_target).

    One penalty for all targets, by squared error on inner folds that keep ``groups`` (N,) together.  Rows are first
    turned into their own span (R <= N dimensions): ridge and squared error do not notice, and wide tables cost no more
    than square ones.
    """
    x_mean, y_mean = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    x_scores, x_axes = _own_span(x - x_mean)
    y_scores, y_axes = _own_span(y - y_mean)
    ridge = RidgeCV(PENALTIES, cv=_folds(len(x), groups), scoring="neg_mean_squared_error")
    ridge.fit(x_scores, y_scores)
    left, right = x_axes.T @ ridge.coef_.T, y_axes
    if len(left) <= len(right):
        left, right = np.eye(len(left)), left @ right
    bias = y_mean + ridge.intercept_ @ y_axes - x_mean @ left @ right
    return LinearMap(*(np.ascontiguousarray(part, dtype=np.float32) for part in (left, right, bias)))


def _own_span(centred: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return scores (N, R) and orthonormal axes (R, D) whose product is the table (N, D)."""
    u, s, axes = np.linalg.svd(centred, full_matrices=False)
    return u * s, axes


def _folds(n: int, groups: npt.NDArray[np.object_] | None) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    if groups is not None and len(set(groups)) > 1:
        splitter = GroupKFold(min(N_FOLDS, len(set(groups))))
        return list(splitter.split(np.zeros(n), groups=groups))
    # Shuffled, because tables are often sorted by plate or by diagnosis.
    return list(KFold(min(N_FOLDS, n), shuffle=True, random_state=0).split(np.zeros(n)))
