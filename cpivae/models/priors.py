"""How likely a latent draw is before any data are seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from cpivae.models.posteriors import Latents


class Prior(nn.Module, ABC):
    """p(z)."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of draws (K, B, L), summed over L: (K, B)."""

    @abstractmethod
    def divergence(self, latents: Latents) -> Tensor:
        """KL(q(z | x) || p(z)) of each row: (B,)."""


@final
class StandardNormalPrior(Prior):
    """p(z) = N(0, I)."""

    def log_prob(self, z: Tensor) -> Tensor:
        return self._like(z).log_prob(z).sum(-1)

    def divergence(self, latents: Latents) -> Tensor:
        """Closed form (Kingma & Welling 2014, appendix B)."""
        return kl_divergence(latents.distribution, self._like(latents.code)).sum(-1)

    @staticmethod
    def _like(z: Tensor) -> Normal:
        return Normal(z.new_zeros(()), z.new_ones(()), validate_args=False)
