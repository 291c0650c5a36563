"""Bounds on the log-likelihood from several draws: importance weighting, and mixtures of experts.

Both become losses as ``-bound / D``, D the features they sum over: otherwise the weights of other terms would have to
grow with the number of proteins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.distributions import Normal

from cpivae.models.objectives import Explained, Objective
from cpivae.models.posteriors import GaussianLatents


def importance_weighted_bound(noise_scale: float, *, doubly_reparameterised: bool = False) -> Objective:
    """Return the term ``importance_weighted_bound``: each platform by itself, mean over platforms.

    Burda et al. 2016, eq. 8: log 1/K Σ_k p(x | z_k) p(z_k) / q(z_k | x), z_k ~ q(z | x); for K = 1 that is the ELBO.
    A row is Gaussian around its decoded point, with standard deviation ``noise_scale`` in scaled units.
    ``doubly_reparameterised`` takes the gradient of Tucker et al. 2019, eq. 8, of the same value.
    """
    combine = _dreg if doubly_reparameterised else _plain

    def term(seen: Explained) -> dict[str, Tensor]:
        bounds = [combine(seen, platform, noise_scale) / _d(seen, [platform]) for platform in seen.latents]
        return {"importance_weighted_bound": -torch.stack(bounds).mean()}

    return term


def mixture_of_experts_bound(noise_scale: float) -> Objective:
    """Return the term ``mmvae_bound``: the joint posterior is the mean of the platforms' posteriors.

    Shi et al. 2019, eq. 3, with the same number K of draws from every expert m and importance weights over them:
    1/M Σ_m log 1/K Σ_k p(z_k) Π_t p(x_t | z_k) / (1/M Σ_n q_n(z_k | x_n)) with z_k ~ q_m.
    """

    def term(seen: Explained) -> dict[str, Tensor]:
        bounds = []
        for source, q in seen.latents.items():
            explained = sum(
                (log_likelihood(seen.losses[source, t], seen.batch.observed[t], noise_scale) for t in seen.latents),
                q.z.new_zeros(()),
            )
            log_mixture = log_mean_exp(torch.stack([_log_density(p, q.z) for p in seen.latents.values()]))
            bounds.append(log_mean_exp(explained + _log_prior(seen, q.z) - log_mixture).mean())
        return {"mmvae_bound": -torch.stack(bounds).mean() / _d(seen, seen.latents)}

    return term


def log_likelihood(losses: Mapping[str, Tensor], observed: Tensor, noise_scale: float) -> Tensor:
    """Return log p(x | z) (K, B) of the observed (B, D) cells, independent Gaussians around the decoded point."""
    n_cells = observed.sum(-1)
    per_cell = losses["reconstruction"] / (2 * noise_scale**2) + math.log(noise_scale * math.sqrt(2 * math.pi))
    return -n_cells * per_cell


def log_mean_exp(values: Tensor) -> Tensor:
    """Return the logarithm of the mean of exponentials over the first axis."""
    return values.logsumexp(0) - math.log(len(values))


def _plain(seen: Explained, platform: str, noise_scale: float) -> Tensor:
    q: GaussianLatents = seen.latents[platform]
    explained = log_likelihood(seen.losses[platform, platform], seen.batch.observed[platform], noise_scale)
    return log_mean_exp(explained + _log_prior(seen, q.z) - q.log_q).mean()


def _dreg(seen: Explained, platform: str, noise_scale: float) -> Tensor:
    q: GaussianLatents = seen.latents[platform]
    z = q.z.clone()  # the hook below is for the bound alone, other terms see q.z
    fixed = Normal(q.distribution.mean.detach(), q.distribution.stddev.detach(), validate_args=False)
    losses = seen.score(platform, platform, z)
    explained = log_likelihood(losses, seen.batch.observed[platform], noise_scale)
    log_w = explained + _log_prior(seen, z) - fixed.log_prob(z).sum(-1)  # (K, B)
    normalised = log_w.softmax(0).detach()
    if z.requires_grad:
        z.register_hook(lambda gradient: normalised.unsqueeze(-1) * gradient)  # w̃² in all, on the way to q
    surrogate = (normalised * log_w).sum(0).mean()
    return log_mean_exp(log_w).mean().detach() + surrogate - surrogate.detach()


def _log_density(q: GaussianLatents, z: Tensor) -> Tensor:
    return q.distribution.log_prob(z).sum(-1)


def _log_prior(seen: Explained, z: Tensor) -> Tensor:
    assert seen.prior is not None
    return seen.prior.log_prob(z)


def _d(seen: Explained, platforms: Iterable[str]) -> int:
    return sum(seen.batch.targets[p].shape[-1] for p in platforms)
