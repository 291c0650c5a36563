"""From an encoder's output to latent draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F


@dataclass(frozen=True)
class Latents:
    """The latent codes of a batch under one platform's posterior."""

    z: Tensor
    """(K, B, L) draws."""
    code: Tensor
    """(B, L) the one code that stands for a row when nothing may be random."""
    distribution: Normal
    """q(z | x) with batch shape (B, L)."""
    penalties: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms that belong to the posterior itself, unweighted scalars."""

    @property
    def log_q(self) -> Tensor:
        """(K, B) log-density of the draws under their own posterior."""
        return self.distribution.log_prob(self.z).sum(-1)


@final
class GaussianPosterior(nn.Module):
    """q(z | x) = N(mean(h), scale(h)²), diagonal, drawn by reparameterisation (Kingma & Welling 2014, eq. 10)."""

    MIN_SCALE = 1e-4
    """Keeps log-densities finite where the posterior becomes a point."""

    def __init__(self, d_hidden: int, latent_dim: int, n_draws: int = 1) -> None:
        super().__init__()
        self.n_draws = n_draws
        self.head = nn.Linear(d_hidden, 2 * latent_dim)

    def forward(self, h: Tensor) -> Latents:
        """Map hidden units (B, H) to latents."""
        mean, raw_scale = self.head(h).chunk(2, dim=-1)  # (B, L) each
        # softplus, not exp: one wild row must not overflow a whole batch.
        scale = F.softplus(raw_scale) + self.MIN_SCALE
        distribution = Normal(mean, scale, validate_args=False)
        return Latents(z=distribution.rsample((self.n_draws,)), code=mean, distribution=distribution)
