"""How well two platforms agree on one protein, as published: about half of all proteins hardly, the others well."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

CKB_QUARTILES: Final = (0.01, 0.22, 0.62)
"""Quartiles of Spearman's correlation between Olink and SomaScan over all pairs of assays in the China Kadoorie Biobank
(Wang et al.), as compiled by Sissala et al., Commun Chem 8:327 (2025), doi 10.1038/s42004-025-01753-2."""


class _Mode(NamedTuple):
    weight: float
    mean: float
    sd: float


#: Two normal distributions whose mixture has just those quartiles: reagents that do not see the same protein, and those
#: that do.  Quartiles leave three numbers open; the standard deviations are chosen so that no more than 1 in 100
#: correlations is above .95, as in the studies that Sissala et al. compare, and weights and means follow.
_MODES: Final = (_Mode(0.499, 0.0098, 0.08), _Mode(0.501, 0.6196, 0.16))
_LIMIT: Final = 0.97
"""No two assays agree better than they repeat themselves."""


def published_correlations(n: int, rng: np.random.Generator) -> Floats:
    """Return Spearman correlations (n,) of matched features, in random order.

    They are quantiles of the distribution at n levels of equal distance, so that also a few hundred have the published
    quartiles: the median lies between the modes, where few values are, and of a plain draw it would be far off.
    """
    r = np.linspace(-_LIMIT, _LIMIT, 10_001)
    below = sum(mode.weight * stats.norm.cdf(r, mode.mean, mode.sd) for mode in _MODES)
    return rng.permutation(np.interp((np.arange(n) + 0.5) / n, below, r))


def pearson(spearman: Floats) -> Floats:
    """Return Pearson's correlation of two jointly normal variables with this Spearman correlation (Pearson 1907)."""
    return 2 * np.sin(np.pi / 6 * spearman)
