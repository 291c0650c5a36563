"""Ridge regression between platforms against scikit-learn on the plain tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold

from cpivae.data.linear import PENALTIES, fit_linear_maps
from cpivae.data.prepare import PreparedData


def table(n: int, d: int, seed: int) -> np.ndarray:
    factors = np.random.default_rng(0).normal(size=(n, 3))
    random = np.random.default_rng(seed)
    return (factors @ random.normal(size=(3, d)) + random.normal(size=(n, d)) + 2).astype(np.float32)


@pytest.mark.parametrize(
    ("n", "d_x", "d_y"),
    [(40, 9, 7), (40, 9, 60), (30, 70, 80), (30, 70, 5), (200, 4, 90), (60, 5, 1), (60, 1, 5), (60, 1, 1)],
)
def test_it_is_ridge_regression_on_the_tables_themselves(n: int, d_x: int, d_y: int) -> None:
    x, y = table(n, d_x, 1), table(n, d_y, 2)
    plain = RidgeCV(PENALTIES, cv=KFold(5, shuffle=True, random_state=0), scoring="neg_mean_squared_error")
    plain.fit(x.astype(float), y.astype(float))
    fitted = fit_linear_maps({"a": x, "b": y})["a", "b"]
    new = table(20, d_x, 3)
    expected = plain.predict(new).reshape(20, d_y)  # scikit-learn flattens one column
    np.testing.assert_allclose(fitted.predict(new), expected, rtol=0, atol=5e-4)
    assert fitted.nbytes / 4 <= min(d_x * d_y, n * (d_x + d_y)) + d_y


def test_the_penalty_keeps_groups_together() -> None:
    """Ten near-copies of each of six people: among copies any penalty predicts well, a small one above all."""
    people = table(6, 30, 1), np.random.default_rng(9).normal(size=(6, 8)).astype(np.float32)
    noise = np.random.default_rng(5)
    x, y = (np.repeat(t, 10, axis=0) + 0.01 * noise.normal(size=(60, t.shape[1])).astype(np.float32) for t in people)
    groups = np.repeat([f"person {i}" for i in range(6)], 10)

    def penalised(given: object) -> float:
        fitted = fit_linear_maps({"a": x, "b": y}, given)["a", "b"]  # type: ignore[arg-type]
        return float(np.linalg.norm(fitted.predict(np.eye(30, dtype=np.float32)) - fitted.bias))

    largest = Ridge(PENALTIES[-1]).fit(x, y)
    assert penalised(groups) < 0.5 * penalised(None)
    assert penalised(groups) >= 0.9 * np.linalg.norm(largest.coef_)


def test_only_training_rows_are_read(prepared: PreparedData) -> None:
    held_out = (prepared.splits != "train").to_numpy()
    spoilt = {p: np.where(held_out[:, None], np.float32(1e3), values) for p, values in prepared.values.items()}
    again = dataclasses.replace(prepared, values=spoilt)
    for direction, given in prepared.linear_maps.items():
        other = again.linear_maps[direction]
        for part, same in zip((*given.factors, given.bias), (*other.factors, other.bias), strict=True):
            np.testing.assert_array_equal(part, same)


def test_the_order_of_rows_does_not_matter(prepared: PreparedData) -> None:
    order = np.random.default_rng(1).permutation(len(prepared.splits))
    shuffled = dataclasses.replace(
        prepared,
        splits=prepared.splits.iloc[order],
        values={p: values[order] for p, values in prepared.values.items()},
    )
    for direction, given in prepared.linear_maps.items():
        x = prepared.values[direction[0]]
        np.testing.assert_allclose(shuffled.linear_maps[direction].predict(x), given.predict(x), atol=1e-5)
