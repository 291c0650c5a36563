"""generative_vae: joint_vae whose decoders generate, by diffusion or against a critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from cpivae.batch import LinearMaps
from cpivae.config.base import Layers, ModelSettings, OnlyWith, Weight
from cpivae.config.variants import Variant
from cpivae.models.zoo.joint_vae import JointVAEWeights

if TYPE_CHECKING:
    from cpivae.models.latent import LatentModel


class GenerativeSettings(ModelSettings):
    """Settings of generative_vae."""

    decoder_type: Literal["ddpm", "gan"] = "ddpm"
    """ddpm (a point, refined by denoising diffusion) or gan (a point, judged by a critic)."""
    generator_layers: Layers = (256,)
    """Widths of the hidden layers of the denoiser (ddpm) or of the critic (gan)."""
    diffusion_steps: int = Field(100, ge=2, le=10_000)
    """ddpm: steps from a row to noise, in training."""
    sampling_steps: int = Field(5, ge=1, le=10_000)
    """ddpm: steps back from noise to a row, in every prediction."""
    sampling_noise: float = Field(0.0, ge=0, le=1)
    """ddpm: 0 repeats (DDIM); 1 draws another plausible row each time (DDPM)."""
    critic_learning_rate_factor: float = Field(1.0, gt=0, le=100)
    """gan: learning rate of the critic, relative to training.learning_rate."""

    @model_validator(mode="after")
    def _steps_back_are_steps(self) -> GenerativeSettings:
        if self.sampling_steps > self.diffusion_steps:
            raise ValueError(f"sampling_steps must be at most diffusion_steps ({self.diffusion_steps})")
        return self


class GenerativeWeights(JointVAEWeights):
    """What each loss term counts for."""

    noise_prediction: Annotated[Weight, OnlyWith("decoder_type", "ddpm")] = 0.1
    """With decoder_type ddpm: how well the denoiser tells noise from row."""
    adversarial: Annotated[Weight, OnlyWith("decoder_type", "gan")] = 1e-2
    """With decoder_type gan: how far predicted rows are from fooling the critic."""
    critic: Annotated[Weight, OnlyWith("decoder_type", "gan")] = 1.0
    """With decoder_type gan: how often the critic errs."""


TERMS = {"ddpm": ("noise_prediction",), "gan": ("adversarial", "critic")}


def build(
    settings: GenerativeSettings, weights: GenerativeWeights, n_features: Mapping[str, int], skips: LinearMaps
) -> LatentModel:
    """Put the untrained model together."""
    from cpivae.models import assemble, decoders, generators, latent, objectives, priors

    s, layers = settings, settings.generator_layers
    steps = (s.diffusion_steps, s.sampling_steps, s.sampling_noise)
    make: dict[str, Callable[[int], decoders.Decoder]] = {
        "ddpm": lambda d: generators.diffusion_decoder(d, s, layers, *steps),
        "gan": lambda d: generators.adversarial_decoder(d, s, layers, s.critic_learning_rate_factor),
    }
    return latent.LatentModel(
        encoders=assemble.encoders(n_features, settings),
        posteriors=assemble.gaussian_posteriors(n_features, settings),
        prior=priors.StandardNormalPrior(),
        decoders=decoders.Decoders(lambda p: make[s.decoder_type](n_features[p]), n_features, skips),
        objective=(
            objectives.reconstruction_grid,
            objectives.kl_divergence,
            objectives.ALIGNMENTS[weights.alignment_type],
            objectives.decoder_terms(*TERMS[s.decoder_type]),
        ),
    )


VARIANT = Variant(
    summary="joint_vae whose decoders generate: refined by diffusion, or judged by a critic",
    parts="Gaussian posterior, normal prior, DDPM or GAN decoder; reconstruction grid + KL + alignment + "
    "noise prediction, or adversarial + critic",
    paper="Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM); Pandey et al. 2022; Larsen et al. 2016 (VAE/GAN)",
    settings=GenerativeSettings,
    loss_weights=GenerativeWeights,
    build=build,
)
