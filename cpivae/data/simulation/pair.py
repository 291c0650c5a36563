"""A simulated pair of tables, with everything that was planted in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpivae.data.labels import SAMPLE_ID
from cpivae.data.simulation.correlations import pearson, published_correlations
from cpivae.data.simulation.factors import Proteins, drawn_proteins
from cpivae.data.simulation.losses import dealt_panels, detection_limits, missing_panels, scattered_gaps
from cpivae.data.simulation.signals import Assay, lone_assays, matched_assays, signals
from cpivae.errors import DataError
from cpivae.names import PLATFORMS

MIN_SAMPLES: Final = 20
"""Fewer cannot be split."""
MIN_FEATURES: Final = 2

_PANELS: Final = {"a": [f"panel {i}" for i in range(1, 9)], "b": [f"dilution {i}" for i in range(1, 4)]}
"""What is run, and fails, together: Olink Explore has eight panels, SomaScan three dilutions."""

_NPX_OFFSET: Final = 8.0
"""Platform a is on a relative log2 scale, as NPX is; platform b in log2 RFU."""


@dataclass(frozen=True)
class SimulatedPair:
    """Two tables of the same samples, and what is true of them."""

    frames: dict[str, pd.DataFrame]
    """By platform: N samples x D features, log2 units, NaN where missing."""
    matched: pd.DataFrame
    """A row for each protein that both measure: feature_a, feature_b, spearman as planted, before anything was lost."""
    features: pd.DataFrame
    """A row for each feature of either platform: platform, feature, panel, limit of detection (lod)."""
    missing_panels: pd.DataFrame
    """A row for each sample that lacks one: platform, sample, panel."""


def simulate_pair(n: int, n_features: Mapping[str, int], seed: int) -> SimulatedPair:
    """Simulate n samples on two platforms; the same arguments give the same pair.

    Every feature is like a real protein (:mod:`~cpivae.data.simulation.factors`).  The smaller platform's proteins are
    all measured by the other as well, each pair of features with a correlation drawn from the published distribution
    (:mod:`~cpivae.data.simulation.correlations`).  Values below a feature's limit of detection are that limit, 1 to 5 %
    of its cells are missing, and some samples lack a panel (:mod:`~cpivae.data.simulation.losses`).

    Raises
    ------
    DataError
        Fewer samples or features than a pair must have.
    """
    if n < MIN_SAMPLES or min(n_features.values()) < MIN_FEATURES:
        sizes = " and ".join(f"{d} on platform {p}" for p, d in n_features.items())
        raise DataError(
            f"{n} samples with features {sizes} cannot be simulated: at least {MIN_SAMPLES} samples and "
            f"{MIN_FEATURES} features of each platform are needed."
        )
    rng = np.random.default_rng(seed)
    n_matched = min(n_features.values())
    proteins = drawn_proteins(max(n_features.values()), rng)
    shared, lone = np.arange(n_matched), np.arange(n_matched, len(proteins.center))
    spearman = published_correlations(n_matched, rng)
    assays = matched_assays(proteins.take(shared), pearson(spearman), rng)
    larger = max(n_features, key=lambda p: n_features[p])
    assays[larger] = _beside(assays[larger], lone_assays(proteins.take(lone)))
    samples = pd.Index([f"S{i:0{len(str(n))}d}" for i in range(1, n + 1)], name=SAMPLE_ID)
    frames, features, without = {}, [], []
    for platform, drawn in signals(assays, n, rng).items():
        names = [f"SIM{j + 1:05d}|{platform}" for j in range(n_features[platform])]
        frame, feature, lacking = _measured(drawn, platform, names, samples, proteins, rng)
        frames[platform] = frame
        features.append(feature)
        without.append(lacking)
    matched = pd.DataFrame({f"feature_{p}": frames[p].columns[:n_matched] for p in PLATFORMS} | {"spearman": spearman})
    return SimulatedPair(frames, matched, pd.concat(features), pd.concat(without))


def _measured(
    drawn: npt.NDArray[np.float64],
    platform: str,
    names: list[str],
    samples: pd.Index,
    proteins: Proteins,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the table of a platform, its features and its missing panels, from standardised values (N, D)."""
    d = len(names)
    center = proteins.center[:d] - (_NPX_OFFSET if platform == "a" else 0)
    values = center + proteins.spread[:d] * drawn
    limits = detection_limits(values, rng)
    np.maximum(values, limits, out=values)
    panels = dealt_panels(_PANELS[platform], d, rng)
    lacking = missing_panels(samples, panels, rng)
    values[scattered_gaps(values.shape, rng)] = np.nan
    for sample, panel in zip(samples.get_indexer(lacking.index), lacking, strict=True):
        values[sample, panels == panel] = np.nan
    frame = pd.DataFrame(values, index=samples, columns=pd.Index(names, dtype="str"))
    feature = pd.DataFrame({"platform": platform, "feature": names, "panel": panels, "lod": limits})
    without = pd.DataFrame({"platform": platform, "sample": lacking.index, "panel": lacking.to_numpy()})
    return frame, feature, without


def _beside(first: Assay, second: Assay) -> Assay:
    return Assay(*(np.concatenate(parts) for parts in zip(first, second, strict=True)))
