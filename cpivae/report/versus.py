"""The tuned model beside the baselines, protein by protein, and a plain word on who wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cpivae.baselines.evaluate import Scores
from cpivae.baselines.folder import DESCRIPTION, paired_differences, read_baselines, verdicts
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import FolderError
from cpivae.report import figures as fig
from cpivae.report.findings import Finding

_LEVEL = 0.001
"""Mean difference in correlation that is next to nothing."""
_CHOSEN_HERE = (
    "But trial and epoch were chosen on these samples, and no baseline was: by how much it is ahead elsewhere, test "
    "samples say, which cpivae confirm reads."
)
_SPLIT = {"val": "validation", "test": "test"}


class Comparison(NamedTuple):
    """A model and baselines on the same rows."""

    told: list[Finding]
    verdicts: pd.DataFrame
    wide: pd.DataFrame
    """A row for each protein, direction and split: the correlation of the model and of every baseline."""
    figure: fig.Figure


def read_same(path: Path, expected: str, config_file: Path) -> Scores:
    """Read baselines that were measured on a sweep's data.

    Raises
    ------
    FolderError
        It is no folder of baselines, or they are of other data.
    """
    scores = read_baselines(path)
    if not (path / DESCRIPTION).is_file():
        raise FolderError(f"{path} is not a folder of cpivae baseline: it lacks {DESCRIPTION}.")
    found = read_yaml_mapping(path / DESCRIPTION).get("fingerprint")
    if found != expected:
        raise FolderError(
            f"the baselines in {path} were measured on other data than the sweep's (fingerprint {str(found)[:12]}, the "
            f"sweep has {expected[:12]}): other tables, samples, splits or features. Nothing was compared. Measure "
            f"them again with cpivae baseline --config {config_file} and the sweep's tables."
        )
    return scores


def compare(features: pd.DataFrame, baselines: Scores) -> Comparison | None:
    """Compare a model with baselines on the rows that both were scored on; None where there are none."""
    differences = paired_differences(features, baselines.features)
    if differences.empty:
        return None
    table = verdicts(differences)
    by = ["target", "source", "split"]
    wide = differences.pivot_table(
        index=[*by, "feature"], columns="method", values="baseline", sort=False
    ).reset_index()
    model = differences.drop_duplicates([*by, "feature"])[[*by, "feature", "model"]]
    told = [_verdict(of_direction, *map(str, about)) for about, of_direction in table.groupby(by, sort=False)]
    return Comparison(told, table, model.merge(wide, on=[*by, "feature"]), _figure(differences))


def _verdict(table: pd.DataFrame, target: str, source: str, split: str) -> Finding:
    where = f"{target.upper()} from {source.upper()}, {_SPLIT[split]} samples"
    worst = table.sort_values("mean").iloc[0]
    method, mean, n = worst["method"], worst["mean"], worst["features"]
    over = f"in mean r over {n:,} proteins (median {worst['median']:+.4f} for the model)"
    by = f"{abs(mean):.4f} {over}"
    ahead = f"The model is ahead for {worst['share_ahead']:.0%} of them."
    if abs(mean) < _LEVEL:
        head = f"A baseline is as good: {method} on {where}."
        lead = f"{'It' if mean < 0 else 'The model'} is ahead by {by}, next to nothing."
        if not round(mean, 4):
            lead = f"They are level {over}."
        return Finding("warn", head, f"{lead} {ahead}")
    if mean < 0:
        others = [other for other in table["method"][table["baseline_wins"]] if other != method]
        more = f" {', '.join(others)} also {'wins' if len(others) == 1 else 'win'}." if others else ""
        return Finding("bad", f"A baseline wins: {method} on {where}.", f"It is ahead by {by}. {ahead}{more}")
    nearest = f"The nearest is {method}, behind by {by}. {ahead}"
    if split == "val":
        return Finding("info", f"The model is ahead of every baseline on {where}.", f"{nearest} {_CHOSEN_HERE}")
    return Finding("good", f"The model beats every baseline on {where}.", nearest)


def _figure(differences: pd.DataFrame) -> fig.Figure:
    """Draw boxes from quantiles that are taken here: ten thousands of differences need not be in the page."""
    traces = []
    rows = differences[differences["split"] == "val"]
    quantiles = {"lowerfence": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "upperfence": 0.95}
    for (target, source), color in zip((("a", "b"), ("b", "a")), (fig.ACCENT, fig.SECOND), strict=True):
        of_direction = rows[(rows["target"] == target) & (rows["source"] == source)]
        by_method = of_direction.groupby("method", sort=False)["difference"]
        boxes = {name: by_method.quantile(q).to_list() for name, q in quantiles.items()}
        name = f"{target.upper()} from {source.upper()}"
        style = {"type": "box", "orientation": "h", "name": name, "marker": {"color": color}, "line": {"color": color}}
        traces.append(style | boxes | {"mean": by_method.mean().to_list(), "y": list(by_method.groups)})
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": "--ink", "width": 1}}
    height = 130 + 64 * rows["method"].nunique()
    axis = {"autorange": "reversed"}
    return fig.figure(
        traces, x="r of the model minus r of the baseline", height=height, boxmode="group", shapes=[zero], yaxis=axis
    )


def tables(found: Comparison) -> dict[str, Any]:
    """Return the tables of the page."""
    columns = {
        "method": "baseline", "target": "predicted", "source": "from", "split": "split", "features": "proteins",
        "mean": "mean difference", "median": "median difference", "share_ahead": "model ahead for",
        "baseline_wins": "baseline wins",
    }  # fmt: skip
    table = found.verdicts[list(columns)].assign(
        target=found.verdicts["target"].str.upper(),
        source=found.verdicts["source"].str.upper(),
        baseline_wins=found.verdicts["baseline_wins"].map({True: "yes", False: "no"}),
    )
    return {
        "verdicts": {
            "file": "verdicts.csv",
            "columns": list(columns.values()),
            "rows": table.astype(object).to_numpy().tolist(),
        },
        "differences": {
            "file": "by_protein.csv",
            "columns": list(found.wide.columns),
            "rows": found.wide.astype(object).to_numpy().tolist(),
        },
    }
