"""joint_vae: one Gaussian VAE per platform, their latent spaces drawn together (after Kingma & Welling 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cpivae.config.base import AlignmentType, LossWeights, ModelSettings, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class JointVAEWeights(LossWeights):
    """What each loss term counts for."""

    reconstruction: Weight = 1.0
    """A platform predicted from itself: mean squared error over observed cells, in scaled units."""
    kl_divergence: Weight = 1e-3
    """Distance of the latent posterior from the standard normal prior, summed over latent dimensions."""
    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one: what imputation does."""
    latent_alignment: Weight = 1.0
    """Distance between the two platforms' codes of the same sample."""
    alignment_type: AlignmentType = "mse"
    """mse (between means), kl_divergence (symmetrised, between posteriors) or mmd (between draws)."""


def build(settings: ModelSettings, weights: JointVAEWeights, n_features: Mapping[str, int]) -> LatentModel:
    """Put the untrained model together for {platform: number of features}."""
    from cpivae.models import blocks, decoders, latent, objectives, posteriors, priors

    return latent.LatentModel(
        encoders={p: blocks.mlp(d, settings.encoder_layers, settings) for p, d in n_features.items()},
        posteriors={
            p: posteriors.GaussianPosterior(blocks.width_after(d, settings.encoder_layers), settings.latent_dim)
            for p, d in n_features.items()
        },
        prior=priors.StandardNormalPrior(),
        decoders={
            p: decoders.PointDecoder(blocks.mlp(settings.latent_dim, settings.decoder_layers, settings, d_out=d))
            for p, d in n_features.items()
        },
        objective=(
            objectives.reconstruction_grid,
            objectives.kl_divergence,
            objectives.ALIGNMENTS[weights.alignment_type],
        ),
    )


VARIANT = Variant(
    summary="Gaussian VAE per platform with cross-reconstruction and aligned latent spaces",
    paper="Kingma & Welling 2014, Auto-Encoding Variational Bayes",
    settings=ModelSettings,
    loss_weights=JointVAEWeights,
    build=build,
)
