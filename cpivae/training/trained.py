"""Weights and what was fitted to folds, put together to models that predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cpivae.config.schema import Config
from cpivae.errors import BundleError
from cpivae.models.build import build_model
from cpivae.names import RunFiles, fold_of
from cpivae.training.folder import read_preprocessors
from cpivae.training.linear_skip import read_linear_maps
from cpivae.uncertainty.predict import Trained


def load_trained(path: Path, config: Config, weights: Sequence[Mapping[str, torch.Tensor]]) -> list[Trained]:
    """Return the models of a run folder or a bundle, in evaluation mode, one for every replica's ``weights``.

    Raises
    ------
    BundleError
        The weights do not fit the settings.
    """
    folds = [
        (read_preprocessors(fold), read_linear_maps(fold, config))
        for fold in RunFiles.folds(path, config.data.folds or 1)
    ]
    trained = []
    for r, of_replica in enumerate(weights):
        fold = fold_of(r, len(folds))
        preprocessors, linear_maps = folds[fold]
        n_features = {platform: len(p.features) for platform, p in preprocessors.items()}
        model = build_model(config, n_features, linear_maps)
        try:
            model.load_state_dict(of_replica)
        except RuntimeError as error:
            raise BundleError(
                f"the weights in {path} do not fit its {RunFiles.CONFIG}: {str(error).splitlines()[0]}"
            ) from None
        trained.append(Trained(model.eval(), preprocessors, fold))
    return trained
