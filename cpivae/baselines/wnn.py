"""Weighted nearest neighbours (WNN) of Hao et al., Cell 184:3573 (2021), for samples of which one platform is measured.

WNN finds the neighbours of a sample that was measured on *both* platforms: each platform is trusted, sample by sample,
as far as its neighbours predict the sample.  Here a new sample has its source alone, so it has neither weights nor
weighted neighbours.  What applies is what Hao et al. do to map such a query onto a reference: the training samples,
which have both, get their WNN graph; supervised PCA finds the directions of the source along which neighbours of that
graph lie together; a new sample is projected onto them, and its target is the mean of its nearest training samples'.
The target platform thus decides which differences between sources matter, and is not read for new samples.

Left out: the anchors between query and reference (there is no batch effect between rows of one table), and the
approximate search of candidates (all pairs are compared, block by block).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from cpivae.baselines.neighbours import knn_path
from cpivae.data.inner import Array

Numbers = npt.NDArray[np.int64]

N_AXES: Final = 50
"""Principal components of a platform at most."""
N_NEIGHBOURS: Final = 20
"""Neighbours in every graph, and samples that set the width of a kernel; fewer where there are few samples."""
_EPSILON: Final = 1e-4
_PRUNED: Final = 1 / 15
"""Samples that share fewer of their neighbours are not neighbours."""
_BLOCK: Final = 512

CANDIDATES: Final = tuple((axes, k) for axes in (5, 10, 20, 50) for k in (5, 10, 20, 30, 50))
"""(directions of the supervised PCA, neighbours)."""


class View(NamedTuple):
    """One platform's view of N samples."""

    points: Array
    """(N, L) principal components, each row of length one."""
    nearest: Numbers
    """(N, K) neighbours."""
    closest: Array
    """(N,) distance to the first of them."""
    width: Array
    """(N,) width of the kernel around a sample, beyond ``closest``."""

    def affinity(self, distances: Array, rows: slice = slice(None)) -> Array:
        """Return ``exp(-max(d - d₁, 0) / (σ - d₁))`` of distances (n, ...) from samples ``rows``."""
        shape = (-1,) + (1,) * (distances.ndim - 1)
        closest, width = (part[rows].reshape(shape) for part in (self.closest, self.width))
        affinity: Array = np.exp(-np.maximum(distances - closest, 0) / width)
        return affinity


def wnn_path(x: Array, y: Array, new: Array, candidates: Sequence[tuple[int, int]]) -> Iterator[Array]:
    """Predict new rows (n, D) from x (N, D) and y (N, T), once for each candidate of :data:`CANDIDATES`."""
    pca = _pca(x).fit(x)
    source = pca.transform(x)
    graph = wnn_graph([view_of(source), view_of(_pca(y).fit_transform(y))])
    axes = supervised_axes(source, graph)
    here, there = source @ axes, pca.transform(new) @ axes
    for n_axes, chosen in groupby(candidates, key=itemgetter(0)):
        yield from knn_path(normalize(here[:, :n_axes]), y, normalize(there[:, :n_axes]), [k for _, k in chosen])


def view_of(components: Array) -> View:
    """Return the view of a platform from its principal components (N, L).

    The kernel of a sample is as wide as the mean distance to those samples that share fewest of its neighbours but not
    none (the smallest Jaccard similarities above zero), the farther first where they share equally many.
    """
    points = normalize(components)
    n_neighbours = min(N_NEIGHBOURS, max(1, (len(points) - 1) // 3))
    distances, nearest = NearestNeighbors(n_neighbors=n_neighbours).fit(points).kneighbors()
    similarity = shared_neighbours(nearest)
    sigma = np.empty(len(points))
    for i in range(len(points)):
        span = slice(similarity.indptr[i], similarity.indptr[i + 1])
        others, shared = similarity.indices[span], similarity.data[span]
        far = np.linalg.norm(points[others] - points[i], axis=1)
        order = np.lexsort((-far, shared))
        chosen = order[others[order] != i][:n_neighbours]
        sigma[i] = far[chosen].mean() if len(chosen) else distances[i, -1]
    closest = distances[:, 0]
    return View(points, nearest, closest, np.maximum(sigma - closest, 1e-6))


def shared_neighbours(nearest: Numbers) -> csr_array:
    """Return the Jaccard similarity (N, N) of the samples' neighbourhoods (N, K), themselves included; sparse."""
    n = len(nearest)
    members = np.column_stack([np.arange(n), nearest])
    size = members.shape[1]
    belongs = csr_array((np.ones(members.size), members.ravel(), np.arange(n + 1) * size), shape=(n, n))
    shared = csr_array(belongs @ belongs.T)
    shared.data /= 2 * size - shared.data
    return shared


def trust(views: Sequence[View]) -> Array:
    """Return the weight (N, 2) of either view for every sample; they add up to one.

    A view's score is its affinity to the sample as predicted by the neighbours in this view, over that as predicted by
    those in the other one; weights are the softmax of the scores.
    """
    scores = []
    for view, other in zip(views, reversed(views), strict=True):
        within, across = (
            view.affinity(np.linalg.norm(view.points - view.points[nearest].mean(axis=1), axis=1))
            for nearest in (view.nearest, other.nearest)
        )
        scores.append(within / (across + _EPSILON))
    weights: Array = softmax(np.column_stack(scores), axis=1)
    return weights


def wnn_graph(views: Sequence[View]) -> csr_array:
    """Return the graph (N, N) of shared weighted nearest neighbours: symmetric, 1 on the diagonal, sparse."""
    weights, n = trust(views), len(views[0].points)
    nearest = np.empty_like(views[0].nearest)
    for start in range(0, n, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n))
        affinity = np.zeros((rows.stop - rows.start, n))
        for view, weight in zip(views, weights.T, strict=True):
            affinity += weight[rows, None] * view.affinity(pairwise_distances(view.points[rows], view.points), rows)
        affinity[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = -1  # not its own neighbour
        nearest[rows] = np.argsort(-affinity, axis=1, kind="stable")[:, : nearest.shape[1]]
    graph = shared_neighbours(nearest)
    graph.data[graph.data < _PRUNED] = 0
    graph.eliminate_zeros()
    return graph


def supervised_axes(x: Array, graph: csr_array) -> Array:
    """Return orthonormal directions (D, R), the best first, along which neighbours of the graph lie together.

    They are the eigenvectors of ``xᵀ H G H x``, G the graph and H centring (Barshan et al. 2011).
    """
    centred = x - x.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ (graph @ centred))
    axes: Array = vectors[:, ::-1]
    return axes


def _pca(x: Array) -> PCA:
    return PCA(min(N_AXES, len(x) - 1, x.shape[1]), random_state=0)
