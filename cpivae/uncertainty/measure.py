"""Trained models and prepared data: how uncertain the models are, from rows they have not learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpivae.batch import Direction
from cpivae.data.prepare import Folds, PreparedData
from cpivae.names import DIRECTIONS, Split
from cpivae.uncertainty.calibrate import Calibration, calibrate
from cpivae.uncertainty.predict import Trained, joined, predict

MOST_ROWS = 1000
"""Rows of a fold that are looked at: more make a standard deviation no surer than the 2 % it has from these."""


def measure(trained: Sequence[Trained], folds: Folds, *, test: bool) -> dict[Direction, Calibration]:
    """Learn the uncertainty of every prediction from validation rows, and try it on test rows if it may see them.

    The validation rows of a fold are predicted by the models of that fold alone.  ``test``: whether the test rows have
    been read already, by the command that owns them; otherwise they are not touched.
    """
    found = {}
    for source, target in DIRECTIONS:
        predicted, measured, units, whose = [], [], [], []
        for fold, data in enumerate(folds):
            rows = _some(data, "val")
            own = [one for one in trained if one.fold == fold]
            predicted.append(predict(own, data.measured(source, rows), source, target))
            measured.append(data.measured(target, rows))
            whose.append(_persons(data, rows))
            units.append(np.abs(data.preprocessors[target].affine().scale))
        unit, persons = np.mean(units, axis=0), pd.factorize(np.concatenate(whose))[0]
        one = calibrate(joined(predicted), np.concatenate(measured), unit, persons)
        rows = _some(folds[0], "test")
        if test and len(rows):
            new = predict(trained, folds[0].measured(source, rows), source, target)
            persons = pd.factorize(_persons(folds[0], rows))[0]
            one = one.tested(new, folds[0].measured(target, rows), persons)
        found[source, target] = one
    return found


def _some(data: PreparedData, split: Split) -> npt.NDArray[np.int64]:
    """Return the rows of a split, some of them where they are many; which, ids decide and not the order of rows."""
    rows = data.rows(split)
    rows = rows[np.argsort(data.splits.index[rows])]
    return np.random.default_rng(0).permutation(rows)[:MOST_ROWS]


def _persons(data: PreparedData, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """Return whose the rows are: a group that splits keep together, otherwise the sample itself."""
    whose = data.splits.index if data.groups is None else data.groups
    return whose.to_numpy()[rows]
