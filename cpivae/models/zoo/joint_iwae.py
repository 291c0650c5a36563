"""JointIWAE: several draws per row, weighted by how well they explain it (Burda et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import AlignmentType, LossWeights, ModelSettings, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class IWAESettings(ModelSettings):
    """Settings of JointIWAE."""

    n_draws: int = Field(8, ge=1, le=1024)
    """Draws per row; more make the bound tighter and each step dearer."""
    gradient_estimator: Literal["standard", "dreg"] = "standard"
    """standard, or dreg (doubly reparameterised: less noise for the encoder when there are many draws)."""
    noise_scale: float = Field(0.7, gt=0, le=10)
    """Standard deviation of a measured value around its prediction, in scaled units; smaller trusts the data more."""


class IWAEWeights(LossWeights):
    """What each loss term counts for."""

    importance_weighted_bound: Weight = 1.0
    """Negative importance-weighted bound per feature: reconstruction and distance from the prior in one."""
    cross_reconstruction: Weight = 1.0
    """A platform predicted from the other one: mean squared error over observed cells, in scaled units."""
    latent_alignment: Weight = 1.0
    """Distance between the two platforms' codes of the same sample."""
    alignment_type: AlignmentType = "mse"
    """mse (between means), kl_divergence (symmetrised, between posteriors) or mmd (between draws)."""


def build(
    settings: IWAESettings, weights: IWAEWeights, n_features: Mapping[str, int], skips: LinearMaps
) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, bounds, latent, objectives, priors

    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors=assemble.gaussian_posteriors(n_features, settings, settings.n_draws),
        prior=priors.StandardNormalPrior(),
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(
            bounds.importance_weighted_bound(
                settings.noise_scale, doubly_reparameterised=settings.gradient_estimator == "dreg"
            ),
            objectives.cross_reconstruction,
            objectives.ALIGNMENTS[weights.alignment_type],
        ),
    )


VARIANT = Variant(
    summary="several latent draws per sample, weighted by how well they explain it: a tighter bound",
    parts="Gaussian posterior with K draws, normal prior, point decoder; importance-weighted bound (DReG optional) + "
    "cross-reconstruction + alignment",
    paper="Burda et al. 2016, Importance Weighted Autoencoders; Tucker et al. 2019 (DReG)",
    settings=IWAESettings,
    loss_weights=IWAEWeights,
    build=build,
)
