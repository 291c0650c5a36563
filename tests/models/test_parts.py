"""The parts of a model against closed forms, Monte Carlo and plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Normal

from cpivae.batch import Batch
from cpivae.config.base import ModelSettings
from cpivae.config.load import make_config
from cpivae.models.blocks import ACTIVATIONS, Residual, hidden_layer, mlp, width_after
from cpivae.models.build import build_model
from cpivae.models.decoders import PointDecoder
from cpivae.models.posteriors import GaussianLatents, GaussianPosterior
from cpivae.models.priors import StandardNormalPrior

B, D, H, L, K = 6, 7, 5, 3, 4

PLAIN = ModelSettings(batch_norm=False, dropout_rate=0.0)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def latents(mean: Tensor, scale: Tensor, draws: int = 1) -> GaussianLatents:
    distribution = Normal(mean, scale)
    return GaussianLatents(z=distribution.rsample((draws,)), code=mean, distribution=distribution)


def some_latents(draws: int = 1) -> GaussianLatents:
    return latents(torch.randn(B, L), torch.rand(B, L) + 0.3, draws)


# Posterior and prior


def test_kl_agrees_with_monte_carlo() -> None:
    prior, q = StandardNormalPrior(), GaussianPosterior(H, L, n_draws=20_000)(torch.randn(B, H))
    log_ratio = (q.log_q - prior.log_prob(q.z)).detach()  # (K, B)
    standard_error = log_ratio.std(0) / np.sqrt(len(log_ratio))
    assert ((log_ratio.mean(0) - prior.divergence(q)).abs() < 5 * standard_error).all()


def test_kl_is_the_textbook_formula() -> None:
    q = some_latents()
    m, s = q.distribution.mean, q.distribution.stddev
    expected = 0.5 * (s**2 + m**2 - 1 - 2 * s.log()).sum(-1)
    torch.testing.assert_close(StandardNormalPrior().divergence(q), expected)


def test_kl_of_the_prior_itself_is_zero() -> None:
    q = latents(torch.zeros(B, L), torch.ones(B, L))
    torch.testing.assert_close(StandardNormalPrior().divergence(q), torch.zeros(B))


def test_log_densities_sum_over_dimensions() -> None:
    q = some_latents(draws=K)
    m, s, z = (x.double().numpy() for x in (q.distribution.mean, q.distribution.stddev, q.z))
    np.testing.assert_allclose(q.log_q.numpy(), stats.norm.logpdf(z, m, s).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(StandardNormalPrior().log_prob(q.z).numpy(), stats.norm.logpdf(z).sum(-1), rtol=1e-5)


def test_draws_follow_the_posterior() -> None:
    q = GaussianPosterior(H, L, n_draws=50_000)(torch.randn(B, H))
    assert q.z.shape == (50_000, B, L)
    torch.testing.assert_close(q.z.mean(0), q.distribution.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(q.z.std(0), q.distribution.stddev, rtol=0.03, atol=0)
    assert torch.equal(q.code, q.distribution.mean)


def test_draws_pass_gradients_to_mean_and_scale() -> None:
    posterior = GaussianPosterior(H, L)
    h = torch.randn(B, H, requires_grad=True)
    posterior(h).z.sum().backward()
    assert h.grad is not None
    assert h.grad.abs().sum(1).min() > 0
    weight, bias = posterior.head.weight.grad, posterior.head.bias.grad
    assert weight is not None
    assert bias is not None
    assert (weight.abs().sum(1) > 0).all()
    # A draw moves one to one with its mean.
    torch.testing.assert_close(bias[:L], torch.full((L,), float(B)))


def test_scale_stays_positive_and_finite_for_wild_rows() -> None:
    posterior = GaussianPosterior(H, L)
    for size in (-1e6, 1e6):
        q = posterior(torch.full((1, H), size))
        assert q.distribution.stddev.min() >= GaussianPosterior.MIN_SCALE
        assert q.distribution.stddev.isfinite().all()
        assert q.log_q.isfinite().all()


# Decoder


def point_decoder() -> PointDecoder:
    return PointDecoder(nn.Sequential(nn.Linear(L, D)))


def test_point_loss_is_the_mean_squared_error_of_observed_cells() -> None:
    decoder, x, z = point_decoder(), torch.randn(B, D), torch.randn(K, B, L)
    observed = torch.rand(B, D) > 0.4
    observed[0] = False
    observed[0, 2] = True
    losses = decoder.losses(x, observed, z)
    assert list(losses) == ["reconstruction", "size"]
    predicted = decoder.predict(z).detach().numpy()
    for k, b in itertools.product(range(K), range(B)):
        o = observed[b].numpy()
        expected = np.mean((predicted[k, b, o] - x[b].numpy()[o]) ** 2)
        assert losses["reconstruction"][k, b].item() == pytest.approx(expected, rel=1e-5)


def test_point_loss_of_a_row_without_observations_is_zero() -> None:
    observed = torch.ones(B, D, dtype=torch.bool)
    observed[1] = False
    loss = point_decoder().losses(torch.randn(B, D), observed, torch.randn(K, B, L))["reconstruction"]
    assert (loss[:, 1] == 0).all()
    assert (loss[:, 0] > 0).all()


def test_draws_are_decoded_one_by_one() -> None:
    decoder, z = point_decoder(), torch.randn(K, B, L)
    predicted = decoder.predict(z)
    assert predicted.shape == (K, B, D)
    torch.testing.assert_close(predicted, torch.stack([decoder.net(z[k]) for k in range(K)]))


# Blocks


def test_residual_of_equal_widths_adds_the_input() -> None:
    block = hidden_layer(H, H, PLAIN.model_copy(update={"use_residual_blocks": True}))
    assert isinstance(block, Residual)
    x = torch.randn(B, H)
    torch.testing.assert_close(block(x), block.body(x) + x)
    assert not list(block.shortcut.parameters())


def test_residual_of_other_widths_adds_a_linear_map() -> None:
    block = hidden_layer(H, D, PLAIN.model_copy(update={"use_residual_blocks": True}))
    assert isinstance(block, Residual)
    assert isinstance(block.shortcut, nn.Linear)
    x = torch.randn(B, H)
    torch.testing.assert_close(block(x), block.body(x) + x @ block.shortcut.weight.T)


def test_without_layers_there_is_nothing_but_the_last_linear_map() -> None:
    x = torch.randn(B, D)
    assert mlp(D, [], PLAIN)(x) is x
    (only,) = mlp(D, [], PLAIN, d_out=L)
    assert isinstance(only, nn.Linear)
    assert only.weight.shape == (L, D)
    assert width_after(D, []) == D
    assert width_after(D, [H, L]) == L


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_layer_is_linear_then_activation(activation: str) -> None:
    layer = hidden_layer(D, H, ModelSettings(activation=activation, batch_norm=False, dropout_rate=0.0))  # type: ignore[arg-type]
    x = torch.randn(B, D)
    linear = next(m for m in layer.modules() if isinstance(m, nn.Linear))
    function = torch.tanh if activation == "tanh" else getattr(nn.functional, activation)
    torch.testing.assert_close(layer(x), function(linear(x)))


def test_batch_norm_and_dropout_are_there_when_asked_for() -> None:
    kinds = [type(m) for m in hidden_layer(D, H, ModelSettings(batch_norm=True, dropout_rate=0.5)).children()]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout]
    normed = hidden_layer(D, H, ModelSettings(batch_norm=True, dropout_rate=0.0, activation="tanh"))
    out = torch.atanh(normed.train()(torch.randn(200, D)))
    torch.testing.assert_close(out.mean(0), torch.zeros(H), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(H), rtol=1e-2, atol=0)


def test_a_smooth_decoder_keeps_every_hidden_layer_at_one_and_the_last_free() -> None:
    config = make_config(
        {"model": {"model_type": "joint_vae_plus", "latent_dim": 8, "decoder_layers": [12, 10]}}, "smooth"
    )
    model = build_model(config, {"a": D, "b": D + 2}).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = {"a": torch.randn(20, D), "b": torch.randn(20, D + 2)}
    batch = Batch(values, values, {p: torch.ones_like(x, dtype=torch.bool) for p, x in values.items()})
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(model.terms(batch).values())).sum().backward()
        optimizer.step()
    for decoder in model.decoders.own.values():  # type: ignore[union-attr, operator]
        *hidden, last = decoder.net
        norms = [
            torch.linalg.matrix_norm(m.weight, 2).item()
            for layer in hidden
            for m in layer.modules()
            if isinstance(m, nn.Linear)
        ]
        assert len(norms) == 4  # two layers, each with a shortcut
        assert all(0.5 < norm <= 1.05 for norm in norms)
        assert not hasattr(last, "parametrizations")
