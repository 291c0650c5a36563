"""Vector quantisation: every row is described by a few entries of one codebook (van den Oord et al. 2017)."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, distributed, nn

from cpivae.models.posteriors import Latents


@final
class Codebook(nn.Module):
    """N codes of C numbers, shared by all platforms and learnt by moving averages or by gradient.

    Moving averages: N_i <- γ N_i + (1 - γ) n_i, m_i <- γ m_i + (1 - γ) Σ z, e_i = m_i / N_i over the n_i vectors z that
    chose code i (van den Oord et al. 2017, appendix A.1, eq. 6-8; Razavi et al. 2019, eq. 4).  The first training batch
    supplies the first codes; a code that is hardly chosen is put where a vector of the batch lies.
    """

    DEAD = 0.05
    """A code is dead when it is chosen less often than this share of the mean."""

    codes: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor

    def __init__(self, n_codes: int, code_dim: int, decay: float, *, by_gradient: bool) -> None:
        super().__init__()
        self.decay, self.by_gradient = decay, by_gradient
        codes = torch.randn(n_codes, code_dim)
        if by_gradient:
            self.codes = nn.Parameter(codes)
        else:
            self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(n_codes))
        self.register_buffer("sums", codes.clone())
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, z: Tensor) -> Tensor:
        """Return the nearest code of every vector (..., C); in training, the codebook learns from the vectors."""
        vectors = z.detach().flatten(0, -2)  # (M, C)
        if self.training and not self.started:
            self._start(vectors)
        chosen = torch.cdist(vectors.to(self.codes.dtype), self.codes.detach()).argmin(-1)  # (M,)
        nearest = self.codes[chosen].unflatten(0, z.shape[:-1])
        if self.training:
            self._learn(vectors, chosen)
        return nearest

    @torch.no_grad()
    def _start(self, vectors: Tensor) -> None:
        self._put(torch.arange(len(self.codes), device=vectors.device), vectors, 1.0)
        self.started.fill_(True)

    @torch.no_grad()
    def _learn(self, vectors: Tensor, chosen: Tensor) -> None:
        # Indexing made a copy of the codes above, so changing them here leaves the gradient intact.
        n = torch.bincount(chosen, minlength=len(self.codes)).to(self.counts)
        total = torch.zeros_like(self.sums).index_add_(0, chosen, vectors.to(self.sums))
        self.counts.lerp_(n, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        if not self.by_gradient:
            self.codes.copy_(self.sums / self.counts.clamp(min=1e-5).unsqueeze(-1))
        mean = self.counts.mean()
        dead = (self.counts < self.DEAD * mean).nonzero().squeeze(-1)
        if len(dead):
            self._put(dead, vectors, float(mean))
        if distributed.is_initialized():
            # Every process has seen other rows; the codebook is one.
            for part in (self.codes.data, self.counts, self.sums):
                distributed.broadcast(part, src=0)

    def _put(self, places: Tensor, vectors: Tensor, count: float) -> None:
        """Put codes where vectors of the batch lie, with a little noise: the batch may have fewer than needed."""
        picked = vectors[torch.randint(len(vectors), (len(places),), device=vectors.device)]
        picked = picked + 0.01 * vectors.std(correction=0) * torch.randn_like(picked)
        self.codes.data[places] = picked.to(self.codes.dtype)
        self.counts[places] = count
        self.sums[places] = count * self.codes.detach()[places]


@final
class CodebookPosterior(nn.Module):
    """Describes a row by several slots, each the nearest code to a part of the encoder's output."""

    def __init__(self, d_hidden: int, latent_dim: int, codebook: Codebook) -> None:
        super().__init__()
        self.code_dim, self.latent_dim = codebook.codes.shape[-1], latent_dim
        n_slots = math.ceil(latent_dim / self.code_dim)
        self.head = nn.Linear(d_hidden, n_slots * self.code_dim)
        # In a tuple, because the codebook is the model's: it is registered there, once for all platforms.
        self._shared = (codebook,)

    def forward(self, h: Tensor) -> Latents:
        """Map hidden units (B, H) to the code (B, L): entries of the codebook side by side, the last cut to fit."""
        (codebook,) = self._shared
        raw = self.head(h)
        z = (raw if raw.dtype.itemsize > 2 else raw.float()).unflatten(-1, (-1, self.code_dim))  # (B, slots, C)
        nearest = codebook(z)
        # Straight through: the value is the code, the gradient goes to z (van den Oord et al. 2017, section 3.2).
        code = (z + (nearest - z).detach()).flatten(1)[:, : self.latent_dim]
        penalties = {"commitment": (z - nearest.detach()).square().mean()}
        if codebook.by_gradient:
            penalties["codebook"] = (z.detach() - nearest).square().mean()
        return Latents(z=code.unsqueeze(0), code=code, penalties=penalties)
