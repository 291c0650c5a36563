"""From settings to an untrained model."""

from __future__ import annotations

from collections.abc import Mapping

from cpivae.batch import LinearMaps
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant
from cpivae.models.base import CrossPlatformModel


def build_model(
    config: Config, n_features: Mapping[str, int], linear_maps: LinearMaps | None = None
) -> CrossPlatformModel:
    """Build the model that ``config.model`` describes for {platform: number of features}.

    Initial weights come from torch's global random state: seed it first.  ``linear_maps``, by (source, target), are
    needed where ``config.model.linear_skip`` asks for them, and left aside elsewhere.
    """
    skips = (linear_maps or {}) if config.model.linear_skip != "none" else {}
    assert skips or config.model.linear_skip == "none"
    model = load_variant(config.model.model_type).build(config.model, config.loss_weights, n_features, skips)
    assert isinstance(model, CrossPlatformModel)
    return model
