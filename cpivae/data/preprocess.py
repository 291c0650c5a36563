"""From measured values to what a model sees and back: one scikit-learn pipeline per platform, fitted on training rows.

The order is log, scale, fill: scaling statistics come from observed cells alone, and gaps are filled in scaled
units, where the neighbours of ``knn`` are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import skops.io
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from cpivae.config.schema import DataSettings
from cpivae.errors import BundleError, DataError

Floats = npt.NDArray[np.float64]

SCALERS = {"zscore": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


TANGENT_AT = 0.5
"""Where the logarithm goes over into its tangent, and ..."""
TANGENT_RUN = TANGENT_AT * math.log(2)
"""... how far the tangent runs while it climbs by one."""


class ShiftedLog2(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """log2(x + shift) per feature, ``shift_`` the smallest number >= 0 that lifts every training value to 1 or more.

    Below half of that, where only new values lie, the curve goes on as its tangent: every number has an image, and
    every image comes back as the number it was.
    """

    def fit(self, X: Floats, y: None = None) -> ShiftedLog2:  # noqa: ARG002
        self.shift_ = np.maximum(0.0, 1.0 - np.nanmin(X, axis=0))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Floats) -> Floats:
        lifted = X + self.shift_
        image: Floats = np.where(
            lifted < TANGENT_AT,
            math.log2(TANGENT_AT) + (lifted - TANGENT_AT) / TANGENT_RUN,
            np.log2(np.maximum(lifted, TANGENT_AT)),
        )
        return image

    def inverse_transform(self, X: Floats) -> Floats:
        tangent = TANGENT_AT + (X - math.log2(TANGENT_AT)) * TANGENT_RUN
        lifted: Floats = np.where(math.log2(TANGENT_AT) > X, tangent, np.exp2(X))
        return lifted - self.shift_


_TRUSTED = [f"{ShiftedLog2.__module__}.{ShiftedLog2.__qualname__}", "numpy.dtype"]
"""What a preprocessing file may hold beside the types that skops itself trusts."""


class Affine(NamedTuple):
    """How scaled units become original ones: ``y = center + scale * x``, where logged the inverse of ShiftedLog2."""

    center: Floats
    scale: Floats
    shift: Floats | None

    def slope(self, scaled: npt.NDArray[Any]) -> Floats:
        """Return how far original values (n, D) move when their logarithm moves by one; 1 where none is taken."""
        if self.shift is None:
            return np.ones(scaled.shape)
        logged = self.center + self.scale * scaled.astype(np.float64)
        return math.log(2) * np.exp2(np.maximum(logged, math.log2(TANGENT_AT)))


@dataclass(frozen=True)
class Preprocessor:
    """A platform's features and its fitted pipeline."""

    features: list[str]
    """Names of the features that the model knows, in its order."""
    pipeline: Pipeline
    dropped: dict[str, str] = field(default_factory=dict)
    """Features of the table that the model does not know, with the reason."""

    def transform(self, values: Floats) -> npt.NDArray[np.float32]:
        """Scale and fill rows (n, D) of ``features``, NaN where missing: (n, D) without gaps."""
        return np.ascontiguousarray(self.pipeline.transform(values), dtype=np.float32)

    def scaled(self, values: Floats) -> Floats:
        """Scale rows (n, D) as :meth:`transform` does, and leave gaps as they are."""
        for name, step in self.pipeline.steps:
            values = values if name == "fill" else step.transform(values)
        return values

    def inverse(self, scaled: npt.NDArray[Any]) -> Floats:
        """Take rows (n, D) from scaled to original units."""
        values: Floats = np.asarray(scaled, dtype=np.float64)
        for step in reversed(self.pipeline.steps):
            if step[0] != "fill":
                values = step[1].inverse_transform(values)
        return values

    @property
    def training_rows_inside(self) -> int:
        """Number of training rows that the fitted pipeline holds: all of them for ``knn``, otherwise none."""
        fill = self.pipeline.named_steps["fill"]
        return len(fill._fit_X) if isinstance(fill, KNNImputer) else 0

    def affine(self) -> Affine:
        """Return the inverse in closed form, for metrics on tensors."""
        d = len(self.features)
        scaler = self.pipeline.named_steps["scale"]
        center = scaler.inverse_transform(np.zeros((1, d)))[0]
        scale = scaler.inverse_transform(np.ones((1, d)))[0] - center
        log = self.pipeline.named_steps.get("log")
        return Affine(center, scale, None if log is None else log.shift_)


