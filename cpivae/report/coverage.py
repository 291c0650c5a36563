"""Calibration of the standard deviations that ``impute --uncertainty`` writes: how often the truth lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from cpivae.baselines.evaluate import CROSS
from cpivae.names import Split, plural
from cpivae.report import figures as fig
from cpivae.report.findings import Finding
from cpivae.uncertainty.calibrate import PARTS
from cpivae.uncertainty.coverage import INTERVAL, LEVELS, Coverage, half_width
from cpivae.uncertainty.files import Calibrations

_CLOSE: Final = 0.03
"""Difference between observed and nominal coverage that is no matter, however sure it is."""
_SPLIT: Final = {"val": "validation", "test": "test"}
_DASH: Final = {"val": "solid", "test": "dash"}


class _Line(NamedTuple):
    """The levels of one direction on the rows of one split."""

    source: str
    target: str
    split: Split
    levels: list[Coverage]

    @property
    def about(self) -> tuple[str, str, str]:
        """What is predicted, from what, in which samples."""
        return self.target.upper(), self.source.upper(), _SPLIT[self.split]


def section(
    calibrations: Calibrations, splits: Sequence[Split]
) -> tuple[dict[str, Any], fig.Figure | None, dict[str, Any]]:
    """Return what the page says of intervals on the rows of these splits, their figure and their table."""
    lines = [
        _Line(*direction, split, levels)
        for direction in CROSS
        for split in splits
        if (levels := [one for one in calibrations[direction].levels if one.split == split])
    ]
    told = {
        "verdicts": [_verdict(line)._asdict() for line in lines],
        "parts": PARTS,
        "level": f"{INTERVAL:.0%}",
        "widest": f"{2 * half_width(INTERVAL):.1f}",
        "tested": any(line.split == "test" for line in lines),
    }
    table = {
        "file": "coverage.csv",
        "columns": [
            "predicted", "from", "samples", "nominal", "observed", "standard error", "values", "median width / sd"
        ],
        "rows": [
            [*line.about, c.level, c.observed, c.error, c.cells, c.width] for line in lines for c in line.levels
        ],
    }  # fmt: skip
    return told, _figure(lines) if lines else None, table


def _off(found: Coverage) -> int:
    """Return -1 where intervals are too narrow, by more than chance and what is no matter, 1 where too wide, or 0."""
    off = found.observed - found.level
    return int(np.sign(off)) if abs(off) > max(_CLOSE, 2 * found.error) else 0


def _verdict(line: _Line) -> Finding:
    fitted = next(one for one in line.levels if one.level == INTERVAL)
    target, source, samples = line.about
    kind, what = {
        0: ("good", "They hold."),
        1: ("warn", "They are wider than need be."),
        -1: ("bad", "They are too narrow: new samples will lie outside more often than the level says."),
    }[_off(fitted)]
    if np.isnan(fitted.error):
        kind, what = "info", "Of the samples of a single person nothing can be said."
    head = f"{target} from {source}: intervals of {INTERVAL:.0%} hold {fitted.observed:.1%} of the {samples} values"
    text = f"({fitted.cells:,} of {plural(fitted.rows, 'sample')}). {what}"
    if others := [one for one in line.levels if one.level != INTERVAL and _off(one)]:
        kind = "warn" if kind == "good" else kind
        told = ", ".join(f"{one.level:.0%} hold {one.observed:.1%}" for one in others)
        text += f" Errors are not normally distributed, so that intervals of other levels are off: {told}."
    return Finding(kind, head, text)


def _figure(lines: Sequence[_Line]) -> fig.Figure:
    ends = [LEVELS[0] - 0.1, 1.0]
    traces = [fig.line(ends, ends, "as promised", fig.MUTED, line={"dash": "dot", "width": 1.5}, hoverinfo="skip")]
    colors = {target: color for (_, target), color in zip(CROSS, (fig.ACCENT, fig.SECOND), strict=True)}
    traces += [
        fig.line(
            [one.level for one in line.levels],
            [one.observed for one in line.levels],
            "{} from {}, {} samples".format(*line.about),
            colors[line.target],
            mode="lines+markers",
            line={"dash": _DASH[line.split]},
            marker={"size": 8},
            hovertemplate="nominal %{x:.0%}, observed %{y:.1%}<extra></extra>",
        )
        for line in lines
    ]
    axis = {"range": [ends[0], 1.02], "tickformat": ".0%"}
    return fig.figure(traces, x="nominal coverage", y="observed coverage", height=420, xaxis=axis, yaxis=axis)
