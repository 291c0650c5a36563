"""How well each protein is predicted: tables, histograms, and predicted against measured values, a byte each."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from cpivae.baselines.evaluate import CROSS
from cpivae.report import figures as fig
from cpivae.report.predictions import Predictions, Table

MAX_POINTS: Final = 400
"""Samples that are drawn for a protein, at most."""
MAX_BYTES: Final = 1_600_000
"""Bytes for the values of all proteins: what is left of a page of 6 MB is for Plotly and the tables."""
MISSING: Final = 255
"""The byte of a value that was not measured."""
_LEVELS = 254
_BINS = {"start": -1.0, "end": 1.0, "size": 0.05}


def tables(features: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a table of each platform's proteins by validation score, best first, means over folds."""
    found = {}
    for _, target in CROSS:
        rows = features[(features["target"] == target) & (features["split"] == "val")]
        of_feature = rows.groupby("feature", sort=False).agg({"corr": "mean", "r2": "mean", "rmse": "mean", "n": "sum"})
        found[target] = of_feature.reset_index().sort_values("corr", ascending=False, na_position="last", kind="stable")
    return found


def histogram(by_platform: dict[str, pd.DataFrame]) -> fig.Figure:
    """Draw what share of the proteins has which correlation, in both directions."""
    traces = []
    for (source, target), color in zip(CROSS, (fig.ACCENT, fig.SECOND), strict=True):
        corr = by_platform[target]["corr"].dropna().to_numpy()
        counts, edges = np.histogram(corr, bins=np.arange(-1, 1.0001, _BINS["size"]))
        middles = (edges[:-1] + edges[1:]) / 2
        hover = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)]
        traces.append(
            {
                "type": "bar", "x": middles, "y": counts / max(1, corr.size),
                "name": f"{target.upper()} from {source.upper()}",
                "marker": {"color": color}, "opacity": 0.72, "width": _BINS["size"] * 0.94, "text": hover,
                "textposition": "none", "hovertemplate": "r %{text}: %{y:.1%} of proteins<extra></extra>",
            }
        )  # fmt: skip
    corr = np.concatenate([t["corr"].dropna().to_numpy() for t in by_platform.values()])
    low = min(0.0, float(corr.min()) if corr.size else 0.0)
    y_axis = {"tickformat": ".0%"}
    x_axis = {"range": [max(-1.0, low) - 0.03, 1.03]}
    return fig.figure(
        traces,
        x="correlation of predicted and measured",
        y="share of proteins",
        barmode="overlay",
        xaxis=x_axis,
        yaxis=y_axis,
    )


def cards(by_platform: dict[str, pd.DataFrame]) -> list[dict[str, str]]:
    """Return the sums of both directions."""
    shown = []
    for source, target in CROSS:
        corr = by_platform[target]["corr"].dropna()
        direction = f"{target.upper()} from {source.upper()}"
        without = len(by_platform[target]) - len(corr)
        note = f"median {corr.median():.4f}, {len(corr):,} proteins" + (
            f", {without} without a score" if without else ""
        )
        shown.append({"name": f"{direction}: mean r", "value": f"{corr.mean():.4f}", "note": note})
        well = float((corr >= 0.7).mean()) if len(corr) else 0.0
        note = f"{float((corr < 0.3).mean()):.0%} below 0.3"
        shown.append({"name": f"{direction}: proteins with r of 0.7 or more", "value": f"{well:.0%}", "note": note})
    return shown


def table_for_page(platform: str, table: pd.DataFrame) -> dict[str, Any]:
    """Return a platform's proteins as a table of the page."""
    columns = {"feature": "protein", "corr": "r", "r2": "R²", "rmse": "RMSE", "n": "values"}
    rows = table[list(columns)].astype(object).to_numpy().tolist()
    return {"file": f"proteins_{platform}.csv", "columns": list(columns.values()), "rows": rows}


def pack(predictions: Predictions, by_platform: dict[str, pd.DataFrame]) -> tuple[dict[str, Any], bytes]:
    """Return what the search box needs, and the values of every protein as bytes.

    For each platform, for each protein in the order of its table: the measured values of ``n`` samples, then the
    predicted ones, each from 0 at its smallest to 254 at its largest; ``ranges`` holds both ends of both.
    """
    n_rows = len(predictions.measured[CROSS[0][1]])
    n_proteins = sum(len(t) for t in by_platform.values())
    n = max(1, min(n_rows, MAX_POINTS, MAX_BYTES // (2 * n_proteins)))
    rows = np.unique(np.linspace(0, n_rows - 1, n).round().astype(int))
    described: dict[str, Any] = {"n": len(rows), "of": n_rows, "missing": MISSING, "levels": _LEVELS, "platforms": {}}
    packed, start = [], 0
    for source, target in CROSS:
        at = {name: i for i, name in enumerate(predictions.names[target])}
        columns = np.array([at[name] for name in by_platform[target]["feature"]])
        both = [table[target][np.ix_(rows, columns)].T for table in (predictions.measured, predictions.predicted)]
        coded, ranges = zip(*(_coded(values) for values in both), strict=True)
        block = np.stack(coded, axis=1).tobytes()  # protein, measured or predicted, sample
        described["platforms"][target] = {"source": source, "start": start, "ranges": np.concatenate(ranges, axis=1)}
        packed.append(block)
        start += len(block)
    return described, b"".join(packed)


def _coded(values: Table) -> tuple[np.ndarray, Table]:
    """Return rows (D, n) as bytes, and the smallest and largest value (D, 2) of each."""
    finite = np.isfinite(values)
    low = np.where(finite, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, values, -np.inf).max(axis=1, initial=-np.inf)
    span = np.where(high > low, high - low, 1.0)
    with np.errstate(invalid="ignore"):
        levels = np.round((values - low[:, None]) / span[:, None] * _LEVELS)
    coded = np.where(finite, levels, MISSING).astype(np.uint8)
    return coded, np.stack([low, high], axis=1)
