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
        wu = self.w @ self.u
        # Invertible if wᵀû > -1: replace wᵀu by softplus(wᵀu) - 1.
        u = self.u + (F.softplus(wu) - 1 - wu) * self.w / self.w.square().sum().clamp(min=1e-12)
        bent = torch.tanh((z * self.w).sum(-1) + self.b)  # (...)
        slope = (1 - bent.square()) * (self.w @ u)
        return z + bent.unsqueeze(-1) * u, torch.log1p(slope)


@final
class FlowPosterior(nn.Module):
    """A Gaussian posterior whose draws pass through planar flows, the same for every row."""

    def __init__(self, gaussian: nn.Module, latent_dim: int, n_flows: int) -> None:
        """``gaussian`` maps (B, H) to GaussianLatents."""
        super().__init__()
        self.gaussian = gaussian
        self.flows = nn.ModuleList([PlanarFlow(latent_dim) for _ in range(n_flows)])

    def forward(self, h: Tensor) -> GaussianLatents:
        """Map hidden units (B, H) to latents; the code is the mean of the Gaussian, sent through the flows."""
        base: GaussianLatents = self.gaussian(h)
        z, log_det = self._through(base.z)
        code, _ = self._through(base.code)
        return GaussianLatents(z=z, code=code, distribution=base.distribution, start=base.z, log_det=log_det)

    def _through(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[:-1])
        for flow in self.flows:
            z, log_det = flow(z)
            total = total + log_det
        return z, total
