"""The model class of all variants that have a latent space: five parts, put together by a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from cpivae.batch import Batch
from cpivae.models.base import CrossPlatformModel
from cpivae.models.decoders import Decoders
from cpivae.models.objectives import Explained, Objective, linear_skip_residual
from cpivae.models.posteriors import Latents
from cpivae.models.priors import Prior
from cpivae.names import DIRECTIONS


@final
class LatentModel(CrossPlatformModel):
    """Encoder and posterior per platform, decoders per target; one prior and one objective for all.

    | part      | interface                                          |
    |-----------|----------------------------------------------------|
    | encoder   | (B, D) -> (B, H)                                   |
    | posterior | (B, H) -> Latents                                  |
    | prior     | log_prob (K, B, L) -> (K, B); divergence -> (B,)   |
    | decoder   | losses(x, observed, z) -> {name: (K, B)}; predict  |
    | objective | functions of Explained -> {name: scalar}           |
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, nn.Module],
        posteriors: Mapping[str, nn.Module],
        decoders: Decoders,
        objective: tuple[Objective, ...],
        prior: Prior | None = None,
        shared: Mapping[str, nn.Module] | None = None,
    ) -> None:
        """``shared`` names parts that several others hold; they belong to the model, and are stored once."""
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.posteriors = nn.ModuleDict(posteriors)
        self.prior = prior
        self.decoders = decoders
        self.shared = nn.ModuleDict(shared or {})
        self.objective = (*objective, *([linear_skip_residual] if len(decoders.residual) else []))

    def encode(self, x: Tensor, source: str) -> Latents:
        """Return the latents of rows (B, D) of one platform."""
        return self.posteriors[source](self.encoders[source](x))

    def explain(self, batch: Batch) -> Explained:
        """Draw codes of every row, and score every decoder on every platform's draws."""

        def score(source: str, target: str, z: Tensor) -> dict[str, Tensor]:
            x, row, observed = batch.inputs[source], batch.targets[target], batch.observed[target]
            return self.decoders.losses(x, row, observed, z, (source, target))

        latents = {platform: self.encode(x, platform) for platform, x in batch.inputs.items()}
        losses = {(s, t): score(s, t, latents[s].z) for s, t in DIRECTIONS}
        return Explained(batch=batch, prior=self.prior, latents=latents, losses=losses, score=score)

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        seen = self.explain(batch)
        terms = {name: value for part in self.objective for name, value in part(seen).items()}
        penalties = {name for q in seen.latents.values() for name in q.penalties}
        means = {n: torch.stack([q.penalties[n] for q in seen.latents.values()]).mean() for n in sorted(penalties)}
        return terms | means

    def code(self, x: Tensor, source: str) -> Tensor:
        return self.encode(x, source).code

    def impute(self, x: Tensor, source: str, target: str) -> Tensor:
        return self.decoders.predict(x, self.code(x, source).unsqueeze(0), (source, target)).squeeze(0)

    def draws(self, x: Tensor, source: str, target: str, n: int, seed: int = 0) -> Iterator[Tensor]:
        latents = self.encode(x, source)
        random = torch.Generator(x.device).manual_seed(seed)
        for _ in range(n):
            z = latents.draw(torch.randn(latents.code.shape[-1], generator=random, device=x.device))
            if z is None:
                return
            yield self.decoders.predict(x, z.unsqueeze(0), (source, target)).squeeze(0)
