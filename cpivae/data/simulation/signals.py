"""The values of two platforms before anything goes wrong with them: factors, a part of its own, and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpivae.data.simulation.factors import Proteins
from cpivae.names import PLATFORMS

Floats = npt.NDArray[np.float64]


class Assay(NamedTuple):
    """How one platform measures D proteins; all in units of the standard deviation."""

    loadings: Floats
    """(D, K): what the factors contribute."""
    own: Floats
    """(D,): what the protein's own level contributes, which no factor knows and a matched feature shares."""


def matched_assays(proteins: Proteins, correlations: Floats, rng: np.random.Generator) -> dict[str, Assay]:
    """Return, by platform, assays of the same D proteins whose values correlate (Pearson) as asked.

    With the share h² of a protein's variance that factors explain, and ``cos`` between its loadings on both platforms,
    the correlation is ``h² cos + own_a own_b``.  A reagent that sees another protein is moved by other factors, so a
    correlation below h² comes from the angle.  What angles cannot give is shared in the protein's own level, or has
    opposite signs there.
    """
    h2 = proteins.communality
    cos = np.clip(correlations / h2, -1, 1)
    beside = correlations - h2 * cos
    length, own = np.sqrt(h2)[:, None], np.sqrt(np.abs(beside))
    others = _perpendicular(proteins.directions[rng.permutation(len(h2))], proteins.directions)
    turned = cos[:, None] * proteins.directions + np.sqrt(1 - cos**2)[:, None] * others
    return {
        "a": Assay(length * proteins.directions, own),
        "b": Assay(length * turned, np.copysign(own, beside)),
    }


def lone_assays(proteins: Proteins) -> Assay:
    """Return assays of proteins that only one platform measures."""
    return Assay(np.sqrt(proteins.communality)[:, None] * proteins.directions, np.zeros(len(proteins.center)))


def signals(assays: dict[str, Assay], n: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw the standardised values (n, D) of n samples by platform; row i is the same sample, column j < D_shared the
    same protein."""
    factors = rng.standard_normal((n, assays["a"].loadings.shape[1]))
    levels = rng.standard_normal((n, max(len(assay.own) for assay in assays.values())))
    drawn = {}
    for platform in PLATFORMS:
        assay = assays[platform]
        rest = np.sqrt(1 - (assay.loadings**2).sum(axis=1) - assay.own**2)
        drawn[platform] = factors @ assay.loadings.T + levels[:, : len(assay.own)] * assay.own
        drawn[platform] += rest * rng.standard_normal(drawn[platform].shape)
    return drawn


def _perpendicular(vectors: Floats, to: Floats) -> Floats:
    """Return unit vectors (D, K) in the directions of ``vectors``, but at a right angle to the unit vectors ``to``."""
    rest = vectors - (vectors * to).sum(axis=1, keepdims=True) * to
    # A vector along ``to`` has no such part: take that of the axis along which ``to`` is shortest.
    parallel = np.linalg.norm(rest, axis=1) < 1e-6
    axis = np.eye(to.shape[1])[np.abs(to).argmin(axis=1)]
    rest[parallel] = (axis - (axis * to).sum(axis=1, keepdims=True) * to)[parallel]
    return rest / np.linalg.norm(rest, axis=1, keepdims=True)
