"""From two joined tables to arrays that any number of runs can train on: split first, then fit, then transform."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpivae.batch import Direction, LinearMap
from cpivae.config.schema import DataSettings
from cpivae.data.linear import fit_linear_maps
from cpivae.data.preprocess import Preprocessor, fit_preprocessor
from cpivae.data.split import MIN_SAMPLES, split_samples
from cpivae.data.tables import Pair, read_groups, read_pair
from cpivae.errors import DataError, listed
from cpivae.names import PLATFORMS, SPLITS, Split


@dataclass(frozen=True)
class PreparedData:
    """What runs need of the data, and nothing of the settings they vary.  Arrays are shared between processes."""

    splits: pd.Series
    """Split of every sample, indexed by id; row i of every array is sample i."""
    values: dict[str, npt.NDArray[np.float32]]
    """(N, D) scaled rows by platform, gaps filled."""
    observed: dict[str, npt.NDArray[np.bool_]]
    """(N, D) which cells were measured."""
    preprocessors: dict[str, Preprocessor]
    sources: dict[str, Any]
    """Where the tables came from: path, SHA-256, shape, and what the join dropped; plain data."""
    groups: pd.Series | None = None
    """Group (person) of every sample, where the splits keep groups together."""

    def rows(self, split: Split) -> npt.NDArray[np.int64]:
        """Return the row numbers of a split."""
        return np.flatnonzero((self.splits == split).to_numpy())

    @property
    def n_features(self) -> dict[str, int]:
        """Number of features the model knows, by platform."""
        return {platform: len(p.features) for platform, p in self.preprocessors.items()}

    @cached_property
    def linear_maps(self) -> dict[Direction, LinearMap]:
        """Ridge regression between the platforms, by (source, target); fitted on training rows when first asked for.

        What has been fitted travels with the data to other processes.
        """
        train = self.rows("train")
        train = train[np.argsort(self.splits.index[train])]  # folds by id, not by the order of rows
        groups = None if self.groups is None else self.groups.to_numpy()[train]
        return fit_linear_maps({platform: values[train] for platform, values in self.values.items()}, groups)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what a model learns from: the samples and their splits, the features, and the files."""
        files = [source.get("sha256") for source in self.sources.values()]
        features = [p.features for p in self.preprocessors.values()]
        described = json.dumps([list(self.splits.items()), features, files])
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """Size of the arrays in memory."""
        tables = [*self.values.values(), *self.observed.values()]
        fitted = self.__dict__.get("linear_maps", {}).values()
        return sum(array.nbytes for array in (*tables, *fitted))

    def report(self) -> list[str]:
        """Say in a few lines what was split and dropped."""
        counts = ", ".join(f"{len(self.rows(split))} {split}" for split in SPLITS)
        lines = [f"{len(self.splits)} samples split into {counts}"]
        for platform, preprocessor in self.preprocessors.items():
            by_reason: dict[str, list[str]] = {}
            for feature, reason in preprocessor.dropped.items():
                by_reason.setdefault(reason, []).append(feature)
            lines += [
                f"warning: platform {platform}: {len(names)} features dropped "
                f"({reason} in training rows): {listed(names)}"
                for reason, names in by_reason.items()
            ]
        return lines


def prepare(pair: Pair, settings: DataSettings) -> PreparedData:
    """Split the samples, fit one pipeline per platform on training rows only, and transform every row.

    Raises
    ------
    DataError
        Too few samples for the splits, no usable feature, or nothing to score in the validation rows.
    """
    ids = pair.frames["a"].index
    groups = None
    if settings.groups is not None and settings.samples_table is not None:
        groups = read_groups(settings.samples_table, settings.groups, ids)
    splits = split_samples(list(ids), settings.splits, settings.random_seed, groups)
    is_training = (splits == "train").to_numpy()
    values, observed, preprocessors = {}, {}, {}
    for platform in PLATFORMS:
        table = pair.frames[platform]
        preprocessor = fit_preprocessor(table[is_training], platform, settings)
        measured = table[preprocessor.features].to_numpy()
        values[platform] = preprocessor.transform(measured)
        observed[platform] = ~np.isnan(measured)
        preprocessors[platform] = preprocessor
        _require_scorable(platform, measured[(splits == "val").to_numpy()])
    return PreparedData(splits, values, observed, preprocessors, _describe(pair, preprocessors), groups)


def read_and_prepare(paths: dict[str, Path], settings: DataSettings) -> tuple[PreparedData, list[str]]:
    """Read two tables and prepare them; also return lines that tell the user what happened."""
    pair = read_pair(paths, transpose=settings.transpose)
    data = prepare(pair, settings)
    return data, pair.join_report() + data.report()


def _require_scorable(platform: str, validation_rows: npt.NDArray[np.float64]) -> None:
    enough = (~np.isnan(validation_rows)).sum(axis=0) >= MIN_SAMPLES["val"]
    varies = np.array([np.unique(column[~np.isnan(column)]).size > 1 for column in validation_rows.T])
    if not (enough & varies).any():
        raise DataError(
            f"platform {platform}: no feature has {MIN_SAMPLES['val']} observed values that vary among the "
            f"{len(validation_rows)} validation rows, so no correlation exists. Enlarge data.splits.val."
        )


def _describe(pair: Pair, preprocessors: dict[str, Preprocessor]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for platform in PLATFORMS:
        source = pair.sources.get(platform)
        described[f"platform_{platform}"] = {
            "path": None if source is None else str(source.path.resolve()),
            "sha256": None if source is None else source.sha256,
            "samples": len(pair.frames[platform]),
            "samples_without_partner": pair.unmatched[platform],
            "features_used": len(preprocessors[platform].features),
            "features_dropped": preprocessors[platform].dropped,
        }
    return described
