"""Residual variances of many features from few rows: each is drawn towards what the features have in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

Floats = npt.NDArray[np.float64]

MOST_CERTAIN = 1e6
"""Degrees of freedom that count as infinitely many: all features share one variance."""


class Common(NamedTuple):
    """What the variances of all features have in common: a scaled inverse chi-square distribution."""

    variance: float
    """Where it lies."""
    rows: float
    """How many rows of a feature it is worth (degrees of freedom)."""

    def mixed(self, squares: Floats, n: Floats) -> Floats:
        """Return the variance of features whose squared residuals over ``n`` rows add up to ``squares``.

        (d0 s0² + Σ e²) / (d0 + n): Smyth 2004, section 3; a feature without a row has the common variance.
        """
        mixed: Floats = (self.rows * self.variance + squares) / (self.rows + n)
        return mixed


def common_variance(squares: Floats, n: Floats) -> Common:
    """Fit the common distribution to features with squared residuals ``squares`` (D,) over ``n`` (D,) rows.

    By the mean and variance of log(s²) (Smyth 2004, "Linear models and empirical Bayes methods", section 6.2; here
    features may differ in n).  Features of which nothing was observed, or without a residual, tell nothing.
    """
    told = (n > 0) & (squares > 0)
    if not told.any():
        return Common(0.0, MOST_CERTAIN)
    half = n[told] / 2
    e = np.log(squares[told] / n[told]) - digamma(half) + np.log(half)
    # Chance alone scatters e by trigamma(n / 2); what is left over is the scatter of the true variances.
    scatter = e.var(ddof=1) - polygamma(1, half).mean() if told.sum() > 1 else 0.0
    rows = MOST_CERTAIN if scatter <= 0 else _where_trigamma_is(scatter)
    return Common(float(np.exp(e.mean() + digamma(rows / 2) - np.log(rows / 2))), rows)


def _where_trigamma_is(value: float) -> float:
    """Return d with trigamma(d / 2) = ``value``, within what is of use."""
    low, high = 1e-3, MOST_CERTAIN
    if polygamma(1, high / 2) >= value:
        return high
    if polygamma(1, low / 2) <= value:
        return low
    return float(brentq(lambda d: polygamma(1, d / 2) - value, low, high))
