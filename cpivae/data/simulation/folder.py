"""The folder of a simulated pair: two tables that every command reads, and what was planted in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from cpivae.config.yaml import dump_yaml
from cpivae.data.readers import write_table
from cpivae.data.simulation.correlations import CKB_QUARTILES
from cpivae.data.simulation.losses import GAPS
from cpivae.data.simulation.pair import SimulatedPair, simulate_pair
from cpivae.files import folder_written_whole, require_new_folder, write_text
from cpivae.names import PLATFORMS

MAP: Final = "feature_map.csv"
FEATURES: Final = "features.csv"
PLANTED: Final = "planted.yaml"

_QUARTILES: Final = (0.25, 0.5, 0.75)


def write_simulated_pair(output_dir: Path, n: int, n_features: Mapping[str, int], seed: int) -> dict[str, Any]:
    """Simulate a pair (see :func:`simulate_pair`) into a new folder, and return what was planted.

    ``platform_a.csv`` and ``platform_b.csv`` are the tables, ``feature_map.csv`` has the matched features with their
    planted Spearman correlations, ``features.csv`` every feature's panel and limit of detection, ``planted.yaml`` the
    rest.

    Raises
    ------
    FolderError
        ``output_dir`` is a file, or a folder with contents.
    DataError
        Too few samples or features.
    """
    require_new_folder(output_dir)
    pair = simulate_pair(n, n_features, seed)
    planted = described(pair, seed)
    with folder_written_whole(output_dir) as folder:
        for platform, frame in pair.frames.items():
            write_table(frame.round(4), folder / f"platform_{platform}.csv")
        for name, table in ((MAP, pair.matched), (FEATURES, pair.features)):
            write_text(folder / name, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
        write_text(folder / PLANTED, dump_yaml(planted))
    return planted


def described(pair: SimulatedPair, seed: int) -> dict[str, Any]:
    """Say in plain data what was planted and what can be measured of it."""
    lacking = pair.missing_panels
    return {
        "seed": seed,
        "samples": len(pair.frames["a"]),
        "features": {p: pair.frames[p].shape[1] for p in PLATFORMS},
        "matched_features": len(pair.matched),
        "quartiles_of_matched_correlations": {
            "published": list(CKB_QUARTILES),
            "planted_spearman": _rounded(np.quantile(pair.matched["spearman"], _QUARTILES)),
            "measured_pearson": _rounded(_measured(pair, "pearson").quantile(list(_QUARTILES))),
            "measured_spearman": _rounded(_measured(pair, "spearman").quantile(list(_QUARTILES))),
        },
        "missing_at_random_per_feature": list(GAPS),
        "missing_cells": {p: round(float(pair.frames[p].isna().to_numpy().mean()), 4) for p in PLATFORMS},
        "missing_panels": {
            p: dict(zip(of["sample"], of["panel"], strict=True)) for p, of in lacking.groupby("platform")
        },
    }


def _measured(pair: SimulatedPair, method: str) -> pd.Series:
    a, b = (pair.frames[p][pair.matched[f"feature_{p}"]] for p in PLATFORMS)
    if method == "spearman":
        both = a.notna().to_numpy() & b.notna().to_numpy()
        a, b = a.where(both).rank(), b.where(both).rank()
    return a.corrwith(b.set_axis(a.columns, axis="columns"))


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
