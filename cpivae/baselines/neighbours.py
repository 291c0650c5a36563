"""k nearest neighbours: a sample is what the training samples most like it are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from sklearn.neighbors import NearestNeighbors

from cpivae.data.inner import Array

NEIGHBOURS: Final = (3, 5, 10, 15, 20, 30, 50)

_NEVER_ZERO: Final = 1e-9
"""Of a typical distance: a training row that equals a new one decides alone."""


def knn_path(x: Array, y: Array, new: Array, candidates: Sequence[int]) -> Iterator[Array]:
    """Predict new rows (n, D) as the mean of y (N, T) over the k nearest rows of x (N, D), once for each k.

    Weights are 1 / (Euclidean distance).
    """
    most = min(max(candidates), len(x))
    distances, nearest = NearestNeighbors(n_neighbors=most).fit(x).kneighbors(new)
    weights = 1 / np.maximum(distances, _NEVER_ZERO * max(float(distances.mean()), _NEVER_ZERO))
    for k in candidates:
        yield weighted_mean(nearest[:, :k], weights[:, :k], y)


def weighted_mean(rows: npt.NDArray[np.int64], weights: Array, y: Array) -> Array:
    """Return the mean (n, T) of rows (n, k) of y (N, T) with weights (n, k)."""
    n, k = rows.shape
    shares = weights / weights.sum(axis=1, keepdims=True)
    mean: Array = csr_array((shares.ravel(), rows.ravel(), np.arange(n + 1) * k), shape=(n, len(y))) @ y
    return mean
