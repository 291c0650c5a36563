"""Priors against scipy, Monte Carlo and densities written out; what a VampPrior's pseudo-inputs are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from cpivae.models.posteriors import GaussianLatents, GaussianPosterior
from cpivae.models.priors import LaplacePrior, StandardNormalPrior, VampPrior

B, D, L, K, C = 6, 7, 3, 4, 5


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def encoder(d: int, *layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d, d), *layers, GaussianPosterior(d, L))


def vamp(n_components: int, **encoders: nn.Sequential) -> VampPrior:
    return VampPrior(encoders, {p: e[0].in_features for p, e in encoders.items()}, n_components)


def latents(draws: int) -> GaussianLatents:
    q = Normal(torch.randn(B, L), torch.rand(B, L) + 0.3)
    return GaussianLatents(z=q.rsample((draws,)), code=q.mean, distribution=q)


def test_the_laplace_prior_has_variance_one() -> None:
    z = torch.randn(K, B, L)
    expected = stats.laplace.logpdf(z.double().numpy(), scale=np.sqrt(0.5)).sum(-1)
    np.testing.assert_allclose(LaplacePrior().log_prob(z).numpy(), expected, rtol=1e-5)


def test_a_sampled_divergence_is_the_integral() -> None:
    """KL(N(m, s²) || Laplace), dimension by dimension, by quadrature."""
    q = latents(draws=40_000)
    estimate = LaplacePrior().divergence(q)
    x = torch.linspace(-12, 12, 40_001, dtype=torch.double)
    for b in range(B):
        exact = 0.0
        for m, s in zip(q.distribution.mean[b].double(), q.distribution.stddev[b].double(), strict=True):
            log_q = Normal(m, s).log_prob(x)
            log_p = torch.distributions.Laplace(0.0, np.sqrt(0.5)).log_prob(x)
            exact += torch.trapezoid(log_q.exp() * (log_q - log_p), x).item()
        assert estimate[b].item() == pytest.approx(exact, abs=0.03)


def test_one_component_is_the_posterior_of_its_pseudo_input() -> None:
    """Tomczak & Welling 2018, eq. 9 with K = 1."""
    encode = encoder(D)
    prior, z = vamp(1, a=encode), torch.randn(K, B, L)
    q = encode(prior.pseudo_inputs["a"]).distribution
    torch.testing.assert_close(prior.log_prob(z), Independent(q, 1).log_prob(z.unsqueeze(-2)).squeeze(-1))


def test_components_of_all_platforms_form_one_mixture() -> None:
    a, b = encoder(D), encoder(D + 2)
    prior, z = vamp(C, a=a, b=b), torch.randn(K, B, L)
    parts = [a(prior.pseudo_inputs["a"]).distribution, b(prior.pseudo_inputs["b"]).distribution]
    components = Normal(torch.cat([p.mean for p in parts]), torch.cat([p.stddev for p in parts]))
    mixture = MixtureSameFamily(Categorical(torch.ones(2 * C)), Independent(components, 1))
    torch.testing.assert_close(prior.log_prob(z), mixture.log_prob(z))


def test_its_divergence_is_nought_for_its_own_only_component() -> None:
    encode = encoder(D)
    prior = vamp(1, a=encode)
    q = encode(prior.pseudo_inputs["a"]).distribution
    own = GaussianLatents(z=q.rsample((K,)), code=q.mean, distribution=q)
    torch.testing.assert_close(prior.divergence(own), torch.zeros(1))
    assert (StandardNormalPrior().divergence(own) > 0).all()


def test_pseudo_inputs_get_a_gradient_through_the_encoder() -> None:
    prior = vamp(C, a=encoder(D), b=encoder(D + 2))
    prior.log_prob(torch.randn(K, B, L)).mean().backward()
    for pseudo_inputs in prior.pseudo_inputs.values():
        assert (pseudo_inputs.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("n_components", [3, 10, 25])
def test_they_start_as_training_rows_the_same_sample_on_every_platform(n_components: int) -> None:
    rows = {"a": torch.randn(10, D), "b": torch.randn(10, D + 2)}
    prior = vamp(n_components, a=encoder(D), b=encoder(D + 2))
    prior.start_from(rows)
    nearest = {p: torch.cdist(prior.pseudo_inputs[p], rows[p]).min(1) for p in rows}
    assert all(near.values.max() < 0.1 for near in nearest.values())
    assert torch.equal(nearest["a"].indices, nearest["b"].indices)
    times = torch.bincount(nearest["a"].indices, minlength=10)
    assert times.max() - times.min() <= 1


@pytest.mark.parametrize("training", [True, False])
def test_pseudo_inputs_are_no_sample_of_the_data(training: bool) -> None:
    """They pass without dropout, teach batch norm nothing, and leave the encoder in the mode of the model."""
    encode = encoder(D, nn.BatchNorm1d(D), nn.Dropout(0.5))
    prior, z = vamp(C, a=encode), torch.randn(K, B, L)
    for part in (encode, prior):
        part.train(training)
    assert torch.equal(prior.log_prob(z), prior.log_prob(z))
    assert encode[1].num_batches_tracked == 0
    assert {part.training for part in encode.modules()} == {training}
