"""joint_vae_plus: joint_vae with a bent posterior, a smooth decoder and a disentangled, unhurried code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import Layers, ModelSettings, Ramp, Weight
from cpivae.config.variants import Variant
from cpivae.models.zoo.joint_vae import JointVAEWeights

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class PlusSettings(ModelSettings):
    """Settings of joint_vae_plus."""

    decoder_layers: Layers = (128,)
    """Widths of the decoders' hidden layers, from the latent code outwards; the spectral norm acts on these."""
    batch_norm: bool = False
    """Normalise each hidden layer over the batch; in a decoder that would undo the spectral norm."""
    use_residual_blocks: bool = True
    """Add each hidden layer's input to its output (through a linear map where the widths differ)."""
    n_flows: int = Field(4, ge=0, le=64)
    """Planar flows that the posterior's draws pass through; 0 leaves them Gaussian."""
    free_bits: float = Field(0.01, ge=0, le=10)
    """Nats per latent dimension that the KL term may keep: below that it no longer pulls."""
    spectral_norm: bool = True
    """Keep the largest singular value of each hidden layer of the decoders at 1."""


class PlusWeights(JointVAEWeights):
    """What each loss term counts for."""

    kl_divergence_ramp: Ramp = Ramp(shape="cyclical", epochs=10)
    """How kl_divergence rises during training."""
    total_correlation: Weight = 1e-3
    """Dependence between the dimensions of the latent code, per dimension."""


def build(
    settings: PlusSettings, weights: PlusWeights, n_features: Mapping[str, int], skips: LinearMaps
) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, blocks, decoders, flows, latent, objectives, priors

    def decoder(platform: str) -> decoders.PointDecoder:
        net = assemble.decoder_net(n_features[platform], settings)
        # The last layer stays free: its scale is that of the data.
        return decoders.PointDecoder(blocks.with_spectral_norm(net, keep_last=True) if settings.spectral_norm else net)

    posteriors, shared = assemble.gaussian_posteriors(n_features, settings), {}
    if settings.n_flows:
        shared["flows"] = chain = flows.Flows(settings.latent_dim, settings.n_flows)
        posteriors = {p: flows.FlowPosterior(q, chain) for p, q in posteriors.items()}
    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors=posteriors,
        prior=priors.StandardNormalPrior(),
        decoders=decoders.Decoders(decoder, n_features, skips),
        objective=(
            objectives.reconstruction_grid,
            objectives.free_bits(settings.free_bits),
            objectives.total_correlation,
            objectives.ALIGNMENTS[weights.alignment_type],
        ),
        shared=shared,
    )


VARIANT = Variant(
    summary="joint_vae with planar flows, spectral norms, free bits, cyclical KL and a total-correlation penalty",
    parts="Gaussian posterior + planar flows, normal prior, point decoder with spectral norm; reconstruction grid + KL "
    "with free bits + total correlation + alignment",
    paper="Rezende & Mohamed 2015; Kingma et al. 2016; Miyato et al. 2018; Chen et al. 2018; Fu et al. 2019",
    settings=PlusSettings,
    loss_weights=PlusWeights,
    build=build,
)
