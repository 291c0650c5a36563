"""joint_vae: one Gaussian VAE per platform, their latent spaces drawn together (after Kingma & Welling 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cpivae.batch import LinearMaps
from cpivae.config.base import AlignmentType, LossWeights, ModelSettings, Ramp, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class JointVAEWeights(LossWeights):
    """What each loss term counts for."""

    reconstruction: Weight = 1.0
    """A platform predicted from itself: mean squared error over observed cells, in scaled units."""
    kl_divergence: Weight = 1e-3
    """Distance of the latent posterior from the prior, summed over latent dimensions."""
    kl_divergence_ramp: Ramp = Ramp()
    """How kl_divergence rises during training."""
    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one: what imputation does."""
    latent_alignment: Weight = 1.0
    """Distance between the two platforms' codes of the same sample."""
    alignment_type: AlignmentType = "mse"
    """mse (between means), kl_divergence (symmetrised, between posteriors) or mmd (between draws)."""


def build(
    settings: ModelSettings,
    weights: JointVAEWeights,
    n_features: Mapping[str, int],
    skips: LinearMaps,
) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, latent, objectives, priors

    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors=assemble.gaussian_posteriors(n_features, settings),
        prior=priors.StandardNormalPrior(),
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(
            objectives.reconstruction_grid,
            objectives.kl_divergence,
            objectives.ALIGNMENTS[weights.alignment_type],
        ),
    )


VARIANT = Variant(
    summary="Gaussian VAE per platform with cross-reconstruction and aligned latent spaces",
    parts="Gaussian posterior, normal prior, point decoder; reconstruction grid + KL + alignment",
    paper="Kingma & Welling 2014, Auto-Encoding Variational Bayes",
    settings=ModelSettings,
    loss_weights=JointVAEWeights,
    build=build,
)
