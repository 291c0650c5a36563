"""The settings type of each variant, made of that variant's own model and loss weights."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import create_model

from cpivae.config.schema import Config
from cpivae.config.variants import load_variant, variant_name


@cache
def config_class(variant: str) -> type[Config]:
    """Return the settings type of a variant: :class:`Config` with that variant's own model and loss weights.

    Raises
    ------
    ConfigError
        No variant has this name.
    """
    recipe = load_variant(variant)
    own: dict[str, Any] = {
        "model": (recipe.settings, recipe.settings(model_type=variant_name(variant))),
        "loss_weights": (recipe.loss_weights, recipe.loss_weights()),
    }
    made: type[Config] = create_model(f"{Config.__name__}[{variant}]", __base__=Config, __module__=__name__, **own)
    return made


def __getattr__(name: str) -> type[Config]:
    """Find a variant's settings type by its name, as unpickling does."""
    if name.startswith(f"{Config.__name__}[") and name.endswith("]"):
        return config_class(name.removeprefix(f"{Config.__name__}[").removesuffix("]"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
