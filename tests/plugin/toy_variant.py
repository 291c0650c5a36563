"""toy_variant: the smallest model there can be, from outside the package: a linear map in each direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import LossWeights, ModelSettings, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class ToySettings(ModelSettings):
    """Settings of toy_variant."""

    wobble: float = Field(0.0, ge=0, le=1)
    """Standard deviation of noise on the code during training."""


class ToyWeights(LossWeights):
    """What each loss term counts for."""

    reconstruction: Weight = 1.0
    """A platform predicted from itself."""
    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one."""


def build(
    settings: ToySettings,
    weights: ToyWeights,  # noqa: ARG001
    n_features: Mapping[str, int],
    skips: LinearMaps,
) -> LatentModel:
    """Put the untrained model together."""
    import torch
    from torch import Tensor, nn

    from cpivae.models import assemble, latent, objectives, posteriors

    class Wobble(nn.Module):
        def __init__(self, d: int) -> None:
            super().__init__()
            # A decoder's batch norm would take a bias out again: it would never learn, which the contract refuses.
            self.head = nn.Linear(d, settings.latent_dim, bias=not settings.batch_norm)

        def forward(self, h: Tensor) -> posteriors.Latents:
            code = self.head(h)
            noise = settings.wobble * torch.randn_like(code) if self.training else 0
            return posteriors.Latents(z=(code + noise).unsqueeze(0), code=code)

    return latent.LatentModel(
        encoders={p: nn.Identity() for p in n_features},
        posteriors={p: Wobble(d) for p, d in n_features.items()},
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(objectives.reconstruction_grid,),
    )


VARIANT = Variant(
    summary="a linear map in each direction",
    parts="no posterior, no prior, point decoder; reconstruction grid",
    paper="none",
    settings=ToySettings,
    loss_weights=ToyWeights,
    build=build,
)
