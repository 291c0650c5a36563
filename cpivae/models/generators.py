"""Decoders that generate, put together from settings."""

from __future__ import annotations

from cpivae.config.base import Layers, ModelSettings
from cpivae.models.adversarial import AdversarialDecoder, Critic
from cpivae.models.assemble import decoder_net
from cpivae.models.blocks import mlp, with_spectral_norm
from cpivae.models.decoders import PointDecoder
from cpivae.models.diffusion import DiffusionDecoder


def diffusion_decoder(
    d: int, settings: ModelSettings, layers: Layers, n_steps: int, sampling_steps: int, sampling_noise: float
) -> DiffusionDecoder:
    """Return an untrained diffusion decoder of ``d`` features; ``layers`` are those of its denoiser."""
    # A batch holds rows at every noise level: its mean is no statistic of any.
    plain = settings.model_copy(update={"batch_norm": False})
    denoiser = mlp(d + settings.latent_dim + 2 * DiffusionDecoder.N_FREQUENCIES, layers, plain, d_out=d)
    return DiffusionDecoder(PointDecoder(decoder_net(d, settings)), denoiser, n_steps, sampling_steps, sampling_noise)


def adversarial_decoder(
    d: int, settings: ModelSettings, layers: Layers, learning_rate_factor: float
) -> AdversarialDecoder:
    """Return an untrained decoder of ``d`` features; ``layers`` are those of its critic."""
    # Batch statistics would tell the critic which batch a row is from.
    plain = settings.model_copy(update={"batch_norm": False, "dropout_rate": 0.0})
    judge = with_spectral_norm(mlp(d, layers, plain, d_out=1), keep_last=False)
    return AdversarialDecoder(PointDecoder(decoder_net(d, settings)), Critic(judge, learning_rate_factor))
