"""Predictions without neighbours: the training mean, and partial least squares.  (Ridge is in ``data/linear``.)"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import ConvergenceWarning

from cpivae.data.inner import Array

COMPONENTS: Final = (1, 2, 3, 5, 8, 12, 20, 30, 50)

_MOST_AXES: Final = 500
"""PLS sees so many leading directions of either table: all of them up to 500 training rows, and beyond that those that
hold nearly all of what is not noise; its time grows with their number."""


def mean_path(x: Array, y: Array, new: Array, candidates: Sequence[None]) -> Iterator[Array]:  # noqa: ARG001
    """Predict every new row (n, D) as the mean of y (N, T): what a method must beat to have learnt anything."""
    for _ in candidates:
        yield np.tile(y.mean(axis=0), (len(new), 1))


def pls_path(x: Array, y: Array, new: Array, candidates: Sequence[int]) -> Iterator[Array]:
    """Predict new rows (n, D) by partial least squares of y (N, T) on x (N, D), once per number of components.

    ``y = x W (Pᵀ W)⁻¹ Qᵀ`` with weights W and loadings P, Q of the components (Wold et al. 2001).  Components
    come one after the other and ``(Pᵀ W)⁻¹`` is triangular, so one fit with most of them holds those with fewer.
    """
    few_x, few_y = x[:, :_MOST_AXES], y[:, :_MOST_AXES]
    most = min(max(candidates), len(x) - 1, few_x.shape[1])
    pls = PLSRegression(most, scale=False, max_iter=200, tol=1e-5)
    with warnings.catch_warnings():
        # A component that is not settled after 200 steps lies in a plane of equally good ones; any of them will do.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Fewer components exist where y is explained before; the rest stay zero.
        warnings.filterwarnings("ignore", message="y residual is constant")
        pls.fit(few_x, few_y)
    scores = pls.transform(new[:, :_MOST_AXES])
    for n in candidates:
        predicted = np.tile(y.mean(axis=0), (len(new), 1))
        predicted[:, : few_y.shape[1]] += scores[:, :n] @ pls.y_loadings_[:, :n].T
        yield predicted
