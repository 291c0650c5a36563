"""Two files of a run folder or a bundle: what is known of every feature, and of every direction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cpivae.batch import Direction
from cpivae.errors import FolderError
from cpivae.files import write_text
from cpivae.names import DIRECTIONS, RunFiles, prediction
from cpivae.uncertainty.calibrate import Calibration
from cpivae.uncertainty.coverage import HALF_WIDTH, INTERVAL

Calibrations = Mapping[Direction, Calibration]
"""By (source, target)."""

FILES = (RunFiles.FEATURES, RunFiles.CALIBRATION)
"""Both are there, or neither."""

_COLUMNS = ("n", "corr", "residual_sd", "spread")
_NUMBERS = ("follows_spread", "rows", "validation_coverage", "test_coverage")


def write_calibrations(folder: Path, calibrations: Calibrations, features: Mapping[str, list[str]]) -> None:
    """Write ``features.csv``, a row per prediction and feature, and ``calibration.json``."""
    tables = [
        pd.DataFrame(
            {"prediction": prediction(source, target), "feature": features[target]}
            | {name: getattr(one, name) for name in _COLUMNS}
        )
        for (source, target), one in calibrations.items()
    ]
    described: dict[str, Any] = {"interval": INTERVAL, "half_width_in_sd": HALF_WIDTH}
    for direction, one in calibrations.items():
        described[prediction(*direction)] = {name: _or_none(getattr(one, name)) for name in _NUMBERS}
    write_text(folder / RunFiles.FEATURES, pd.concat(tables).to_csv(index=False, lineterminator="\n"))
    write_text(folder / RunFiles.CALIBRATION, json.dumps(described, indent=2) + "\n")


def read_calibrations(folder: Path, features: Mapping[str, list[str]]) -> dict[Direction, Calibration]:
    """Read what :func:`write_calibrations` wrote; nothing where it has not been written.

    Raises
    ------
    FolderError
        A file is damaged, or of other features than these.
    """
    if not all((folder / name).is_file() for name in FILES):
        return {}
    try:
        # As text: a protein may be called NA, and Python reads every number back as it was.
        table = pd.read_csv(folder / RunFiles.FEATURES, dtype=str, keep_default_na=False)
        described = json.loads((folder / RunFiles.CALIBRATION).read_text(encoding="utf-8"))
        found = {}
        for source, target in DIRECTIONS:
            name = prediction(source, target)
            rows = table[table["prediction"] == name]
            if rows["feature"].tolist() != features[target]:
                raise ValueError(f"its features for {name} are not those of the model")
            arrays: dict[str, Any] = {c: np.array([float(v or "nan") for v in rows[c]]) for c in _COLUMNS}
            arrays["n"] = arrays["n"].astype(np.int64)
            numbers = {key: described[name][key] for key in _NUMBERS}
            numbers["validation_coverage"] = _or_nan(numbers["validation_coverage"])
            found[source, target] = Calibration(**arrays, **numbers)
    except (ValueError, KeyError, TypeError, pd.errors.ParserError) as error:
        raise FolderError(f"{' or '.join(FILES)} in {folder} is damaged ({error}).") from None
    return found


def _or_none(value: float | None) -> float | None:
    """JSON has no NaN."""
    return None if value is None or np.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
