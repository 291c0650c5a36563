"""The model class of all variants that have a latent space: five parts, put together by a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, final

import torch
from torch import Tensor, nn

from cpivae.batch import Batch
from cpivae.models.base import CrossPlatformModel
from cpivae.models.decoders import Decoder
from cpivae.models.objectives import Objective
from cpivae.models.posteriors import Latents
from cpivae.models.priors import Prior


@final
class LatentModel(CrossPlatformModel):
    """Encoder, posterior and decoder per platform; one prior and one objective for all.

    | part      | interface                                          |
    |-----------|----------------------------------------------------|
    | encoder   | (B, D) -> (B, H)                                   |
    | posterior | (B, H) -> Latents                                  |
    | prior     | log_prob (K, B, L) -> (K, B); divergence -> (B,)   |
    | decoder   | losses(x, observed, z) -> {name: (K, B)}; predict  |
    | objective | functions (model, batch, latents) -> {name: scalar}|
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, nn.Module],
        posteriors: Mapping[str, nn.Module],
        prior: Prior,
        decoders: Mapping[str, Decoder],
        objective: tuple[Objective, ...],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.posteriors = nn.ModuleDict(posteriors)
        self.prior = prior
        self.decoders = nn.ModuleDict(decoders)
        self.objective = objective

    def encode(self, x: Tensor, source: str) -> Latents:
        """Return the latents of rows (B, D) of one platform."""
        return self.posteriors[source](self.encoders[source](x))

    def decoder(self, target: str) -> Decoder:
        """Return the decoder of a platform."""
        return cast(Decoder, self.decoders[target])

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        latents = {platform: self.encode(x, platform) for platform, x in batch.inputs.items()}
        terms = {name: value for part in self.objective for name, value in part(self, batch, latents).items()}
        penalties = {name for q in latents.values() for name in q.penalties}
        return terms | {name: torch.stack([q.penalties[name] for q in latents.values()]).mean() for name in penalties}

    def code(self, x: Tensor, source: str) -> Tensor:
        return self.encode(x, source).code

    def impute(self, x: Tensor, source: str, target: str) -> Tensor:
        return self.decoder(target).predict(self.code(x, source).unsqueeze(0)).squeeze(0)
