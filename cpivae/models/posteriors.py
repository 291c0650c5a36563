"""From an encoder's output to latent draws."""

from __future__ import annotations

from collections.abc import Callable
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
    penalties: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms that belong to the posterior itself, unweighted scalars."""

    def draw(self, noise: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return a draw (B, L) made from standard normal ``noise`` (L,); None where nothing is random."""
        return None


@dataclass(frozen=True)
class GaussianLatents(Latents):
    """Draws that have a density, because they are Gaussian or a smooth map of Gaussian draws."""

    distribution: Normal = field(kw_only=True)
    """The Gaussian that draws start from, with batch shape (B, L)."""
    start: Tensor | None = None
    """(K, B, L) the Gaussian draws where a flow has moved them to ``z``; None where they are ``z``."""
    log_det: Tensor | None = None
    """(K, B) log-determinant of the flow's Jacobian at ``start``."""
    flow: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """The flow itself: draws to where it moves them, and the log-determinants."""

    def draw(self, noise: Tensor) -> Tensor:
        z: Tensor = self.distribution.mean + self.distribution.stddev * noise
        return z if self.flow is None else self.flow(z)[0]

    @property
    def log_q(self) -> Tensor:
        """(K, B) log-density of the draws under their own posterior."""
        log_q = self.distribution.log_prob(self.gaussian_draws).sum(-1)
        return log_q if self.log_det is None else log_q - self.log_det

    @property
    def gaussian_draws(self) -> Tensor:
        """(K, B, L) the draws before any flow."""
        return self.z if self.start is None else self.start

    @property
    def is_gaussian(self) -> bool:
        """Whether the draws follow ``distribution`` itself, so that closed forms hold."""
        return self.start is None


@final
class GaussianPosterior(nn.Module):
    """q(z | x) = N(mean(h), scale(h)²), diagonal, drawn by reparameterisation (Kingma & Welling 2014, eq. 10)."""

    MIN_SCALE = 1e-4
    """Keeps log-densities finite where the posterior becomes a point."""

    def __init__(self, d_hidden: int, latent_dim: int, n_draws: int = 1) -> None:
        super().__init__()
        self.n_draws = n_draws
        self.head = nn.Linear(d_hidden, 2 * latent_dim)

    def forward(self, h: Tensor) -> GaussianLatents:
        """Map hidden units (B, H) to latents."""
        raw = self.head(h)
        # Densities of many dimensions need more digits than half precision has.
        mean, raw_scale = (raw if raw.dtype.itemsize > 2 else raw.float()).chunk(2, dim=-1)  # (B, L) each
        # softplus, not exp: one wild row must not overflow a whole batch.
        scale = F.softplus(raw_scale) + self.MIN_SCALE
        distribution = Normal(mean, scale, validate_args=False)
        return GaussianLatents(z=distribution.rsample((self.n_draws,)), code=mean, distribution=distribution)
