"""How often the truth lies inside an interval that is made of a value and its standard deviation."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from cpivae.names import Split

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def half_width(level: float) -> float:
    """Return how many standard deviations an interval reaches to either side, as for a normal distribution."""
    return float(norm.ppf((1 + level) / 2))


INTERVAL: Final = 0.9
"""Share of cells that value ± HALF_WIDTH standard deviations is to cover."""
HALF_WIDTH: Final = half_width(INTERVAL)
LEVELS: Final = (0.5, 0.6, 0.7, 0.8, INTERVAL, 0.95)
"""Levels at which coverage is looked at; standard deviations are fitted to the one of INTERVAL."""


class Coverage(NamedTuple):
    """What intervals of one level do on the rows of one split."""

    split: Split
    level: float
    observed: float
    """Share of measured cells inside."""
    error: float
    """Its standard error over persons, whose cells err together; NaN for a single one."""
    cells: int
    rows: int
    width: float
    """Median width, in standard deviations of the feature in these rows; NaN where no feature varies."""


def deviations(error: Floats, sd: Floats) -> Floats:
    """Return |error| / sd (n, D); 0 where there is no error, whatever its sd, and NaN where nothing was measured."""
    size = np.abs(error)
    found: Floats = np.divide(size, sd, out=np.where(size > 0, np.inf, size), where=sd > 0)
    return found


def share_inside(deviation: Floats, level: float = INTERVAL) -> float:
    """Return the share of measured cells within their interval; NaN where nothing was measured."""
    measured = deviation[~np.isnan(deviation)]
    return float((measured <= half_width(level)).mean()) if measured.size else float("nan")


def coverages(split: Split, deviation: Floats, sd: Floats, measured: Floats, persons: Integers) -> tuple[Coverage, ...]:
    """Return the coverage at every level; none where nothing was measured.

    Parameters
    ----------
    deviation : (n, D), from :func:`deviations`.
    sd, measured : (n, D) in the same units, of which the width is told.
    persons : (n,) whose row it is, numbered from 0.
    """
    observed = ~np.isnan(deviation)
    total = int(observed.sum())
    if not total:
        return ()
    own = np.nanstd(np.where(observed.any(axis=0), measured, 0.0), axis=0)
    relative = (sd / np.where(own > 0, own, np.nan))[observed]
    typical = float(np.nanmedian(relative)) if np.isfinite(relative).any() else float("nan")
    cells, n = np.bincount(persons, observed.sum(axis=1)), int(persons.max()) + 1
    found = []
    for level in LEVELS:
        inside = np.bincount(persons, (deviation <= half_width(level)).sum(axis=1))
        share = inside.sum() / total
        spread = ((inside - share * cells) ** 2).sum()
        error = np.sqrt(spread * n / (n - 1)) / total if n > 1 else np.nan
        width = 2 * half_width(level) * typical
        found.append(Coverage(split, level, float(share), float(error), total, len(deviation), width))
    return tuple(found)
