"""What the best model predicts of rows that it has not learnt from; the tables are read anew from where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cpivae.baselines.evaluate import CROSS, scored
from cpivae.baselines.methods import Predicted
from cpivae.names import PLATFORMS, Split
from cpivae.training.again import Again
from cpivae.uncertainty.predict import Trained

_ROWS = 1024
"""Rows predicted at a time."""

Table = npt.NDArray[np.float64]


class Predictions(NamedTuple):
    """A model's predictions; with folds, of every row by the model that has not learnt from it."""

    features: pd.DataFrame
    """As the baselines' :attr:`cpivae.baselines.evaluate.Scores.features`, without their column ``method``."""
    names: dict[str, list[str]]
    """Features by platform."""
    measured: dict[str, Table]
    """By platform, validation rows (N, D) in original units, NaN where nothing was measured."""
    predicted: dict[str, Table]
    """By platform, the same rows as predicted from the other platform."""
    codes: dict[str, Table]
    """By platform, latent codes (M, L) of the first fold's training and validation rows."""
    validating: npt.NDArray[np.bool_]
    """(M,) which of those validate."""
    ids: list[str]
    """(M,) and whose they are."""


def predict(again: Again, splits: Sequence[Split]) -> Predictions:
    """Predict and score the rows of these splits, of which ``val`` is the first, with a run's kept weights.

    Raises
    ------
    CpivaeError
        The run has no weights, or they are damaged; or its tables are not what they were.
    """
    folds, replicas = again.folds, again.trained  # a trial has one for each fold
    features, measured, predicted = [], [], []
    for fold, (replica, data) in enumerate(zip(replicas, folds, strict=True)):
        for split in splits:
            rows = data.rows(split)
            in_original_units = {}
            for source, target in CROSS:
                scaled = _impute(replica, data.values[source][rows], source, target)
                everything = np.arange(scaled.shape[1])
                _, of_features = scored(Predicted("", "", everything, scaled), data, target, rows)
                about: dict[str, Any] = {"source": source, "target": target, "split": split, "fold": fold}
                features.append(of_features.reset_index().assign(**about))
                in_original_units[target] = data.preprocessors[target].inverse(scaled)
            if split == "val":
                predicted.append(in_original_units)
                measured.append({p: data.measured(p, rows) for p in PLATFORMS})
    first = folds[0]
    shown = np.flatnonzero((first.splits != "test").to_numpy())
    return Predictions(
        features=pd.concat(features, ignore_index=True),
        names={p: preprocessor.features for p, preprocessor in first.preprocessors.items()},
        measured={p: np.concatenate([of_fold[p] for of_fold in measured]) for p in PLATFORMS},
        predicted={p: np.concatenate([of_fold[p] for of_fold in predicted]) for p in PLATFORMS},
        codes={p: _codes(replicas[0], first.values[p][shown], p) for p in PLATFORMS},
        validating=(first.splits.iloc[shown] == "val").to_numpy(),
        ids=[str(i) for i in first.splits.index[shown]],
    )


def _impute(replica: Trained, rows: npt.NDArray[np.float32], source: str, target: str) -> Table:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)  # some models draw
        parts = [replica.model.impute(part, source, target) for part in torch.from_numpy(rows).split(_ROWS)]
    imputed: Table = torch.cat(parts).numpy().astype(np.float64)
    return imputed


def _codes(replica: Trained, rows: npt.NDArray[np.float32], platform: str) -> Table:
    with torch.no_grad():
        parts = [replica.model.code(part, platform) for part in torch.from_numpy(rows).split(_ROWS)]
    codes: Table = torch.cat(parts).numpy().astype(np.float64)
    return codes
