"""Normalising flows: a Gaussian posterior bent into another shape."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cpivae.models.posteriors import GaussianLatents


@final
class PlanarFlow(nn.Module):
    """f(z) = z + û tanh(wᵀz + b), û such that f can be inverted (Rezende & Mohamed 2015, eq. 10, appendix A)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(latent_dim) / math.sqrt(latent_dim))
        self.u = nn.Parameter(torch.randn(latent_dim) / latent_dim)
        self.b = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map draws (..., L); return them with the log-determinant (...) of the Jacobian (eq. 12)."""
        w, u, wz = self.w, self.u, (z * self.w).sum(-1)
        wu = (w * u).sum()
        # Invertible if wᵀû > -1: replace wᵀu by softplus(wᵀu) - 1.
        wu_hat = F.softplus(wu) - 1
        u_hat = u + (wu_hat - wu) * w / w.square().sum().clamp(min=1e-12)
        bent = torch.tanh(wz + self.b)  # (...)
        slope = (1 - bent.square()) * wu_hat
        return z + bent.unsqueeze(-1) * u_hat, torch.log1p(slope.clamp(min=-1 + 1e-6))


@final
class Flows(nn.Module):
    """A chain of planar flows."""

    def __init__(self, latent_dim: int, n_flows: int) -> None:
        super().__init__()
        self.chain = nn.ModuleList([PlanarFlow(latent_dim) for _ in range(n_flows)])

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map draws (..., L); return them with the sum (...) of the log-determinants."""
        total = z.new_zeros(z.shape[:-1])
        for flow in self.chain:
            z, log_det = flow(z)
            total = total + log_det
        return z, total


@final
class FlowPosterior(nn.Module):
    """A Gaussian posterior whose draws pass through flows, the same for every row and every platform.

    One map for all platforms, because distances between posteriors (KL) are then those between their Gaussians.
    """

    def __init__(self, gaussian: nn.Module, flows: Flows) -> None:
        """``gaussian`` maps (B, H) to GaussianLatents."""
        super().__init__()
        self.gaussian = gaussian
        # In a tuple, because the flows are the model's: they are registered there, once for all platforms.
        self._shared = (flows,)

    def forward(self, h: Tensor) -> GaussianLatents:
        """Map hidden units (B, H) to latents; the code is the mean of the Gaussian, sent through the flows."""
        (flows,) = self._shared
        base: GaussianLatents = self.gaussian(h)
        z, log_det = flows(base.z)
        code, _ = flows(base.code)
        return GaussianLatents(
            z=z, code=code, distribution=base.distribution, start=base.z, log_det=log_det, flow=flows
        )
