"""How likely a latent draw is before any data are seen."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Laplace, Normal, kl_divergence

from cpivae.models.posteriors import GaussianLatents


class Prior(nn.Module, ABC):
    """p(z)."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of draws (K, B, L), summed over L: (K, B)."""

    @abstractmethod
    def divergence(self, latents: GaussianLatents) -> Tensor:
        """KL(q(z | x) || p(z)) of each row: (B,)."""

    def sampled_divergence(self, latents: GaussianLatents) -> Tensor:
        """Estimate the divergence (B,) from the draws themselves, without bias."""
        return (latents.log_q - self.log_prob(latents.z)).mean(0)


@final
class StandardNormalPrior(Prior):
    """p(z) = N(0, I)."""

    def log_prob(self, z: Tensor) -> Tensor:
        return self._like(z).log_prob(z).sum(-1)

    def divergence(self, latents: GaussianLatents) -> Tensor:
        """Closed form (Kingma & Welling 2014, appendix B), where there is one."""
        if not latents.is_gaussian:
            return self.sampled_divergence(latents)
        return kl_divergence(latents.distribution, self._like(latents.code)).sum(-1)

    @staticmethod
    def _like(z: Tensor) -> Normal:
        return Normal(z.new_zeros(()), z.new_ones(()), validate_args=False)


@final
class LaplacePrior(Prior):
    """p(z) = Laplace(0, 1/√2) in every dimension: variance 1, and codes gather along the axes."""

    def log_prob(self, z: Tensor) -> Tensor:
        return Laplace(z.new_zeros(()), z.new_full((), math.sqrt(0.5)), validate_args=False).log_prob(z).sum(-1)

    def divergence(self, latents: GaussianLatents) -> Tensor:
        return self.sampled_divergence(latents)


@final
class VampPrior(Prior):
    """p(z) = mean over pseudo-inputs u of q(z | u), all platforms together (Tomczak & Welling 2018, eq. 9).

    Pseudo-inputs are rows that no sample has: they start as training rows and are learnt with everything else.
    """

    def __init__(self, encode: Mapping[str, nn.Sequential], n_features: Mapping[str, int], n_components: int) -> None:
        """``encode`` holds, by platform, the modules that map rows (C, D) to GaussianLatents, in one sequence."""
        super().__init__()
        self.pseudo_inputs = nn.ParameterDict(
            {p: nn.Parameter(torch.randn(n_components, d)) for p, d in n_features.items()}
        )
        # In a plain dictionary, because they are the model's and not a second set of weights.
        self._encode = dict(encode)

    def start_from(self, rows: Mapping[str, Tensor]) -> None:
        """Take training rows (N, D) as pseudo-inputs, the same samples on every platform."""
        n_components = len(next(iter(self.pseudo_inputs.values())))
        n_rows = len(next(iter(rows.values())))
        # Each row once before any comes again; with a little noise, so that equal ones can part.
        chosen = torch.cat([torch.randperm(n_rows) for _ in range(math.ceil(n_components / n_rows))])[:n_components]
        for platform, pseudo_inputs in self.pseudo_inputs.items():
            start = rows[platform][chosen]
            pseudo_inputs.data.copy_(start + 0.01 * torch.randn_like(start))

    def log_prob(self, z: Tensor) -> Tensor:
        components = [self._component(p, u) for p, u in self.pseudo_inputs.items()]
        mean, scale = (torch.cat([getattr(c, name) for c in components]) for name in ("mean", "stddev"))  # (C, L)
        by_component = Normal(mean, scale, validate_args=False).log_prob(z.unsqueeze(-2)).sum(-1)  # (K, B, C)
        return by_component.logsumexp(-1) - math.log(len(mean))

    def divergence(self, latents: GaussianLatents) -> Tensor:
        return self.sampled_divergence(latents)

    def _component(self, platform: str, pseudo_inputs: Tensor) -> Normal:
        with _evaluating(self._encode[platform], afterwards=self.training) as encode:
            latents: GaussianLatents = encode(pseudo_inputs)
        return latents.distribution


@contextmanager
def _evaluating(module: nn.Module, *, afterwards: bool) -> Iterator[nn.Module]:
    """Switch dropout and batch statistics off for a while: pseudo-inputs are no sample of the data.

    ``afterwards`` is the mode to go back to; ``module`` need not know its own, if it is not itself part of the model.
    """
    try:
        yield module.eval()
    finally:
        module.train(afterwards)
