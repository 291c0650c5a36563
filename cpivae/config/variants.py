"""The only list of model variants: names to recipes, loaded when asked for.

It lives below ``models`` because a variant decides which settings are valid; a recipe is found by module name, so
that checking settings needs no import of the networks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from cpivae.config.base import LossWeights, ModelSettings
from cpivae.errors import ConfigError, did_you_mean, listed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Variant:
    """A recipe: which settings a model has and how it is put together from parts."""

    summary: str
    """One line for a list of models."""
    parts: str
    """What it is made of: posterior, prior, decoder, objective."""
    paper: str
    """Where the model comes from."""
    settings: type[ModelSettings]
    loss_weights: type[LossWeights]
    build: Callable[..., nn.Module]
    """``build(model_settings, loss_weights, {platform: number of features}, {(source, target): LinearMap})`` returns
    the untrained model."""
    discloses: str = ""
    """What the trained weights may hold of single training samples; who shares a bundle is told."""


ENTRY_POINTS = "cpivae.variants"
"""Entry-point group in which an installed package offers variants of its own: ``name = module``."""

_MODULES: dict[str, str] = {
    "joint_vae": "cpivae.models.zoo.joint_vae",
    "joint_vae_plus": "cpivae.models.zoo.joint_vae_plus",
    "JointVAEVampPrior": "cpivae.models.zoo.joint_vae_vamp_prior",
    "JointIWAE": "cpivae.models.zoo.joint_iwae",
    "JointVQ": "cpivae.models.zoo.joint_vq",
    "JointMM": "cpivae.models.zoo.joint_mm",
    "res_unet": "cpivae.models.zoo.res_unet",
    "generative_vae": "cpivae.models.zoo.generative_vae",
}


@cache
def _modules() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)} | _MODULES


def variant_names() -> list[str]:
    """List the names of all variants, those of installed packages last."""
    return [*_MODULES, *(name for name in _modules() if name not in _MODULES)]


def variant_name(spelt: str) -> str:
    """Return the name of a variant that may be spelt in lower case or snake case (``joint_iwae`` for JointIWAE).

    Raises
    ------
    ConfigError
        No variant has this name; the message suggests the nearest one.
    """
    known = {plain(name): name for name in variant_names()}
    if plain(spelt) not in known:
        hint = did_you_mean(spelt, known.values())
        raise ConfigError(
            "model.model_type", [f"model '{spelt}' is unknown.{hint} Known: {listed(known.values(), 20)}"]
        )
    return known[plain(spelt)]


def load_variant(name: str) -> Variant:
    """Return a variant by its name, however it is spelt.

    Raises
    ------
    ConfigError
        No variant has this name.
    """
    recipe: Variant = importlib.import_module(_modules()[variant_name(name)]).VARIANT
    return recipe


def plain(name: str) -> str:
    """Return a name without its capitals, underscores and hyphens: how a variant may be spelt."""
    return name.replace("_", "").replace("-", "").lower()
