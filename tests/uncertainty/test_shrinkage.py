"""Variances from few rows, drawn towards what the features have in common."""

import numpy as np
import pytest

from cpivae.uncertainty.shrinkage import MOST_CERTAIN, Common, common_variance


@pytest.mark.parametrize(("variance", "rows"), [(0.5, 6.0), (3.0, 20.0)])
@pytest.mark.parametrize("n", [5, 17])
def test_the_common_distribution_is_found_again(variance: float, rows: float, n: int) -> None:
    rng = np.random.default_rng(0)
    true = rows * variance / rng.chisquare(rows, 20_000)
    seen = rng.integers(n - 2, n + 3, true.size).astype(float)  # as many rows for each feature as happen to be observed
    found = common_variance(true * rng.chisquare(seen), seen)
    assert found.variance == pytest.approx(variance, rel=0.03)
    assert found.rows == pytest.approx(rows, rel=0.15)


def test_features_that_differ_by_chance_alone_share_one_variance() -> None:
    rng = np.random.default_rng(0)
    n = np.full(3000, 9)
    found = common_variance(2.0 * rng.chisquare(9, 3000), n)
    assert found.rows > 200
    np.testing.assert_allclose(found.mixed(np.array([0.0, 90.0]), np.array([9, 9])), 2.0, rtol=0.2)


def test_a_mixture_lies_between_a_features_own_variance_and_the_common_one() -> None:
    common = Common(variance=1.0, rows=4.0)
    n = np.array([0, 4, 4, 400])
    mixed = common.mixed(np.array([0.0, 4 * 9.0, 0.0, 400 * 9.0]), n)
    np.testing.assert_allclose(mixed, [1.0, 5.0, 0.5, 3604 / 404])


def test_without_residuals_there_is_nothing_to_share() -> None:
    assert common_variance(np.zeros(3), np.array([5, 5, 5])) == Common(0.0, MOST_CERTAIN)
    assert common_variance(np.zeros(2), np.zeros(2)) == Common(0.0, MOST_CERTAIN)
    assert np.isfinite(common_variance(np.array([3.0]), np.array([5]))).all()
