"""Bounds from several draws against the ELBO and against gradients written out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from cpivae.batch import Batch
from cpivae.models.bounds import importance_weighted_bound, log_likelihood, mixture_of_experts_bound
from cpivae.models.decoders import PointDecoder
from cpivae.models.objectives import Explained
from cpivae.models.posteriors import GaussianLatents
from cpivae.models.priors import StandardNormalPrior

B, D, L = 6, 7, 3
NOISE = 0.6


class World:
    """Rows, gaps, one decoder per platform and one Gaussian posterior per row and platform."""

    def __init__(self, platforms: str = "a") -> None:
        torch.manual_seed(0)
        self.platforms = platforms
        self.x = {p: torch.randn(B, D) for p in platforms}
        self.observed = {p: torch.rand(B, D) > 0.3 for p in platforms}
        self.decoder = {p: PointDecoder(nn.Sequential(nn.Linear(L, D))) for p in platforms}
        self.mean = {p: torch.randn(B, L, requires_grad=True) for p in platforms}
        self.scale = {p: (torch.rand(B, L) + 0.3).requires_grad_() for p in platforms}

    def posterior(self, platform: str) -> Normal:
        return Normal(self.mean[platform], self.scale[platform])

    def explain(self, n_draws: int, seed: int) -> Explained:
        torch.manual_seed(seed)
        latents = {}
        for p in self.platforms:
            q = self.posterior(p)
            latents[p] = GaussianLatents(z=q.rsample((n_draws,)), code=q.mean, distribution=q)

        def score(_source: str, target: str, z: Tensor) -> Mapping[str, Tensor]:
            return self.decoder[target].losses(self.x[target], self.observed[target], z)

        return Explained(
            batch=Batch(self.x, self.x, self.observed),
            prior=StandardNormalPrior(),
            latents=latents,
            losses={(s, t): score(s, t, latents[s].z) for s in self.platforms for t in self.platforms},
            score=score,
        )

    def log_joint(self, z: Tensor) -> Tensor:
        """Return log p(z) + Σ_t log p(x_t | z), written out with torch.distributions: (K, B)."""
        total = Normal(0.0, 1.0).log_prob(z).sum(-1)
        for p in self.platforms:
            cells = Normal(self.decoder[p].predict(z), NOISE).log_prob(self.x[p])
            total = total + (cells * self.observed[p]).sum(-1)
        return total


def bound(world: World, n_draws: int, seed: int = 1, *, dreg: bool = False) -> Tensor:
    """Return the bound per row, mean over rows: what the term holds, without its sign and scale."""
    term = importance_weighted_bound(NOISE, doubly_reparameterised=dreg)(world.explain(n_draws, seed))
    return -term["importance_weighted_bound"] * D


def test_the_likelihood_is_gaussian_around_the_point() -> None:
    world, z = World(), torch.randn(4, B, L)
    found = log_likelihood(world.explain(1, 0).score("a", "a", z), world.observed["a"], NOISE)
    torch.testing.assert_close(found, world.log_joint(z) - Normal(0.0, 1.0).log_prob(z).sum(-1))


def test_with_one_draw_it_is_the_elbo() -> None:
    """Burda et al. 2016, eq. 8 with k = 1 is eq. 3."""
    world = World()
    z = world.explain(1, seed=1).latents["a"].z
    elbo = (world.log_joint(z) - Independent(world.posterior("a"), 1).log_prob(z)).mean()
    torch.testing.assert_close(bound(world, 1), elbo)


def test_with_one_draw_it_is_on_average_the_elbo_in_closed_form() -> None:
    """E log p(x | z) of a linear decoder and KL(q || p) are both known exactly."""
    world = World()
    q, linear = world.posterior("a"), world.decoder["a"].net[0]
    squared = (world.x["a"] - linear(q.mean)).square() + q.variance @ linear.weight.square().T
    cells = -squared / (2 * NOISE**2) - math.log(NOISE * math.sqrt(2 * math.pi))
    elbo = (cells * world.observed["a"]).sum(-1) - kl_divergence(q, Normal(0.0, 1.0)).sum(-1)
    with torch.no_grad():
        values = torch.stack([bound(world, 1, seed) for seed in range(3000)])
    assert (values.mean() - elbo.mean()).abs() < 4 * values.std() / math.sqrt(len(values))


def test_the_bound_rises_with_the_draws_to_the_log_evidence() -> None:
    """Burda et al. 2016, theorem 1; the evidence of a linear Gaussian model is known."""
    world = World()
    with torch.no_grad():
        values = {k: torch.stack([bound(world, k, seed) for seed in range(400)]).mean().item() for k in (1, 4, 16, 256)}
        linear = world.decoder["a"].net[0]
        evidence = []
        for row, seen in zip(world.x["a"], world.observed["a"], strict=True):
            w = linear.weight[seen]
            covariance = w @ w.T + NOISE**2 * torch.eye(len(w))
            evidence.append(torch.distributions.MultivariateNormal(linear.bias[seen], covariance).log_prob(row[seen]))
    exact = torch.stack(evidence).mean().item()
    assert values[1] < values[4] < values[16] < values[256] < exact + 0.1
    assert exact - values[256] < 0.25 * (exact - values[1])


@pytest.mark.parametrize("n_draws", [1, 5])
def test_doubly_reparameterised_has_the_same_value(n_draws: int) -> None:
    world = World()
    torch.testing.assert_close(bound(world, n_draws, dreg=True), bound(world, n_draws))


def test_doubly_reparameterised_gradients_are_those_of_the_paper() -> None:
    """Tucker et al. 2019, eq. 8: Σ_k w̃_k² ∂log w_k/∂z_k ∂z_k/∂φ, φ in log q held fixed; the decoder's is as usual."""
    world, k = World(), 5
    bound(world, k, dreg=True).backward()
    found = world.mean["a"].grad.clone(), world.scale["a"].grad.clone()
    decoders = [p.grad.clone() for p in world.decoder["a"].parameters()]

    z = world.explain(k, seed=1).latents["a"].z.detach().requires_grad_()
    mean, scale = world.mean["a"].detach(), world.scale["a"].detach()
    log_w = world.log_joint(z) - Normal(mean, scale).log_prob(z).sum(-1)
    (slope,) = torch.autograd.grad(log_w.sum(), z)
    weighted = log_w.softmax(0).detach().square().unsqueeze(-1) * slope / B
    torch.testing.assert_close(found[0], weighted.sum(0))
    torch.testing.assert_close(found[1], (weighted * (z - mean) / scale).sum(0))

    for parameter in world.decoder["a"].parameters():
        parameter.grad = None
    bound(world, k).backward()
    for parameter, gradient in zip(world.decoder["a"].parameters(), decoders, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_both_estimators_agree_on_average() -> None:
    world, means = World(), {}
    for dreg in (False, True):
        gradients = []
        for seed in range(1500):
            world.mean["a"].grad = None
            bound(world, 4, seed, dreg=dreg).backward()
            gradients.append(world.mean["a"].grad.clone())
        stacked = torch.stack(gradients)
        means[dreg] = stacked.mean(0), stacked.std(0) / math.sqrt(len(stacked))
    difference = (means[True][0] - means[False][0]).abs()
    error = (means[True][1].square() + means[False][1].square()).sqrt()
    assert (difference < 4.5 * error).all()


@pytest.mark.parametrize("n_draws", [1, 4])
def test_a_mixture_of_one_expert_is_the_bound_of_that_expert(n_draws: int) -> None:
    world = World()
    mixture = mixture_of_experts_bound(NOISE)(world.explain(n_draws, seed=1))["mmvae_bound"]
    torch.testing.assert_close(-mixture * D, bound(world, n_draws))


def test_a_mixture_of_experts_written_out() -> None:
    """Shi et al. 2019, eq. 3, with stratified draws: every expert explains every platform."""
    world, k = World("ab"), 4
    seen = world.explain(k, seed=1)
    per_expert = []
    for m in "ab":
        z = seen.latents[m].z
        density = sum(Independent(world.posterior(n), 1).log_prob(z).exp() for n in "ab") / 2
        per_expert.append((world.log_joint(z).exp() / density).mean(0).log().mean())
    found = -mixture_of_experts_bound(NOISE)(seen)["mmvae_bound"] * 2 * D
    torch.testing.assert_close(found, torch.stack(per_expert).mean(), rtol=1e-4, atol=1e-4)
