"""Each method against scikit-learn on the plain tables, or against what must be true of it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from cpivae.baselines.linear import mean_path, pls_path
from cpivae.baselines.methods import METHODS
from cpivae.baselines.neighbours import knn_path
from cpivae.data.inner import best_candidate, inner_folds
from cpivae.data.linear import ridge_path

PATHS = {name: method for name, method in METHODS.items() if method.path is not None}


def tables(n: int = 60, d_x: int = 25, d_y: int = 18, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(4, d_x)), rng.normal(size=(4, d_y))
    factors = rng.normal(size=(n + 9, 4))
    x, y = (factors @ m + 0.5 * rng.normal(size=(n + 9, m.shape[1])) + 3 for m in mixed)
    return x[:n], y[:n], x[n:]


@pytest.mark.parametrize("penalty", [0.1, 30.0])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    x, y, new = tables()
    expected = Ridge(penalty).fit(x, y).predict(new)
    *_, predicted = ridge_path(x, y, new, [1e3, penalty])
    np.testing.assert_allclose(predicted, expected, atol=1e-8)


@pytest.mark.parametrize("n", [1, 4, 9])
def test_pls_with_fewer_components_is_that_of_scikit_learn(n: int) -> None:
    x, y, new = tables()
    expected = PLSRegression(n, scale=False, max_iter=5000, tol=1e-12).fit(x, y).predict(new)
    predicted, _ = pls_path(x, y, new, [n, 12])
    np.testing.assert_allclose(predicted, expected, atol=0.02 * expected.std())


@pytest.mark.parametrize("k", [1, 5, 60])
def test_neighbours_are_those_of_scikit_learn(k: int) -> None:
    x, y, new = tables()
    new[0] = x[7]  # a sample that is known decides alone
    expected = KNeighborsRegressor(k, weights="distance").fit(x, y).predict(new)
    predicted, _ = knn_path(x, y, new, [k, 3])
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_more_neighbours_than_samples_are_all_of_them() -> None:
    x, y, new = tables(n=6)
    few, many = knn_path(x, y, new, [6, 50])
    np.testing.assert_array_equal(few, many)


def test_the_mean_is_the_mean() -> None:
    x, y, new = tables()
    (predicted,) = mean_path(x, y, new, [None])
    np.testing.assert_array_equal(predicted, np.tile(y.mean(axis=0), (9, 1)))


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(("n", "d_x", "d_y"), [(4, 3, 2), (4, 1, 1), (12, 40, 30), (40, 1, 6), (40, 6, 1)])
def test_every_method_predicts_finite_numbers_from_few_rows_and_features(name: str, n: int, d_x: int, d_y: int) -> None:
    x, y, new = tables(n, d_x, d_y)
    method = METHODS[name]
    predicted = list(method.path(x, y, new, method.candidates))
    assert [p.shape for p in predicted] == [(9, d_y)] * len(method.candidates)
    assert np.isfinite(predicted).all()
    best_candidate(method.path, method.candidates, x, y, inner_folds(n))


@pytest.mark.parametrize("name", PATHS)
def test_every_method_repeats_itself_and_takes_one_candidate_as_one_of_many(name: str) -> None:
    x, y, new = tables()
    method = METHODS[name]
    of_many = list(method.path(x, y, new, method.candidates))
    for candidate, expected in zip(method.candidates, of_many, strict=True):
        (alone,) = method.path(x, y, new, [candidate])
        np.testing.assert_allclose(alone, expected, atol=1e-3 * expected.std())
    for again, expected in zip(method.path(x, y, new, method.candidates), of_many, strict=True):
        np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("name", PATHS)
def test_a_shift_and_a_rotation_of_the_source_change_nothing(name: str) -> None:
    x, y, new = tables()
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(x.shape[1], x.shape[1])))
    method = METHODS[name]
    candidate = method.candidates[len(method.candidates) // 2]
    (plain,), (turned,) = (
        method.path(*rows, [candidate]) for rows in ((x, y, new), (x @ rotation + 2, y, new @ rotation + 2))
    )
    np.testing.assert_allclose(turned, plain, atol=1e-3 * y.std())


@pytest.mark.parametrize("name", [name for name in PATHS if name != "mean"])
def test_every_method_learns_what_there_is_to_learn(name: str) -> None:
    x, y, new = tables(n=300)
    method = METHODS[name]
    chosen = best_candidate(method.path, method.candidates, x[:200], y[:200], inner_folds(200))
    (predicted,) = method.path(x[:200], y[:200], x[200:], [chosen])
    r = [np.corrcoef(p, m)[0, 1] for p, m in zip(predicted.T, y[200:].T, strict=True)]
    assert np.mean(r) > 0.85
    assert new.shape == (9, 25)


def test_the_candidate_with_the_least_error_on_held_out_rows_is_chosen() -> None:
    x, y, _ = tables()
    folds = inner_folds(60)

    def path(_x: np.ndarray, y: np.ndarray, new: np.ndarray, candidates: list[float]):
        for candidate in candidates:
            yield np.full((len(new), y.shape[1]), candidate)

    nearest = float(y.mean())
    assert best_candidate(path, [nearest + 3, nearest + 1, nearest, nearest - 1], x, y, folds) == nearest
    assert best_candidate(path, [nearest + 1, nearest + 1], x, y, folds) == nearest + 1
