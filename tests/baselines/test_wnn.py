"""The parts of weighted nearest neighbours, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from cpivae.baselines import wnn
from cpivae.baselines.neighbours import knn_path
from cpivae.baselines.wnn import shared_neighbours, supervised_axes, trust, view_of, wnn_graph, wnn_path

N = 90


def clusters(sd: float, seed: int = 0) -> np.ndarray:
    """Three groups of 30 samples in five dimensions, as far apart as ``sd`` lets them be."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.eye(3, 5)
    return np.repeat(centres, 30, axis=0) + sd * rng.normal(size=(N, 5))


def test_similarity_is_that_of_jaccard() -> None:
    nearest = np.array([[1, 2], [0, 2], [1, 3], [4, 2], [3, 2]])
    members = [{i, *row} for i, row in enumerate(nearest)]
    expected = [[len(a & b) / len(a | b) for b in members] for a in members]
    np.testing.assert_allclose(shared_neighbours(nearest).toarray(), expected)


def test_the_kernel_is_as_wide_as_the_farthest_of_those_that_share_a_neighbour() -> None:
    view = view_of(clusters(1.0))
    similarity = shared_neighbours(view.nearest).toarray()
    k = view.nearest.shape[1]
    for i in (0, 40, 89):
        distance = np.linalg.norm(view.points - view.points[i], axis=1)
        others = [j for j in range(N) if j != i and similarity[i, j] > 0]
        chosen = sorted(others, key=lambda j: (similarity[i, j], -distance[j]))[:k]
        assert view.width[i] == pytest.approx(np.mean(distance[chosen]) - view.closest[i])
        assert view.closest[i] == pytest.approx(np.sort(distance)[1])


def test_affinity_is_one_at_the_nearest_neighbour_and_falls_with_distance() -> None:
    view = view_of(clusters(1.0))
    closest, width = view.closest[:, None], view.width[:, None]
    np.testing.assert_allclose(view.affinity(closest / 2), 1)
    np.testing.assert_allclose(view.affinity(closest + width), np.exp(-1))
    np.testing.assert_allclose(view.affinity(view.closest + view.width), np.exp(-1))


def test_the_platform_whose_neighbours_predict_is_trusted() -> None:
    clear, noise = view_of(clusters(0.3)), view_of(np.random.default_rng(1).normal(size=(N, 5)))
    weights = trust([clear, noise])
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert np.median(weights[:, 0]) > 0.6
    np.testing.assert_allclose(trust([noise, clear]), weights[:, ::-1])
    np.testing.assert_allclose(trust([clear, clear]), 0.5)


def test_the_graph_keeps_to_what_either_platform_knows() -> None:
    graph = wnn_graph([view_of(clusters(0.3)), view_of(np.random.default_rng(1).normal(size=(N, 5)))]).toarray()
    np.testing.assert_allclose(graph, graph.T)
    np.testing.assert_allclose(np.diag(graph), 1)
    group = np.repeat(np.arange(3), 30)
    inside = graph[group[:, None] == group].sum() - N
    assert inside > 0.9 * (graph.sum() - N)


def test_samples_are_compared_in_blocks_of_whatever_size(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [view_of(clusters(0.8)), view_of(clusters(0.5, seed=3))]
    whole = wnn_graph(views).toarray()
    monkeypatch.setattr(wnn, "_BLOCK", 7)
    np.testing.assert_array_equal(wnn_graph(views).toarray(), whole)


def test_the_first_direction_is_the_one_along_which_neighbours_lie_together() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([3 * rng.normal(size=N), np.repeat([-1.0, 0.0, 1.0], 30) + 0.1 * rng.normal(size=N)])
    graph = wnn_graph([view_of(clusters(0.3)), view_of(clusters(0.3, seed=4))])
    axes = supervised_axes(x, graph)
    assert abs(axes[1, 0]) > 0.95  # the groups, although the other column varies three times as much
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("seed", [3, 4])
def test_what_says_nothing_of_the_target_matters_less_than_to_knn(seed: int) -> None:
    """Forty loud columns of the source are noise, ten quiet ones have all that the target has."""
    rng = np.random.default_rng(seed)
    n, n_new = 300, 100
    signal = rng.normal(size=(n + n_new, 3))
    quiet = signal @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(n + n_new, 10))
    source = np.column_stack([quiet, 2 * rng.normal(size=(n + n_new, 40))])
    target = signal @ rng.normal(size=(3, 20)) + 0.1 * rng.normal(size=(n + n_new, 20))

    def r(predicted: np.ndarray) -> float:
        return float(np.mean([np.corrcoef(p, m)[0, 1] for p, m in zip(predicted.T, target[n:].T, strict=True)]))

    (mapped,) = wnn_path(source[:n], target[:n], source[n:], [(5, 10)])
    (knn,) = knn_path(source[:n], target[:n], source[n:], [10])
    assert r(mapped) > r(knn) + 0.03
    assert r(mapped) > 0.85
