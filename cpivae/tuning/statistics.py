"""Comparing trials that were scored on the same folds and seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the interval that holds the true one with the stated confidence."""

    mean: float
    low: float
    high: float


def resampled_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Return the mean of one value per fold, with the corrected resampled t interval (Nadeau & Bengio 2003).

    Models of different folds share most of their training rows, so their scores vary together and the plain interval
    is too narrow; the correction widens the variance of the mean from 1/k to 1/k + n_test / n_train, which is
    1 / (k - 1) for k folds.
    """
    k, mean = len(values), float(np.mean(values))
    width = math.sqrt((1 / k + 1 / (k - 1)) * np.var(values, ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)) * width
    return Interval(mean, mean - reach, mean + reach)