def fit_preprocessor(
    table: pd.DataFrame, platform: str, settings: DataSettings, dropped: Mapping[str, str] | None = None
) -> Preprocessor:
    """Fit a platform's pipeline on training rows (n, D), NaN where missing.

    ``dropped`` features, with the reason for each, are left out; by default those that are unusable in these rows.

    Raises
    ------
    DataError
        No feature is left.
    """
    dropped = unusable(table, settings) if dropped is None else dict(dropped)
    kept = table.drop(columns=list(dropped))
    if kept.shape[1] == 0:
        first = "".join(f" (first: {name}, {why})" for name, why in list(dropped.items())[:1])
        raise DataError(
            f"platform {platform}: none of the {table.shape[1]} features can be used on the {len(table)} training "
            f"rows{first}. Check the table, or data.missing_value_strategy."
        )
    steps: list[tuple[str, Any]] = [("log", ShiftedLog2())] if settings.log_enabled(platform) else []
    steps += [("scale", SCALERS[settings.normalization_method]()), ("fill", _filler(settings))]
    pipeline = Pipeline(steps).fit(kept.to_numpy())
    return Preprocessor(list(kept.columns), pipeline, dropped)


def save_preprocessor(preprocessor: Preprocessor, path: Path) -> None:
    """Write the fitted pipeline; reading it back executes nothing."""
    skops.io.dump(preprocessor.pipeline, path)


def load_preprocessor(path: Path, features: Sequence[str]) -> Preprocessor:
    """Read a pipeline, trusting scikit-learn's types and our own transformer only.

    Raises
    ------
    BundleError
        The file is damaged, or holds any other type.
    """
    try:
        pipeline = skops.io.load(path, trusted=_TRUSTED)
        fits = isinstance(pipeline, Pipeline) and pipeline.n_features_in_ == len(features)
    except Exception as error:  # skops raises many kinds for a damaged or hostile file
        raise BundleError(f"{path} is not a preprocessing file of this program: {error}") from None
    if not fits:
        raise BundleError(f"{path} does not fit the {len(features)} feature names beside it.")
    return Preprocessor(list(features), pipeline)


def unusable(table: pd.DataFrame, settings: DataSettings, detected: pd.DataFrame | None = None) -> dict[str, str]:
    """Return the features (columns) that are not to be learnt from training rows (n, D), with the reason for each.

    ``detected`` (n, D): which values are not below the limit of detection; by default all that are there.
    """
    values = table.to_numpy()
    observed = ~np.isnan(values)
    rare = (observed if detected is None else detected.to_numpy()).mean(axis=0) < settings.min_detected
    low = np.where(observed, values, np.inf).min(axis=0)
    high = np.where(observed, values, -np.inf).max(axis=0)
    reasons: dict[str, str] = {}
    for name, n, flat, seldom in zip(table.columns, observed.sum(axis=0), low == high, rare, strict=True):
        if n == 0:
            reasons[name] = "all missing"
        elif flat:
            reasons[name] = "constant"
        elif seldom:
            reasons[name] = f"detected more rarely than data.min_detected {settings.min_detected:g}"
        elif settings.missing_value_strategy == "drop" and n < len(table):
            reasons[name] = "missing values"
    return reasons


def _filler(settings: DataSettings) -> SimpleImputer | KNNImputer:
    if settings.missing_value_strategy == "knn":
        return KNNImputer(n_neighbors=5, weights="distance")
    # "drop" has left no gaps in training rows; other rows may have some.
    strategy = "median" if settings.missing_value_strategy == "median" else "mean"
    return SimpleImputer(strategy=strategy)
