"""Ridge regression between platforms, fitted on training rows: what a network has to add to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from cpivae.batch import Direction, LinearMap
from cpivae.data.inner import InnerFolds, best_candidate, inner_folds
from cpivae.data.span import Span, thin_svd

Rows = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

PENALTIES = tuple(float(penalty) for penalty in np.logspace(-4, 6, 21))
"""Penalties that are tried; scaled features sum up to (rows x features)."""


def fit_linear_maps(
    rows: Mapping[str, Rows], groups: npt.NDArray[np.object_] | None = None
) -> dict[Direction, LinearMap]:
    """Fit ridge regression from every platform's training rows (N, D) to every other's, by (source, target).

    One penalty for all targets of a direction, by squared error on inner folds that keep ``groups`` (N,) together.
    """
    spans = {platform: Span.of(table) for platform, table in rows.items()}
    folds = inner_folds(len(next(iter(rows.values()))), groups)
    return {(s, t): _fit(spans[s], spans[t], folds) for s in rows for t in rows if s != t}


def ridge_path(x: Array, y: Array, new: Array, penalties: Sequence[float]) -> Iterator[Array]:
    """Predict new rows (n, D) by ridge regression of y (N, T) on x (N, D), once for each penalty.

    One decomposition serves them all.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    u, s, axes = thin_svd(x - x_mean)
    targets, scores = u.T @ (y - y_mean), (new - x_mean) @ axes.T
    for penalty in penalties:
        yield scores * (s / (s**2 + penalty)) @ targets + y_mean


def _fit(x: Span, y: Span, folds: InnerFolds) -> LinearMap:
    penalty = best_candidate(ridge_path, PENALTIES, x.scores, y.scores, folds)
    ridge = Ridge(penalty).fit(x.scores, y.scores)
    # scikit-learn flattens what has one column.
    coef = ridge.coef_.reshape(y.scores.shape[1], x.scores.shape[1])
    left, right = x.axes.T @ coef.T, y.axes
    smaller = left.size + right.size < len(left) * right.shape[1]
    factors = (left, right) if smaller else (left @ right,)
    bias = y.mean + np.reshape(ridge.intercept_, -1) @ y.axes - x.mean @ left @ right
    as_stored = [np.ascontiguousarray(part, dtype=np.float32) for part in (*factors, bias)]
    return LinearMap(tuple(as_stored[:-1]), as_stored[-1])
