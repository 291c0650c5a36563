"""Ridge regression between platforms, fitted on training rows: what a network has to add to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold

from cpivae.batch import Direction, LinearMap

Rows = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Folds = list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]

PENALTIES = np.logspace(-4, 6, 21)
"""Penalties that are tried; scaled features sum up to (rows x features)."""

N_FOLDS = 5


class _Span(NamedTuple):
    """A table in its own span: ridge and squared error do not notice, and wide tables cost no more than square ones."""

    mean: Array
    """(D,)."""
    scores: Array
    """(N, R), R <= N."""
    axes: Array
    """(R, D), orthonormal; scores @ axes is the table without its mean."""


def fit_linear_maps(
    rows: Mapping[str, Rows], groups: npt.NDArray[np.object_] | None = None
) -> dict[Direction, LinearMap]:
    """Fit ridge regression from every platform's training rows (N, D) to every other's, by (source, target).

    One penalty for all targets of a direction, by squared error on inner folds that keep ``groups`` (N,) together.
    """
    spans = {platform: _span(table) for platform, table in rows.items()}
    folds = _folds(len(next(iter(rows.values()))), groups)
    return {(s, t): _fit(spans[s], spans[t], folds) for s in rows for t in rows if s != t}


def _fit(x: _Span, y: _Span, folds: Folds) -> LinearMap:
    ridge = Ridge(_penalty(x.scores, y.scores, folds)).fit(x.scores, y.scores)
    # scikit-learn flattens what has one column.
    coef = ridge.coef_.reshape(y.scores.shape[1], x.scores.shape[1])
    left, right = x.axes.T @ coef.T, y.axes
    smaller = left.size + right.size < len(left) * right.shape[1]
    factors = (left, right) if smaller else (left @ right,)
    bias = y.mean + np.reshape(ridge.intercept_, -1) @ y.axes - x.mean @ left @ right
    as_stored = [np.ascontiguousarray(part, dtype=np.float32) for part in (*factors, bias)]
    return LinearMap(tuple(as_stored[:-1]), as_stored[-1])


def _penalty(x: Array, y: Array, folds: Folds) -> float:
    """Return the penalty with the least squared error on held-out rows; one decomposition per fold serves them all."""
    errors = np.zeros(len(PENALTIES))
    for fitted, held_out in folds:
        x_mean, y_mean = x[fitted].mean(axis=0), y[fitted].mean(axis=0)
        u, s, axes = np.linalg.svd(x[fitted] - x_mean, full_matrices=False)
        targets, scores, wanted = u.T @ (y[fitted] - y_mean), (x[held_out] - x_mean) @ axes.T, y[held_out] - y_mean
        for i, penalty in enumerate(PENALTIES):
            errors[i] += np.mean((scores * (s / (s**2 + penalty)) @ targets - wanted) ** 2)
    return float(PENALTIES[errors.argmin()])


def _span(table: Rows) -> _Span:
    mean = table.mean(axis=0, dtype=np.float64)
    u, s, axes = np.linalg.svd(table - mean, full_matrices=False)
    return _Span(mean, u * s, axes)


def _folds(n: int, groups: npt.NDArray[np.object_] | None) -> Folds:
    if groups is not None and len(set(groups)) > 1:
        splitter = GroupKFold(min(N_FOLDS, len(set(groups))))
        return list(splitter.split(np.zeros(n), groups=groups))
    # Shuffled, because tables are often sorted by plate or by diagnosis.
    return list(KFold(min(N_FOLDS, n), shuffle=True, random_state=0).split(np.zeros(n)))
