"""What most recipes have in common: parts for every platform, in the widths that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from cpivae.batch import LinearMaps
from cpivae.config.base import ModelSettings
from cpivae.models.blocks import mlp, width_after
from cpivae.models.decoders import Decoders, PointDecoder
from cpivae.models.posteriors import GaussianPosterior

Widths = Mapping[str, int]
"""{platform: number of features}."""


def encoders(n_features: Widths, settings: ModelSettings) -> dict[str, nn.Module]:
    """Return a feed-forward encoder per platform."""
    return {p: mlp(d, settings.encoder_layers, settings) for p, d in n_features.items()}


def gaussian_posteriors(n_features: Widths, settings: ModelSettings, n_draws: int = 1) -> dict[str, nn.Module]:
    """Return a Gaussian posterior per platform, on top of :func:`encoders`."""
    widths = {p: width_after(d, settings.encoder_layers) for p, d in n_features.items()}
    return {p: GaussianPosterior(h, settings.latent_dim, n_draws) for p, h in widths.items()}


def decoder_net(d_out: int, settings: ModelSettings) -> nn.Sequential:
    """Return the network from a latent code to ``d_out`` features."""
    return mlp(settings.latent_dim, settings.decoder_layers, settings, d_out=d_out)


def point_decoders(n_features: Widths, settings: ModelSettings, skips: LinearMaps) -> Decoders:
    """Return decoders that predict a point."""
    return Decoders(lambda p: PointDecoder(decoder_net(n_features[p], settings)), n_features, skips)
