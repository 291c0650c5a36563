"""Planar flows against automatic differentiation (Rezende & Mohamed 2015, eq. 10-13)."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian

from cpivae.models.flows import FlowPosterior, PlanarFlow
from cpivae.models.posteriors import GaussianPosterior

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
    posterior = FlowPosterior(gaussian, L, n_flows=3).double()
    latents = posterior(torch.randn(B, H, dtype=torch.double))
    assert latents.start is not None
    for k in range(K):
        for b in range(B):
            start = latents.start[k, b].detach()

            def through(x: torch.Tensor) -> torch.Tensor:
                for planar in posterior.flows:
                    x, _ = planar(x)
                return x

            torch.testing.assert_close(through(start), latents.z[k, b])
            _, log_det = torch.linalg.slogdet(jacobian(through, start))
            log_base = torch.distributions.Normal(
                latents.distribution.mean[b], latents.distribution.stddev[b]
            ).log_prob(start)
            torch.testing.assert_close(latents.log_q[k, b], log_base.sum() - log_det)


def test_the_code_is_the_mean_sent_through() -> None:
    posterior = FlowPosterior(GaussianPosterior(H, L), L, n_flows=2)
    latents = posterior(torch.randn(B, H))
    expected = latents.distribution.mean
    for planar in posterior.flows:
        expected, _ = planar(expected)
    torch.testing.assert_close(latents.code, expected)
    assert not latents.is_gaussian


def test_without_flows_the_density_is_the_gaussians() -> None:
    gaussian, h = GaussianPosterior(H, L, K), torch.randn(B, H)
    torch.manual_seed(1)
    plain = gaussian(h)
    torch.manual_seed(1)
    flown = FlowPosterior(gaussian, L, n_flows=0)(h)
    torch.testing.assert_close(flown.z, plain.z)
    torch.testing.assert_close(flown.log_q, plain.log_q)
