"""Intervals of scores on shared folds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cpivae.tuning.statistics import resampled_interval


def test_the_interval_is_that_of_nadeau_and_bengio() -> None:
    values = np.array([0.50, 0.54, 0.47, 0.55, 0.52])
    # 5 folds: every model is tested on a quarter as many rows as it is trained on.
    half = stats.t(4).ppf(0.975) * math.sqrt((1 / 5 + 1 / 4) * values.var(ddof=1))
    found = resampled_interval(values)
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))
    plain = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert found.low < plain[0] < plain[1] < found.high


def test_equal_values_leave_no_doubt() -> None:
    assert resampled_interval(np.full(6, 0.25)) == (0.25, 0.25, 0.25)


def test_the_interval_of_a_real_cross_validation_holds_its_promise() -> None:
    """Least squares on random data, 5 folds: the interval of a difference of two equally good methods holds zero.

    The plain t interval misses it far more often than one time in twenty, because folds share their rows.
    """
    rng = np.random.default_rng(0)
    misses, plain_misses, n = 0, 0, 200
    for _ in range(n):
        x = rng.normal(size=(60, 4))
        y = x @ np.array([1.0, 1.0, 0.0, 0.0]) + rng.normal(size=60)
        differences = []
        for held_out in np.array_split(rng.permutation(60), 5):
            kept = np.setdiff1d(np.arange(60), held_out)
            errors = []
            # Each method sees one of two features that are equally good.
            for columns in ([0, 2], [1, 3]):
                weights = np.linalg.lstsq(x[kept][:, columns], y[kept], rcond=None)[0]
                errors.append(np.mean((x[held_out][:, columns] @ weights - y[held_out]) ** 2))
            differences.append(errors[0] - errors[1])
        values = np.array(differences)
        _, low, high = resampled_interval(values)
        misses += not low <= 0 <= high
        plain = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        plain_misses += not plain[0] <= 0 <= plain[1]
    assert misses / n <= 0.05
    assert plain_misses > misses
