"""The only list of model variants: names to recipes, loaded when asked for.

It lives below ``models`` because a variant decides which settings are valid; a recipe is found by module name, so
that checking settings needs no import of the networks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpivae.config.base import LossWeights, ModelSettings
from cpivae.errors import ConfigError, did_you_mean, listed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Variant:
    """A recipe: which settings a model has and how it is put together from parts."""

    summary: str
    """One line for a list of models."""
    paper: str
    """Where the model comes from."""
    settings: type[ModelSettings]
    loss_weights: type[LossWeights]
    build: Callable[[Any, Any, Mapping[str, int]], nn.Module]
    """``build(model_settings, loss_weights, {platform: number of features})`` returns the untrained model."""


_MODULES: dict[str, str] = {
    "joint_vae": "cpivae.models.zoo.joint_vae",
}


def variant_names() -> list[str]:
    """List the names of all variants."""
    return list(_MODULES)


def load_variant(name: str) -> Variant:
    """Return a variant by its name.

    Raises
    ------
    ConfigError
        No variant has this name; the message suggests the nearest one.
    """
    if name not in _MODULES:
        hint = did_you_mean(name, _MODULES)
        raise ConfigError("model.model_type", [f"model '{name}' is unknown.{hint} Known: {listed(_MODULES)}"])
    recipe: Variant = importlib.import_module(_MODULES[name]).VARIANT
    return recipe
