"""Settings whose best trials are pressed against the edge of the space: there may be better ones beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

from cpivae.names import Goal
from cpivae.report import figures as fig
from cpivae.tuning.record import TrialRecord, ranked
from cpivae.tuning.study import Placed

MIN_TRIALS = 5
"""Trials with a score, below which the best of them say nothing about an edge."""
_NEAR = 0.05
_CLOSE = 0.15
"""Shares of a range: the best trial lies as near to the edge as the first, and half of the best as the second."""


class Pressed(NamedTuple):
    """A setting at the edge."""

    name: str
    side: str
    """low or high."""
    best: float
    edge: float
    advice: str
    at_limit: bool
    """Whether the setting itself ends there, so that there is nothing to widen."""


def best_few(records: Sequence[TrialRecord], goal: Goal) -> list[TrialRecord]:
    """Return the best fifth of the trials with a score, three to ten of them."""
    scored = ranked(records, goal)
    return scored[: min(10, max(3, len(scored) // 5))]


def pressed(along: Sequence[Placed], few: Sequence[TrialRecord], n_scored: int) -> list[Pressed]:
    """Return the settings whose best trial, and at least half of the best few, lie at one edge of their range."""
    return [found for p in along if n_scored >= MIN_TRIALS and (found := _pressed(p, few)) is not None]


def _pressed(placed: Placed, few: Sequence[TrialRecord]) -> Pressed | None:
    at = [placed.positions[r.number] for r in few if r.number in placed.positions]
    if not at or few[0].number not in placed.positions:
        return None
    best = placed.values[few[0].number]
    if at[0] <= _NEAR and median(at) <= _CLOSE:
        return Pressed(placed.name, "low", best, placed.low, _advice(placed, low=True), at_limit=placed.low == 0)
    if at[0] >= 1 - _NEAR and median(at) >= 1 - _CLOSE:
        return Pressed(placed.name, "high", best, placed.high, _advice(placed, low=False), at_limit=False)
    return None


def _advice(placed: Placed, *, low: bool) -> str:
    if low and placed.low == 0:
        return "0 is as low as it goes: nothing to widen"
    if placed.listed:
        return f"add a value {'below' if low else 'above'} {placed.low if low else placed.high:g}"
    if placed.log:
        ratio = math.sqrt(placed.high / placed.low)
        ends = (placed.low / ratio, placed.high) if low else (placed.low, placed.high * ratio)
    else:
        span = (placed.high - placed.low) / 2
        ends = (
            (max(0.0, placed.low - span) if placed.low >= 0 else placed.low - span, placed.high)
            if low
            else (placed.low, placed.high + span)
        )
    return f"try a range from {ends[0]:.2g} to {ends[1]:.2g}; cpivae check says whether the setting allows it"


def section(
    along: Sequence[Placed], records: Sequence[TrialRecord], goal: Goal
) -> tuple[dict[str, Any], fig.Figure | None, dict[str, Any]]:
    """Return what the page says of edges, their figure, and the table of the settings at one."""
    scored, few = ranked(records, goal), best_few(records, goal)
    found = pressed(along, few, len(scored))
    enough = len(scored) >= MIN_TRIALS and bool(along)
    told = {
        "n_scored": len(scored),
        "n_few": len(few),
        "enough": enough,
        "pressed": [p._asdict() for p in found],
    }
    # As text: a learning rate and a number of layers share no decimals.
    rows = [[p.name, p.side, f"{p.best:.4g}", f"{p.edge:.4g}", p.advice] for p in found]
    columns = ["setting", "edge", "best trial", "edge at", "what to do"]
    return told, _figure(along, few) if enough else None, {"file": "edges.csv", "columns": columns, "rows": rows}


def _figure(along: Sequence[Placed], few: Sequence[TrialRecord]) -> fig.Figure:
    """Draw a line from edge to edge for each setting, and the best few trials on it."""
    numbers = [r.number for r in few]
    rows = [(p, n) for p in reversed(along) for n in numbers if n in p.positions]
    hover = [f"trial {n}: {p.values[n]:.4g} ({p.low:g} to {p.high:g})" for p, n in rows]
    best = [i for i, (_, n) in enumerate(rows) if n == numbers[0]]

    def trace(chosen: Sequence[int], name: str, color: str, size: int) -> dict[str, Any]:
        x, y, text = (
            [v[i] for i in chosen]
            for v in ([p.positions[n] for p, n in rows], [fig.label(p.name) for p, _ in rows], hover)
        )
        return fig.points(
            x, y, name, color, text=text, hovertemplate="%{y}<br>%{text}<extra></extra>", marker={"size": size}
        )

    others = [i for i in range(len(rows)) if i not in set(best)]
    bands = [
        {
            "type": "rect",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": a,
            "x1": b,
            "fillcolor": "--bad-soft",
            "line": {"width": 0},
            "layer": "below",
        }
        for a, b in ((-0.02, _NEAR), (1 - _NEAR, 1.02))
    ]
    layout: dict[str, Any] = {
        "shapes": bands,
        "height": 110 + 24 * len(along),
        "xaxis": {"range": [-0.02, 1.02], "tickvals": [0, 1], "ticktext": ["low edge", "high edge"]},
        "yaxis": {"automargin": True, "type": "category"},
    }
    return fig.figure(
        [trace(others, f"best {len(few)} trials", fig.MUTED, 8), trace(best, "best trial", fig.ACCENT, 12)], **layout
    )
