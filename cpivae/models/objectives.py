"""Loss terms as plain functions of (model, batch, latents); a variant's objective is a tuple of them.

Each returns unweighted scalars by name.  Sums over platforms are means, so that weights do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import kl_divergence as kl_between

from cpivae.batch import Batch
from cpivae.config.base import AlignmentType
from cpivae.models.decoders import Decoder
from cpivae.models.posteriors import Latents
from cpivae.models.priors import Prior
from cpivae.names import DIRECTIONS


class Parts(Protocol):
    """What a term may ask of its model."""

    prior: Prior

    def decoder(self, target: str) -> Decoder:
        """Return the decoder of a platform."""
        ...


Objective = Callable[[Parts, Batch, Mapping[str, Latents]], dict[str, Tensor]]


def reconstruction_grid(model: Parts, batch: Batch, latents: Mapping[str, Latents]) -> dict[str, Tensor]:
    """Decode every platform's draws with every decoder: the diagonal is ``reconstruction``, the rest cross."""
    grid: dict[str, list[Tensor]] = {"reconstruction": [], "cross_reconstruction": []}
    for source, target in DIRECTIONS:
        losses = model.decoder(target).losses(batch.targets[target], batch.observed[target], latents[source].z)
        grid["reconstruction" if source == target else "cross_reconstruction"].append(losses["reconstruction"].mean())
    return {name: torch.stack(cells).mean() for name, cells in grid.items()}


def kl_divergence(model: Parts, batch: Batch, latents: Mapping[str, Latents]) -> dict[str, Tensor]:  # noqa: ARG001
    """KL(q(z | x) || p(z)), summed over latent dimensions, mean over rows (Kingma & Welling 2014, eq. 3)."""
    return {"kl_divergence": torch.stack([model.prior.divergence(q).mean() for q in latents.values()]).mean()}


def mse_alignment(model: Parts, batch: Batch, latents: Mapping[str, Latents]) -> dict[str, Tensor]:  # noqa: ARG001
    """Mean squared distance between the codes of the same sample."""
    return {"latent_alignment": _over_pairs(lambda p, q: (p.code - q.code).square().mean(), latents)}


def kl_alignment(model: Parts, batch: Batch, latents: Mapping[str, Latents]) -> dict[str, Tensor]:  # noqa: ARG001
    """Half the symmetrised KL between the posteriors of the same sample (Jeffreys), mean over latent dimensions."""

    def jeffreys(p: Latents, q: Latents) -> Tensor:
        both_ways = kl_between(p.distribution, q.distribution) + kl_between(q.distribution, p.distribution)
        return both_ways.mean() / 2

    return {"latent_alignment": _over_pairs(jeffreys, latents)}


def mmd_alignment(model: Parts, batch: Batch, latents: Mapping[str, Latents]) -> dict[str, Tensor]:  # noqa: ARG001
    """Squared maximum mean discrepancy between the draws of a batch (Gretton et al. 2012, eq. 5)."""
    return {"latent_alignment": _over_pairs(lambda p, q: squared_mmd(p.z.flatten(0, 1), q.z.flatten(0, 1)), latents)}


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Biased squared MMD between samples x (M, L) and y (N, L), averaged over Gaussian kernels of five widths.

    The widths are powers of two around L, the scale of squared distances between standard normal codes.  Samples many
    times farther apart give no gradient.
    """
    widths = x.shape[-1] * 2.0 ** torch.arange(-2, 3, device=x.device, dtype=x.dtype)

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        # |u - v|² = |u|² + |v|² - 2uv, without an (M, N, L) array between
        squared = u.square().sum(-1).unsqueeze(1) + v.square().sum(-1) - 2 * u @ v.T  # (M, N)
        squared = squared.clamp(min=0)
        return torch.exp(-squared / (2 * widths.view(-1, 1, 1))).mean()

    return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


ALIGNMENTS: dict[AlignmentType, Objective] = {
    "mse": mse_alignment,
    "kl_divergence": kl_alignment,
    "mmd": mmd_alignment,
}


def _over_pairs(distance: Callable[[Latents, Latents], Tensor], latents: Mapping[str, Latents]) -> Tensor:
    return torch.stack([distance(p, q) for p, q in combinations(latents.values(), 2)]).mean()
