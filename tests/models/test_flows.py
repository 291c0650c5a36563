"""Planar flows against automatic differentiation (Rezende & Mohamed 2015, eq. 10-13)."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import kl_divergence

from cpivae.config.load import make_config
from cpivae.models.build import build_model
from cpivae.models.flows import FlowPosterior, Flows, PlanarFlow
from cpivae.models.posteriors import GaussianLatents, GaussianPosterior

B, H, L, K = 6, 5, 3, 4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def flow(scale: float, latent_dim: int = L) -> PlanarFlow:
    made = PlanarFlow(latent_dim)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(scale * torch.randn_like(parameter))
    return made.double()


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("latent_dim", [1, 3, 8])
def test_the_log_determinant_is_that_of_the_jacobian(scale: float, latent_dim: int) -> None:
    planar = flow(scale, latent_dim)
    z = 2 * torch.randn(20, latent_dim, dtype=torch.double)
    _, log_det = planar(z)
    for row, found in zip(z, log_det, strict=True):
        matrix = jacobian(lambda x: planar(x)[0], row)
        sign, expected = torch.linalg.slogdet(matrix)
        assert sign == 1  # the map keeps its orientation: it can be inverted
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scale", [1.0, 5.0, 30.0])
def test_it_can_be_inverted_whatever_was_learnt(scale: float) -> None:
    """Along w the map must rise strictly, from minus to plus infinity."""
    for _ in range(20):
        planar = flow(scale)
        direction = planar.w.detach() / planar.w.detach().norm()
        line = torch.linspace(-5, 5, 4001, dtype=torch.double).unsqueeze(1) * direction
        along = planar(line)[0] @ direction
        assert (along.diff() >= 0).all()
        assert planar(line)[1].isfinite().all()


def test_a_chain_adds_its_log_determinants_and_moves_the_density() -> None:
    gaussian = GaussianPosterior(H, L, K)
    chain = Flows(L, n_flows=3).double()
    posterior = FlowPosterior(gaussian.double(), chain)
    latents = posterior(torch.randn(B, H, dtype=torch.double))
    assert latents.start is not None
    for k in range(K):
        for b in range(B):
            start = latents.start[k, b].detach()

            def through(x: torch.Tensor) -> torch.Tensor:
                for planar in chain.chain:
                    x, _ = planar(x)
                return x

            torch.testing.assert_close(through(start), latents.z[k, b])
            _, log_det = torch.linalg.slogdet(jacobian(through, start))
            log_base = torch.distributions.Normal(
                latents.distribution.mean[b], latents.distribution.stddev[b]
            ).log_prob(start)
            torch.testing.assert_close(latents.log_q[k, b], log_base.sum() - log_det)


def test_the_code_is_the_mean_sent_through() -> None:
    chain = Flows(L, n_flows=2)
    posterior = FlowPosterior(GaussianPosterior(H, L), chain)
    latents = posterior(torch.randn(B, H))
    expected = latents.distribution.mean
    for planar in chain.chain:
        expected, _ = planar(expected)
    torch.testing.assert_close(latents.code, expected)
    assert not latents.is_gaussian


def test_without_flows_the_density_is_the_gaussians() -> None:
    gaussian, h = GaussianPosterior(H, L, K), torch.randn(B, H)
    torch.manual_seed(1)
    plain = gaussian(h)
    torch.manual_seed(1)
    flown = FlowPosterior(gaussian, Flows(L, n_flows=0))(h)
    torch.testing.assert_close(flown.z, plain.z)
    torch.testing.assert_close(flown.log_q, plain.log_q)


def test_platforms_share_their_flows_so_that_their_distance_is_that_of_the_gaussians() -> None:
    """KL does not notice a map that both sides pass through: checked by Monte Carlo after the flows."""
    chain = Flows(L, n_flows=3)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.copy_(torch.randn_like(parameter))
    p, q = (FlowPosterior(GaussianPosterior(H, L, 20_000), chain)(torch.randn(1, H)) for _ in "ab")

    def log_density(latents: GaussianLatents, start: torch.Tensor) -> torch.Tensor:
        _, log_det = chain(start)
        return latents.distribution.log_prob(start).sum(-1) - log_det

    assert p.start is not None
    sampled = (log_density(p, p.start) - log_density(q, p.start)).detach()
    exact = kl_divergence(p.distribution, q.distribution).sum().item()
    assert abs(sampled.mean().item() - exact) < 5 * sampled.std().item() / 20_000**0.5


@pytest.mark.parametrize("n_flows", [0, 2])
def test_without_flows_the_posterior_is_gaussian_and_its_divergence_exact(n_flows: int) -> None:
    config = make_config({"model": {"model_type": "joint_vae_plus", "latent_dim": L, "n_flows": n_flows}}, "flows")
    model = build_model(config, {"a": 4, "b": 5})
    assert model.encode(torch.randn(B, 4), "a").is_gaussian == (n_flows == 0)  # type: ignore[operator]


def test_wild_weights_in_half_precision_stay_finite() -> None:
    torch.manual_seed(0)
    for _ in range(50):
        planar = flow(8.0, 16).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z, log_det = planar(torch.randn(20, 16))
        assert z.isfinite().all()
        assert log_det.isfinite().all()
