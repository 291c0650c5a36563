"""The baselines: what each is, and how it predicts one platform's rows from the other's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cpivae.baselines.linear import COMPONENTS, mean_path, pls_path
from cpivae.baselines.matching import Matches
from cpivae.baselines.neighbours import NEIGHBOURS, knn_path
from cpivae.baselines.wnn import CANDIDATES, wnn_path
from cpivae.data.inner import Array, Path, best_candidate, inner_folds
from cpivae.data.linear import PENALTIES, ridge_path
from cpivae.data.prepare import PreparedData
from cpivae.data.span import Span
from cpivae.errors import CpivaeError, did_you_mean, listed
from cpivae.names import PLATFORMS

Rows = npt.NDArray[np.int64]


class Method(NamedTuple):
    """A way to predict, and what inner folds of the training rows choose between."""

    path: Path | None
    """None for the copy, which needs to know which features match."""
    candidates: Sequence[Any] = (None,)
    chooses: str = ""
    """What a candidate is."""


METHODS: Final = {
    "mean": Method(mean_path),
    "copy": Method(None),
    "ridge": Method(ridge_path, PENALTIES, "penalty"),
    "pls": Method(pls_path, COMPONENTS, "components"),
    "knn": Method(knn_path, NEIGHBOURS, "neighbours"),
    "wnn": Method(wnn_path, CANDIDATES, "directions, neighbours"),
}
"""By name, in the order in which they are shown."""


class Predicted(NamedTuple):
    """What one method predicts of a platform."""

    method: str
    setting: str
    """What the inner folds chose."""
    columns: Rows
    """(T,) the features it predicts, as columns of the platform's table."""
    values: Array
    """(n, T) in scaled units."""
    seconds: float = 0.0
    """Of fitting and predicting."""


def known_methods(names: Sequence[str]) -> list[str]:
    """Return the methods of these names in the order in which they are shown; all where none is named.

    Raises
    ------
    CpivaeError
        No method has this name.
    """
    for name in names:
        if name not in METHODS:
            raise CpivaeError(f"there is no baseline '{name}'.{did_you_mean(name, METHODS)} Known: {listed(METHODS)}.")
    return [name for name in METHODS if name in names or not names]


def predictions(
    data: PreparedData, source: str, target: str, rows: Rows, methods: Sequence[str], matches: Matches
) -> Iterator[Predicted]:
    """Predict rows (n,) of the target platform from the source, fitted on training rows only, by each method.

    All methods see the rows scaled and filled as the models do.  Both tables are taken into the span of their training
    rows, which none of them notices: new rows keep their products with, and distances from, training rows.
    """
    train, groups = data.training_rows()
    x_span, y_span = (Span.of(data.values[platform][train]) for platform in (source, target))
    x, y, new = _beside(x_span, data.values[source][train]), y_span.scores, _beside(x_span, data.values[source][rows])
    folds = inner_folds(len(train), groups)
    everything = np.arange(data.values[target].shape[1])
    for name in methods:
        started, method = time.perf_counter(), METHODS[name]
        if method.path is None:
            found = _copied(name, data, source, target, rows, train, matches)
        else:
            several = len(method.candidates) > 1
            chosen = best_candidate(method.path, method.candidates, x, y, folds) if several else method.candidates[0]
            (predicted,) = method.path(x, y, new, [chosen])
            setting = f"{method.chooses} {_shown(chosen)}" if several else ""
            found = Predicted(name, setting, everything, y_span.rows(predicted))
        yield found._replace(seconds=time.perf_counter() - started)


def _shown(candidate: Any) -> str:
    return ", ".join(f"{number:g}" for number in (candidate if isinstance(candidate, tuple) else (candidate,)))


def _beside(span: Span, rows: npt.NDArray[np.float32]) -> Array:
    """Return the coordinates of rows in the span and, in a column of its own, how far they lie from it."""
    inside = span.project(rows)
    distance = np.linalg.norm(rows - span.mean, axis=1) ** 2 - np.linalg.norm(inside, axis=1) ** 2
    return np.column_stack([inside, np.sqrt(np.maximum(distance, 0))])


def _copied(
    name: str, data: PreparedData, source: str, target: str, rows: Rows, train: Rows, matches: Matches
) -> Predicted:
    """Predict each matched feature as the other platform's value, moved to its training mean and spread.

    Of several matches the one that correlates best on training rows is taken.
    """
    x, y = data.values[source].astype(np.float64), data.values[target].astype(np.float64)
    x_columns, y_columns = (_columns_of(data, platform, matches) for platform in (source, target))
    known = (x_columns >= 0) & (y_columns >= 0)
    x_columns, y_columns = x_columns[known], y_columns[known]
    x_mean, x_spread, y_mean, y_spread = (
        part
        for table, columns in ((x, x_columns), (y, y_columns))
        for part in (table[train].mean(axis=0)[columns], table[train].std(axis=0)[columns])
    )
    ratio = y_spread / x_spread
    agreement = ((x[train][:, x_columns] - x_mean) * (y[train][:, y_columns] - y_mean)).mean(axis=0)
    order = np.argsort(-agreement / (x_spread * y_spread), kind="stable")
    columns, first = np.unique(y_columns[order], return_index=True)
    best = order[first]
    values = (x[rows][:, x_columns[best]] - x_mean[best]) * ratio[best] + y_mean[best]
    return Predicted(name, "", columns, values)


def _columns_of(data: PreparedData, platform: str, matches: Matches) -> Rows:
    """Return the column of every match's feature on a platform, -1 where the platform's table has lost it."""
    position = {feature: i for i, feature in enumerate(data.preprocessors[platform].features)}
    return np.array([position.get(match[PLATFORMS.index(platform)], -1) for match in matches], dtype=np.int64)
