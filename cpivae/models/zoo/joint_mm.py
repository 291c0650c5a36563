"""JointMM: one latent code for all platforms, whose posterior is a mixture of theirs (Shi et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cpivae.batch import LinearMaps
from cpivae.config.base import LossWeights, ModelSettings, Weight
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class MixtureSettings(ModelSettings):
    """Settings of JointMM."""

    n_draws: int = Field(4, ge=1, le=1024)
    """Draws per row from each platform's posterior."""
    prior: Literal["normal", "laplace"] = "normal"
    """normal, or laplace (codes gather along the axes)."""
    noise_scale: float = Field(0.7, gt=0, le=10)
    """Standard deviation of a measured value around its prediction, in scaled units; smaller trusts the data more."""


class MixtureWeights(LossWeights):
    """What each loss term counts for."""

    mmvae_bound: Weight = 1.0
    """Negative mixture-of-experts bound per feature: every reconstruction and the distance from the prior in one."""


def build(
    settings: MixtureSettings,
    weights: MixtureWeights,  # noqa: ARG001 the one term has no kinds
    n_features: Mapping[str, int],
    skips: LinearMaps,
) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, bounds, latent, priors

    prior = {"normal": priors.StandardNormalPrior, "laplace": priors.LaplacePrior}[settings.prior]
    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors=assemble.gaussian_posteriors(n_features, settings, settings.n_draws),
        prior=prior(),
        decoders=assemble.point_decoders(n_features, settings, skips),
        objective=(bounds.mixture_of_experts_bound(settings.noise_scale),),
    )


VARIANT = Variant(
    summary="one latent code shared by the platforms; each platform's posterior has to explain both",
    parts="mixture of Gaussian experts with K draws, normal or Laplace prior, point decoder; MMVAE bound",
    paper="Shi et al. 2019, Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models",
    settings=MixtureSettings,
    loss_weights=MixtureWeights,
    build=build,
)
