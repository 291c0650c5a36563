"""Scoring baselines on the splits and with the metrics of the models, per feature and per platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import torch

from cpivae.baselines.matching import Matches
from cpivae.baselines.methods import Predicted, predictions
from cpivae.data.prepare import Folds, PreparedData
from cpivae.names import DIRECTIONS, Split
from cpivae.training.metrics import OriginalScale, PredictionScores

CROSS: Final = tuple((source, target) for source, target in DIRECTIONS if source != target)

BY: Final = ["method", "source", "target", "split"]
"""What a line of a summary is about."""
OF_FEATURES: Final = [*BY, "fold", "feature", "n", "corr", "r2", "rmse"]
"""Columns of the table of features."""


class Scores(NamedTuple):
    """How well each method predicts."""

    summary: pd.DataFrame
    """A row for each of :data:`BY`: the metrics, means over folds; ``corr_mean_matched``, the mean correlation of those
    features alone that a copy can predict; the chosen settings; the seconds of fitting and predicting."""
    features: pd.DataFrame
    """A row for each of :data:`BY`, fold and feature: n observed values, corr, r2, rmse in original units.  Features
    that a method does not predict are absent."""


def evaluate(
    folds: Folds,
    splits: Sequence[Split],
    methods: Sequence[str],
    matches: Matches,
    tell: Callable[[str], None] = lambda _: None,
) -> Scores:
    """Fit every method on the training rows of every fold, in both directions, and score it on other rows.

    Parameters
    ----------
    splits : which rows are scored; no others are read beside those for training.
    methods : of :data:`cpivae.baselines.methods.METHODS`.
    matches : for the copy.
    tell : called with a line whenever a method is done.
    """
    summaries, features = [], []
    for fold, data in enumerate(folds):
        rows = {split: data.rows(split) for split in splits}
        for source, target in CROSS:
            copied = _matched(data, target, matches)
            for predicted in predictions(data, source, target, np.concatenate([*rows.values()]), methods, matches):
                end = 0
                for split, of_split in rows.items():
                    start, end = end, end + len(of_split)
                    about = {"method": predicted.method, "source": source, "target": target, "split": split}
                    part = predicted._replace(values=predicted.values[start:end])
                    totals, of_features = scored(part, data, target, of_split)
                    both = of_features.loc[of_features.index.isin(copied), "corr"]
                    chosen = {"setting": predicted.setting, "seconds": predicted.seconds}
                    summaries.append(about | {"fold": fold} | totals | {"corr_mean_matched": both.mean()} | chosen)
                    features.append(of_features.reset_index().assign(**about, fold=fold))
                tell(f"{_place(fold, folds)}{target} from {source}: {predicted.method} took {predicted.seconds:.1f} s")
    return Scores(_over_folds(pd.DataFrame(summaries)), pd.concat(features)[OF_FEATURES])


def scored(
    predicted: Predicted, data: PreparedData, target: str, rows: np.ndarray
) -> tuple[dict[str, float], pd.DataFrame]:
    """Score a prediction of rows (n,) of a platform by a baseline, or by a model.

    Returns
    -------
    The metrics by name (:data:`cpivae.names.STATISTICS`), and a table with a row for each feature that was predicted.
    """
    columns = predicted.columns
    scale = OriginalScale(data.preprocessors[target].affine())
    everything = torch.from_numpy(np.zeros((len(rows), data.values[target].shape[1])))
    everything[:, columns] = torch.from_numpy(predicted.values)
    measured = torch.from_numpy(data.values[target][rows])
    scores = PredictionScores(scale.origin[columns])
    observed = torch.from_numpy(data.observed[target][rows][:, columns])
    scores.update(scale(everything)[:, columns], scale(measured)[:, columns], observed)
    names = [data.preprocessors[target].features[i] for i in columns]
    of_features = pd.DataFrame(
        {name: value.numpy() for name, value in scores.of_features().items()}, index=pd.Index(names, name="feature")
    ).astype({"n": int})
    return {name: value.item() for name, value in scores.compute().items()}, of_features


def _matched(data: PreparedData, target: str, matches: Matches) -> set[str]:
    known = {p: set(preprocessor.features) for p, preprocessor in data.preprocessors.items()}
    return {b if target == "b" else a for a, b in matches if a in known["a"] and b in known["b"]}


def _over_folds(rows: pd.DataFrame) -> pd.DataFrame:
    grouped = rows.groupby(BY, sort=False)
    means = grouped.mean(numeric_only=True).drop(columns="fold")
    means["setting"] = grouped["setting"].agg(lambda settings: "; ".join(dict.fromkeys(settings)))
    means.insert(0, "folds", grouped["fold"].nunique())
    return means.reset_index()


def _place(fold: int, folds: Folds) -> str:
    return f"fold {fold + 1} of {len(folds)}, " if len(folds) > 1 else ""
