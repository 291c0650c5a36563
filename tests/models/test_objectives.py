"""Loss terms against closed forms, Monte Carlo and plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Normal

from cpivae.batch import Batch
from cpivae.config.base import ModelSettings
from cpivae.models.blocks import mlp
from cpivae.models.decoders import Decoders, PointDecoder
from cpivae.models.latent import LatentModel
from cpivae.models.objectives import (
    Explained,
    Objective,
    free_bits,
    kl_alignment,
    kl_divergence,
    mmd_alignment,
    mse_alignment,
    squared_mmd,
    total_correlation,
)
from cpivae.models.objectives import reconstruction_grid as grid_of
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


# The grid, the divergence and the alignments


@pytest.fixture
def model() -> LatentModel:
    widths = {"a": D, "b": D + 2}
    return LatentModel(
        encoders={p: mlp(d, [H], PLAIN) for p, d in widths.items()},
        posteriors={p: GaussianPosterior(H, L, n_draws=K) for p in widths},
        prior=StandardNormalPrior(),
        decoders=Decoders(lambda p: PointDecoder(nn.Sequential(nn.Linear(L, widths[p]))), widths, {}),
        objective=(grid_of, kl_divergence, mse_alignment),
    )


@pytest.fixture
def batch() -> Batch:
    values = {"a": torch.randn(B, D), "b": torch.randn(B, D + 2)}
    return Batch(values, values, {p: torch.rand(x.shape) > 0.3 for p, x in values.items()})


def test_the_diagonal_of_the_grid_is_reconstruction_and_the_rest_cross(model: LatentModel, batch: Batch) -> None:
    seen = model.explain(batch)

    def loss(source: str, target: str) -> float:
        decoded = model.decoders.decoder((source, target)).predict(seen.latents[source].z)
        squared = (decoded - batch.targets[target]).square().detach().numpy()
        rows = [(k, b, batch.observed[target][b].numpy()) for k in range(K) for b in range(B)]
        return float(np.mean([squared[k, b, observed].mean() for k, b, observed in rows]))

    terms = grid_of(seen)
    assert terms["reconstruction"].item() == pytest.approx((loss("a", "a") + loss("b", "b")) / 2, rel=1e-5)
    assert terms["cross_reconstruction"].item() == pytest.approx((loss("a", "b") + loss("b", "a")) / 2, rel=1e-5)


def test_kl_is_the_mean_over_rows_and_platforms(model: LatentModel, batch: Batch) -> None:
    seen = model.explain(batch)
    assert seen.prior is not None
    by_row = [seen.prior.divergence(q) for q in seen.latents.values()]
    torch.testing.assert_close(kl_divergence(seen)["kl_divergence"], torch.cat(by_row).mean())


def test_imputation_decodes_the_mean_with_the_decoder_of_the_target(model: LatentModel, batch: Batch) -> None:
    mean = model.encode(batch.inputs["a"], "a").code
    torch.testing.assert_close(
        model.impute(batch.inputs["a"], "a", "b"), model.decoders.decoder(("a", "b")).predict(mean[None])[0]
    )
    torch.testing.assert_close(model.code(batch.inputs["a"], "a"), mean)


def aligned(objective: Objective, p: GaussianLatents, q: GaussianLatents, model: LatentModel, batch: Batch) -> float:
    return objective(replace(model.explain(batch), latents={"a": p, "b": q}))["latent_alignment"].item()


@pytest.mark.parametrize("objective", [mse_alignment, kl_alignment, mmd_alignment])
def test_alignment_is_symmetric_positive_and_zero_for_equals(
    objective: Objective, model: LatentModel, batch: Batch
) -> None:
    p, q = some_latents(draws=K), some_latents(draws=K)
    there, back = aligned(objective, p, q, model, batch), aligned(objective, q, p, model, batch)
    assert there == pytest.approx(back, rel=1e-5)
    assert there > 0
    assert aligned(objective, p, p, model, batch) == pytest.approx(0, abs=1e-6)


def test_mse_alignment_by_hand(model: LatentModel, batch: Batch) -> None:
    p = latents(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.ones(2, 2))
    q = latents(torch.tensor([[1.0, 0.0], [3.0, 1.0]]), 5 * torch.ones(2, 2))
    assert aligned(mse_alignment, p, q, model, batch) == pytest.approx((0 + 4 + 9 + 1) / 4)


def test_kl_alignment_by_hand(model: LatentModel, batch: Batch) -> None:
    p = latents(torch.zeros(1, 2), torch.ones(1, 2))
    q = latents(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]))
    # KL(N(0,1), N(1,1)) is 1/2 both ways; KL(N(0,1), N(0,2²)) = log 2 + 1/8 - 1/2, and back 2 - log 2 - 1/2.
    expected = (1.0 + (1 / 8 - 1 / 2) + (2 - 1 / 2)) / 2 / 2
    assert aligned(kl_alignment, p, q, model, batch) == pytest.approx(expected, rel=1e-6)


def test_squared_mmd_of_identical_samples_is_zero() -> None:
    x = torch.randn(30, L)
    assert squared_mmd(x, x).item() == pytest.approx(0, abs=1e-6)
    assert squared_mmd(x, x[torch.randperm(30)]).item() == pytest.approx(0, abs=1e-6)


def test_squared_mmd_grows_with_a_shift_and_ignores_order() -> None:
    x, y = torch.randn(300, L), torch.randn(400, L)
    near, far = squared_mmd(x, y + 0.5), squared_mmd(x, y + 2)
    assert 0 < squared_mmd(x, y) < near < far
    torch.testing.assert_close(squared_mmd(y + 2, x), far)
    torch.testing.assert_close(squared_mmd(x[torch.randperm(300)], (y + 2)[torch.randperm(400)]), far)


def test_squared_mmd_by_hand() -> None:
    x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
    kernels = [np.exp(-25 / (2 * width)) for width in (0.5, 1, 2, 4, 8)]
    assert squared_mmd(x, y).item() == pytest.approx(2 - 2 * np.mean(kernels), rel=1e-6)


# Penalties on the code


def explained(model: LatentModel, batch: Batch, **latents: GaussianLatents) -> Explained:
    return replace(model.explain(batch), latents=latents)


@pytest.mark.parametrize("floor", [0.01, 0.5])
def test_free_bits_hold_their_floor(floor: float, model: LatentModel, batch: Batch) -> None:
    """Kingma et al. 2016, eq. 15: below the floor the term is flat, above it is the KL itself."""
    near = latents(torch.full((B, L), 1e-3, requires_grad=True), torch.ones(B, L))
    far = latents(torch.full((B, L), 2.0, requires_grad=True), torch.ones(B, L))
    for q, held in ((near, True), (far, False)):
        seen = explained(model, batch, a=q, b=q)
        term, plain = (objective(seen)["kl_divergence"] for objective in (free_bits(floor), kl_divergence))
        torch.testing.assert_close(term, torch.tensor(floor * L) if held else plain)
        (gradient,) = torch.autograd.grad(term, q.code, allow_unused=True)
        assert bool((gradient == 0).all()) == held


def test_a_platform_above_the_floor_is_not_excused_by_one_below(model: LatentModel, batch: Batch) -> None:
    near, far = (latents(torch.full((B, L), size), torch.ones(B, L)) for size in (0.0, 2.0))
    term = free_bits(0.5)(explained(model, batch, a=near, b=far))["kl_divergence"]
    assert term.item() == pytest.approx((0.5 * L + 2.0**2 / 2 * L) / 2)


def test_total_correlation_by_hand(model: LatentModel, batch: Batch) -> None:
    """Chen et al. 2018, eq. 2 and S5, in plain numpy."""
    q = some_latents(draws=2)
    m, s, z = (x.double().numpy() for x in (q.distribution.mean, q.distribution.stddev, q.z[0]))
    log_q = stats.norm.logpdf(z[:, None, :], m[None], s[None])  # draw i under row j's posterior
    joint = np.log(np.exp(log_q.sum(-1)).mean(1))
    marginals = np.log(np.exp(log_q).mean(1)).sum(-1)
    term = total_correlation(explained(model, batch, a=q, b=q))["total_correlation"]
    assert term.item() == pytest.approx((joint - marginals).mean() / L, rel=1e-4)


def test_total_correlation_sees_dependence_between_dimensions(model: LatentModel, batch: Batch) -> None:
    shared = torch.randn(400, 1)
    same = latents(shared.expand(400, L), torch.full((400, L), 0.1))
    apart = latents(torch.randn(400, L), torch.full((400, L), 0.1))
    dependent, independent = (
        total_correlation(explained(model, batch, a=q, b=q))["total_correlation"].item() for q in (same, apart)
    )
    assert dependent > independent + 0.5
