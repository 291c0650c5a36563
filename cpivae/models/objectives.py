"""Loss terms as plain functions; a variant's objective is a tuple of them.

Each takes what a model makes of a batch and returns unweighted scalars by name.  Sums over platforms are means, so that
weights do not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence as kl_between

from cpivae.batch import Batch, Direction
from cpivae.config.base import AlignmentType
from cpivae.models.posteriors import GaussianLatents, Latents
from cpivae.models.priors import Prior


@dataclass(frozen=True)
class Explained:
    """What a model makes of a batch."""

    batch: Batch
    prior: Prior | None
    latents: Mapping[str, Any]
    """:class:`Latents` by platform, of the kind that the variant's posterior makes."""
    losses: Mapping[Direction, Mapping[str, Tensor]]
    """By (source, target): {name: (K, B)}, how well the source's draws explain the target's rows."""
    score: Callable[[str, str, Tensor], Mapping[str, Tensor]]
    """``score(source, target, z)``: the same for other draws z (K, B, L)."""


Objective = Callable[[Explained], dict[str, Tensor]]


def reconstruction_grid(seen: Explained) -> dict[str, Tensor]:
    """Decode every platform's draws with every decoder: the diagonal is ``reconstruction``, the rest cross."""
    return {"reconstruction": _mean_of("reconstruction", seen, cross=False)} | cross_reconstruction(seen)


def cross_reconstruction(seen: Explained) -> dict[str, Tensor]:
    """Each platform predicted from the other: mean squared error over observed cells."""
    return {"cross_reconstruction": _mean_of("reconstruction", seen, cross=True)}


def linear_skip_residual(seen: Explained) -> dict[str, Tensor]:
    """Mean square of what the decoders add to the linear skips."""
    return {"linear_skip_residual": _mean_of("size", seen, cross=True)}


def decoder_terms(*names: str) -> Objective:
    """Return an objective of the terms that decoders name themselves, mean over all (source, target) pairs."""

    def terms(seen: Explained) -> dict[str, Tensor]:
        return {n: torch.stack([losses[n].mean() for losses in seen.losses.values()]).mean() for n in names}

    return terms


def kl_divergence(seen: Explained) -> dict[str, Tensor]:
    """KL(q(z | x) || p(z)), summed over latent dimensions, mean over rows (Kingma & Welling 2014, eq. 3)."""
    return {"kl_divergence": torch.stack([kl.mean() for kl in _divergences(seen)]).mean()}


def free_bits(nats_per_dimension: float) -> Objective:
    """Return the KL term with a floor under its mean over rows, below which it no longer pulls.

    Kingma et al. 2016 (inverse autoregressive flow), eq. 15, with all latent dimensions as one group: a flow mixes
    them, and only their sum has a value.
    """

    def floored(seen: Explained) -> dict[str, Tensor]:
        n_dimensions = next(iter(seen.latents.values())).z.shape[-1]
        kl = torch.stack([kl.mean() for kl in _divergences(seen)])
        return {"kl_divergence": kl.clamp(min=nats_per_dimension * n_dimensions).mean()}

    return floored


def total_correlation(seen: Explained) -> dict[str, Tensor]:
    """KL between the aggregate posterior and the product of its marginals, per latent dimension.

    Chen et al. 2018, eq. 2 (middle term), by minibatch-weighted sampling without the data set's size (eq. S5), which
    only shifts it; of the Gaussian draws, because a flow's have no marginals in closed form.
    """

    def of_platform(q: GaussianLatents) -> Tensor:
        z = q.gaussian_draws[0]  # (B, L)
        log_q = q.distribution.log_prob(z.unsqueeze(1))  # (B, B, L): draw i under the posterior of row j
        n_rows, n_dimensions = z.shape
        joint = log_q.sum(-1).logsumexp(1)
        marginals = log_q.logsumexp(1).sum(-1)
        constant = (n_dimensions - 1) * torch.log(z.new_tensor(n_rows))
        return (joint - marginals + constant).mean() / n_dimensions

    return {"total_correlation": torch.stack([of_platform(q) for q in seen.latents.values()]).mean()}


def mse_alignment(seen: Explained) -> dict[str, Tensor]:
    """Mean squared distance between the codes of the same sample."""
    return {"latent_alignment": _over_pairs(lambda p, q: (p.code - q.code).square().mean(), seen.latents)}


def kl_alignment(seen: Explained) -> dict[str, Tensor]:
    """Half the symmetrised KL between the Gaussians of the same sample (Jeffreys), mean over latent dimensions."""

    def jeffreys(p: GaussianLatents, q: GaussianLatents) -> Tensor:
        both_ways = kl_between(p.distribution, q.distribution) + kl_between(q.distribution, p.distribution)
        return both_ways.mean() / 2

    return {"latent_alignment": _over_pairs(jeffreys, seen.latents)}


def mmd_alignment(seen: Explained) -> dict[str, Tensor]:
    """Squared maximum mean discrepancy between the draws of a batch (Gretton et al. 2012, eq. 5).

    One draw per row: with K the kernel would have (K B)² entries.
    """
    return {"latent_alignment": _over_pairs(lambda p, q: squared_mmd(p.z[0], q.z[0]), seen.latents)}


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

    with torch.autocast(x.device.type, enabled=False):  # small differences of large numbers
        return kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)


ALIGNMENTS: dict[AlignmentType, Objective] = {
    "mse": mse_alignment,
    "kl_divergence": kl_alignment,
    "mmd": mmd_alignment,
}


def _mean_of(name: str, seen: Explained, *, cross: bool) -> Tensor:
    cells = [losses[name].mean() for (source, target), losses in seen.losses.items() if (source != target) == cross]
    return torch.stack(cells).mean()


def _divergences(seen: Explained) -> list[Tensor]:
    assert seen.prior is not None
    return [seen.prior.divergence(q) for q in seen.latents.values()]


def _over_pairs(distance: Callable[..., Tensor], latents: Mapping[str, Latents]) -> Tensor:
    return torch.stack([distance(p, q) for p, q in combinations(latents.values(), 2)]).mean()
