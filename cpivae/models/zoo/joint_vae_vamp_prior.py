"""JointVAEVampPrior: joint_vae with a prior that is learnt from pseudo-inputs (Tomczak & Welling 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import ModelSettings
from cpivae.config.variants import Variant
from cpivae.models.zoo.joint_vae import JointVAEWeights

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class VampPriorSettings(ModelSettings):
    """Settings of JointVAEVampPrior."""

    n_components: int = Field(50, ge=1, le=10_000)
    """Pseudo-inputs per platform, each a component of the prior; they start as training rows and are learnt."""


def build(
    settings: VampPriorSettings,
    weights: JointVAEWeights,
    n_features: Mapping[str, int],
    skips: LinearMaps,
) -> LatentModel:
    """Put the untrained model together."""
    from torch import nn

    from cpivae.models import assemble, latent, objectives, priors

    encoders = assemble.encoders(n_features, settings)
    posteriors = assemble.gaussian_posteriors(n_features, settings)
    encode = {p: nn.Sequential(encoders[p], posteriors[p]) for p in n_features}
    return latent.LatentModel(
        encoders=encoders,
        posteriors=posteriors,
        prior=priors.VampPrior(encode, n_features, settings.n_components),
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(
            objectives.reconstruction_grid,
            objectives.kl_divergence,
            objectives.ALIGNMENTS[weights.alignment_type],
        ),
    )


VARIANT = Variant(
    summary="joint_vae whose prior is a learnt mixture, so that codes need not gather around zero",
    parts="Gaussian posterior, VampPrior, point decoder; reconstruction grid + KL + alignment",
    paper="Tomczak & Welling 2018, VAE with a VampPrior",
    settings=VampPriorSettings,
    loss_weights=JointVAEWeights,
    build=build,
    discloses="the pseudo-inputs of its prior began as scaled rows of training samples and may still resemble them",
)
