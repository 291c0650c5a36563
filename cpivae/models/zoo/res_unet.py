"""res_unet: a U-shaped residual network per direction, no latent space in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cpivae.batch import LinearMaps
from cpivae.config.base import Layers, LossWeights, ModelSettings, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.direct import DirectModel


class UNetSettings(ModelSettings):
    """Settings of res_unet; latent_dim is the width of its narrowest layer."""

    encoder_layers: Layers = (256,)
    """Widths of the hidden layers on the way down."""
    decoder_layers: Layers = (256,)
    """Widths of the hidden layers on the way up; each meets the layer of the same depth on the way down."""
    use_residual_blocks: bool = True
    """Add each hidden layer's input to its output (through a linear map where the widths differ)."""


class UNetWeights(LossWeights):
    """What each loss term counts for."""

    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one: mean squared error over observed cells, in scaled units."""
    cycle_reconstruction: Weight = 0.1
    """A platform predicted from its own prediction of the other one."""


def build(
    settings: UNetSettings,
    weights: UNetWeights,  # noqa: ARG001 its terms have no kinds
    n_features: Mapping[str, int],
    skips: LinearMaps,
) -> DirectModel:
    """Put the untrained model together."""
    from cpivae.models import direct

    return direct.DirectModel(
        nets={
            (source, target): direct.UNet(n_features[source], n_features[target], settings)
            for source in n_features
            for target in n_features
            if source != target
        },
        linear_maps=skips,
    )


VARIANT = Variant(
    summary="a U-shaped residual network from each platform to the other, without a common latent space",
    parts="no posterior, no prior; residual U-shaped map with skips; cross-reconstruction + cycle",
    paper="Ronneberger et al. 2015, U-Net; He et al. 2016, ResNet; Zhu et al. 2017 (cycle)",
    settings=UNetSettings,
    loss_weights=UNetWeights,
    build=build,
)
