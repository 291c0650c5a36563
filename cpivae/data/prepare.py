"""From two joined tables to arrays that any number of runs can train on: split first, then fit, then transform."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpivae.batch import Direction, LinearMap
from cpivae.config.schema import DataSettings
from cpivae.data.linear import fit_linear_maps
from cpivae.data.measured import LOGARITHMIC, NOT_SAID, looks_linear
from cpivae.data.preprocess import Preprocessor, fit_preprocessor, unusable
from cpivae.data.split import MIN_SAMPLES, split_into_folds, split_samples
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

    def measured(self, platform: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return rows (n, D) in units of the table, NaN where nothing was measured."""
        values = self.preprocessors[platform].inverse(self.values[platform][rows])
        return np.where(self.observed[platform][rows], values, np.nan)

    @property
    def n_features(self) -> dict[str, int]:
        """Number of features the model knows, by platform."""
        return {platform: len(p.features) for platform, p in self.preprocessors.items()}

    @cached_property
    def linear_maps(self) -> dict[Direction, LinearMap]:
        """Ridge regression between the platforms, by (source, target); fitted on training rows when first asked for.

        What has been fitted travels with the data to other processes.
        """
        train, groups = self.training_rows()
        return fit_linear_maps({platform: values[train] for platform, values in self.values.items()}, groups)

    def training_rows(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.object_] | None]:
        """Return the training rows' numbers by id, not by the order of the file, and their groups: for inner folds."""
        train = self.rows("train")
        train = train[np.argsort(self.splits.index[train])]
        return train, None if self.groups is None else self.groups.to_numpy()[train]

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what a model learns from: the samples and their splits, the features, and the files."""
        files = [source.get("sha256") for source in self.sources.values()]
        features = [p.features for p in self.preprocessors.values()]
        described = json.dumps([list(self.splits.items()), features, files])
        return hashlib.sha256(described.encode()).hexdigest()

    def few(self, most: Mapping[Split, int]) -> PreparedData:
        """Return so many rows of each split at most, and none of a split that is not named; what is fitted stays."""
        rows = np.sort(np.concatenate([self.rows(split)[:n] for split, n in most.items()]))
        chosen = replace(
            self,
            splits=self.splits.iloc[rows],
            values={platform: values[rows] for platform, values in self.values.items()},
            observed={platform: mask[rows] for platform, mask in self.observed.items()},
            groups=None,
        )
        if "linear_maps" in self.__dict__:
            chosen.__dict__["linear_maps"] = self.linear_maps
        return chosen

    @property
    def nbytes(self) -> int:
        """Size of the arrays in memory."""
        tables = [*self.values.values(), *self.observed.values()]
        fitted = self.__dict__.get("linear_maps", {}).values()
        return sum(array.nbytes for array in (*tables, *fitted))


Folds = Sequence[PreparedData]
"""The data prepared for every fold; one for a plain split."""


def prepare(pair: Pair, settings: DataSettings) -> PreparedData:
    """Prepare the data for the one split that ``settings`` ask for; see :func:`prepare_folds`."""
    (prepared,) = prepare_folds(pair, settings)
    return prepared


def prepare_folds(pair: Pair, settings: DataSettings) -> Folds:
    """Split the samples, fit one pipeline per platform on training rows only, and transform every row.

    All of it once per fold, where the settings ask for folds.  A feature that is unusable in the training rows of one
    fold is dropped from all, so that their models know the same features.

    Raises
    ------
    DataError
        Too few samples for the splits, no usable feature, or nothing to score in the validation rows.
    """
    ids, groups = list(pair.frames["a"].index), None
    if settings.groups is not None and settings.samples_table is not None:
        groups = read_groups(settings.samples_table, settings.groups, pair.frames["a"].index)
    if settings.folds is None:
        splits = [split_samples(ids, settings.splits, settings.random_seed, groups)]
    else:
        splits = split_into_folds(
            ids, settings.splits, settings.random_seed, groups, settings.folds, settings.fold_seed
        )
    dropped: dict[str, dict[str, str]] = {platform: {} for platform in PLATFORMS}
    for platform, split in product(PLATFORMS, splits):
        rows = (split == "train").to_numpy()
        detected = pair.detected.get(platform)
        dropped[platform] |= unusable(
            pair.frames[platform][rows], settings, None if detected is None else detected[rows]
        )
    return [_prepare(pair, settings, split, dropped, groups) for split in splits]


def _prepare(
    pair: Pair,
    settings: DataSettings,
    splits: pd.Series,
    dropped: Mapping[str, Mapping[str, str]],
    groups: pd.Series | None,
) -> PreparedData:
    is_training = (splits == "train").to_numpy()
    values, observed, preprocessors = {}, {}, {}
    for platform in PLATFORMS:
        table = pair.frames[platform]
        preprocessor = fit_preprocessor(table[is_training], platform, settings, dropped[platform])
        measured = table[preprocessor.features].to_numpy()
        values[platform] = preprocessor.transform(measured)
        observed[platform] = ~np.isnan(measured)
        preprocessors[platform] = preprocessor
        _require_scorable(platform, measured[(splits == "val").to_numpy()], settings)
    return PreparedData(splits, values, observed, preprocessors, _describe(pair, preprocessors), groups)


def read_and_prepare(
    paths: dict[str, Path], settings: DataSettings, staged_in: Path | None = None
) -> tuple[Folds, list[str]]:
    """Read two tables (see :func:`read_pair`) and prepare them; also return lines that tell what happened."""
    pair = read_pair(paths, settings, staged_in=staged_in)
    folds = prepare_folds(pair, settings)
    return folds, pair.join_report() + _scale_report(pair, settings) + split_report(folds)


def _scale_report(pair: Pair, settings: DataSettings) -> list[str]:
    """Name the logarithms that look forgotten or taken twice; none is ever taken without being asked for."""
    lines = []
    for platform, source in pair.sources.items():
        key = f"data.log_transform.platform_{platform}.enabled"
        if settings.log_enabled(platform) and source.origin.units in LOGARITHMIC:
            lines.append(
                f"warning: platform {platform} is in {source.origin.units} already, and {key} takes the logarithm again"
            )
        elif (
            not settings.log_enabled(platform)
            and source.origin.units == NOT_SAID
            and looks_linear(pair.frames[platform])
        ):
            lines.append(
                f"warning: the values of platform {platform} look linear (RFU, counts), not logarithmic; they are used "
                f"as they are unless {key} is true"
            )
    return lines


def fingerprint(folds: Folds) -> str:
    """Return the digest of what the models of all folds learn from."""
    parts = [data.fingerprint for data in folds]
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


def split_report(folds: Folds) -> list[str]:
    """Say in a few lines what was split and dropped."""
    data = folds[0]
    if len(folds) == 1:
        lines = [f"{len(data.splits)} samples split into {_counts(data)}"]
    else:
        sizes = sorted({len(fold.rows("val")) for fold in folds})
        held_out = "-".join(map(str, dict.fromkeys([sizes[0], sizes[-1]])))
        n_test = len(data.rows("test"))
        lines = [
            f"{len(data.splits)} samples: {n_test} test, {len(data.splits) - n_test} in {len(folds)} folds, each "
            f"validating on {held_out}"
        ]
        if sizes[-1] > 2 * sizes[0]:
            lines.append(
                "warning: the folds differ much in size, because groups stay together: batches of some may hold more "
                "rows than training.batch_size"
            )
    for platform, preprocessor in data.preprocessors.items():
        by_reason: dict[str, list[str]] = {}
        for feature, reason in preprocessor.dropped.items():
            by_reason.setdefault(reason, []).append(feature)
        lines += [
            f"warning: platform {platform}: {len(names)} features dropped ({reason} in training rows): {listed(names)}"
            for reason, names in by_reason.items()
        ]
    return lines


def _counts(data: PreparedData) -> str:
    return ", ".join(f"{len(data.rows(split))} {split}" for split in SPLITS)


def _require_scorable(platform: str, validation_rows: npt.NDArray[np.float64], settings: DataSettings) -> None:
    enough = (~np.isnan(validation_rows)).sum(axis=0) >= MIN_SAMPLES["val"]
    varies = np.array([np.unique(column[~np.isnan(column)]).size > 1 for column in validation_rows.T])
    if not (enough & varies).any():
        remedy = "Enlarge data.splits.val." if settings.folds is None else "Take fewer folds."
        raise DataError(
            f"platform {platform}: no feature has {MIN_SAMPLES['val']} observed values that vary among the "
            f"{len(validation_rows)} validation rows, so no correlation exists. {remedy}"
        )


def _describe(pair: Pair, preprocessors: dict[str, Preprocessor]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for platform in PLATFORMS:
        source = pair.sources.get(platform)
        described[f"platform_{platform}"] = {
            "path": None if source is None else str(source.path.resolve()),
            "sha256": None if source is None else source.sha256,
            **({} if source is None else asdict(source.origin) | {"notes": list(source.origin.notes)}),
            "samples": len(pair.frames[platform]),
            "samples_without_partner": pair.unmatched[platform],
            "features_used": len(preprocessors[platform].features),
            "features_dropped": preprocessors[platform].dropped,
        }
    return described
