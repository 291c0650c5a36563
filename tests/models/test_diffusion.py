"""Diffusion against its closed forms (Ho et al. 2020; Song et al. 2021), and the decoder that uses it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cpivae.config.base import ModelSettings
from cpivae.models.blocks import mlp
from cpivae.models.decoders import PointDecoder
from cpivae.models.diffusion import DiffusionDecoder, NoiseSchedule

B, D, L, K, T = 6, 7, 3, 2, 20
STEPS = [2, 20, 1000]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def at(values: torch.Tensor, t: int) -> float:
    return values.double()[t].item()


def betas(schedule: NoiseSchedule) -> list[float]:
    """Variance that each forward step adds (index 0 unused): ᾱ_t is the product of 1 - β."""
    power = schedule.signal.double().square()
    return [0.0, *(1 - power[1:] / power[:-1]).tolist()]


@pytest.mark.parametrize("n_steps", STEPS)
def test_marginals_are_those_of_the_chain_of_single_steps(n_steps: int) -> None:
    """Ho et al. 2020, eq. 2 composed t times is eq. 4."""
    schedule = NoiseSchedule(n_steps)
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(betas(schedule)):
        assert 0 <= beta <= 1
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert at(schedule.signal, t) == pytest.approx(mean, abs=1e-5)
        assert at(schedule.noise, t) == pytest.approx(math.sqrt(variance), abs=1e-4)
    assert at(schedule.signal, 0) == 1
    assert at(schedule.signal, n_steps) < 1e-3


def test_a_diffused_row_has_the_marginal_of_eq_4() -> None:
    schedule, x_0 = NoiseSchedule(T), torch.randn(D)
    for t in (1, T // 2, T):
        x_t = schedule.diffuse(x_0.expand(40_000, D), torch.full((40_000,), t), torch.randn(40_000, D))
        torch.testing.assert_close(x_t.mean(0), schedule.signal[t] * x_0, rtol=0, atol=0.03)
        torch.testing.assert_close(x_t.std(0), schedule.noise[t].expand(D), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("n_steps", STEPS)
def test_a_full_reverse_step_is_eq_7(n_steps: int) -> None:
    schedule, x_0, x_t = NoiseSchedule(n_steps), torch.randn(D), torch.randn(D)
    beta, power = betas(schedule), schedule.signal.double().square().tolist()
    for t in {1, 2, n_steps // 2, n_steps} - {0}:
        mean, sd = schedule.back(x_t, x_0, torch.tensor(t), torch.tensor(t - 1), eta=1.0)
        expected = (math.sqrt(power[t - 1]) * beta[t] * x_0 + math.sqrt(1 - beta[t]) * (1 - power[t - 1]) * x_t) / (
            1 - power[t]
        )
        torch.testing.assert_close(mean, expected, rtol=1e-3, atol=1e-3)
        assert sd.item() ** 2 == pytest.approx((1 - power[t - 1]) / (1 - power[t]) * beta[t], abs=1e-4)


def test_a_step_without_noise_keeps_the_marginal() -> None:
    """Song et al. 2021, eq. 7 with σ = 0: x_s carries the same noise as x_t, whatever is skipped."""
    schedule, x_0, noise = NoiseSchedule(T), torch.randn(D), torch.randn(D)
    for t, s in ((T, T - 1), (T, 3), (7, 0)):
        t_, s_ = torch.tensor(t), torch.tensor(s)
        mean, sd = schedule.back(schedule.diffuse(x_0, t_, noise), x_0, t_, s_, eta=0.0)
        torch.testing.assert_close(mean, schedule.diffuse(x_0, s_, noise), rtol=1e-4, atol=1e-4)
        assert sd.item() == 0


def test_a_velocity_tells_the_row() -> None:
    schedule, x_0, noise = NoiseSchedule(T), torch.randn(T + 1, D), torch.randn(T + 1, D)
    t = torch.arange(T + 1)
    row = schedule.row(schedule.diffuse(x_0, t, noise), schedule.velocity(x_0, t, noise), t)
    torch.testing.assert_close(row, x_0, rtol=0, atol=1e-5)


def decoder(sampling_noise: float = 0.0, sampling_steps: int = 4) -> DiffusionDecoder:
    settings = ModelSettings(batch_norm=False, dropout_rate=0.0)
    denoiser = mlp(D + L + 2 * DiffusionDecoder.N_FREQUENCIES, [16], settings, d_out=D)
    return DiffusionDecoder(PointDecoder(nn.Sequential(nn.Linear(L, D))), denoiser, T, sampling_steps, sampling_noise)


def test_sampling_repeats_itself_unless_noise_is_asked_for() -> None:
    z = torch.randn(K, B, L)
    still, lively = decoder(0.0), decoder(1.0)
    assert torch.equal(still.predict(z), still.predict(z))
    assert not torch.allclose(lively.predict(z), lively.predict(z))


def test_a_decoder_that_starts_at_zero_predicts_zero() -> None:
    made = decoder()
    made.start_at_zero()
    assert made.predict(torch.randn(K, B, L)).abs().max() == 0


def test_the_denoiser_does_not_pull_the_point() -> None:
    made = decoder()
    losses = made.losses(torch.randn(B, D), torch.rand(B, D) > 0.3, torch.randn(K, B, L))
    assert list(losses) == ["reconstruction", "size", "noise_prediction"]
    assert {loss.shape for loss in losses.values()} == {(K, B)}
    losses["noise_prediction"].mean().backward()
    assert all(p.grad is None for p in made.point.parameters())
    assert all(p.grad.abs().sum() > 0 for p in made.denoiser.parameters())


def test_it_learns_a_remainder_that_the_point_misses() -> None:
    """The row is a bent function of the code, the point is held at zero: all of it is left to diffusion."""
    made, z = decoder(sampling_steps=5), torch.randn(1, 512, L)
    made.point.start_at_zero()
    x = torch.tanh(z[0] @ torch.randn(L, D))
    observed = torch.ones_like(x, dtype=torch.bool)
    optimizer = torch.optim.Adam(made.denoiser.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        made.losses(x, observed, z)["noise_prediction"].mean().backward()
        optimizer.step()
    with torch.no_grad():
        left = (made.predict(z)[0] - x).square().mean() / x.square().mean()
    assert left < 0.25
