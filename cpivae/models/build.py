"""From settings to an untrained model."""

from __future__ import annotations

from collections.abc import Mapping

from cpivae.config.schema import Config
from cpivae.config.variants import load_variant
from cpivae.models.base import CrossPlatformModel


def build_model(config: Config, n_features: Mapping[str, int]) -> CrossPlatformModel:
    """Build the model that ``config.model`` describes for {platform: number of features}.

    Initial weights come from torch's global random state: seed it first.
    """
    model = load_variant(config.model.model_type).build(config.model, config.loss_weights, n_features)
    assert isinstance(model, CrossPlatformModel)
    return model
