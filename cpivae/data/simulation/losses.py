"""What a laboratory does not get to see: values below the limit of detection, missing cells, whole missing panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

GAPS: Final = (0.01, 0.05)
"""Share of a feature's cells that are missing at random: drawn for every feature between these."""

SAMPLES_WITHOUT_A_PANEL: Final = 0.02
"""Share of the samples of a platform for which a whole panel is missing (at least one sample)."""

_BELOW_LIMIT: Final = (0.4, 4.0, 0.5)
"""Share of a feature's values below its limit of detection: Beta(0.4, 4) times 0.5: 5 % on average, none for many."""


def detection_limits(values: Floats, rng: np.random.Generator) -> Floats:
    """Draw the limit of detection (D,) of each feature of a table (N, D), in its units.

    The scarcest features get the limits that cut most off.
    """
    first, second, largest = _BELOW_LIMIT
    shares = np.sort(largest * rng.beta(first, second, size=values.shape[1]))[::-1]
    of_feature = np.empty_like(shares)
    of_feature[np.argsort(values.mean(axis=0), kind="stable")] = shares
    ordered = np.sort(values, axis=0)
    limits: Floats = ordered[(of_feature * len(values)).astype(np.int64), np.arange(values.shape[1])]
    return limits


def dealt_panels(names: Sequence[str], n_features: int, rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Deal features (D,) to panels of like size."""
    return rng.permutation(np.resize(np.array(names), n_features))


def scattered_gaps(shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which cells (N, D) are missing at random."""
    gaps: npt.NDArray[np.bool_] = rng.random(shape, dtype=np.float32) < rng.uniform(*GAPS, size=shape[1])
    return gaps


def missing_panels(samples: pd.Index, panels: npt.NDArray[np.str_], rng: np.random.Generator) -> pd.Series:
    """Draw which samples lack a panel: panel by sample."""
    n = max(1, round(SAMPLES_WITHOUT_A_PANEL * len(samples)))
    chosen = np.sort(rng.choice(len(samples), size=n, replace=False))
    return pd.Series(rng.choice(np.unique(panels), size=n), index=samples[chosen], name="panel")
