"""Plotly figures as plain data.  Colours are named by what they mean; the page puts in those of its theme."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Figure = dict[str, Any]

ACCENT, MUTED, GOOD, WARN, BAD, SECOND, LINE = (
    "--accent", "--muted", "--good", "--warn", "--bad", "--second", "--line"
)  # fmt: skip
"""The page's CSS variables."""

OF_STATE: Final = {
    "complete": ACCENT,
    "stopped": WARN,
    "running": SECOND,
    "interrupted": MUTED,
    "diverged": BAD,
    "failed": BAD,
}
"""What colour a trial has, by how it ended."""
TOLD: Final = {"stopped": "stopped by ASHA", "complete": "ran to its end"}
"""What a state is called on the page."""


def told(state: str) -> str:
    """Say how a trial ended."""
    return TOLD.get(state, state)


def label(text: object) -> str:
    """Make a text safe as a label: Plotly takes some of HTML in what it writes."""
    return html.escape(str(text), quote=False)


def figure(
    traces: Sequence[Mapping[str, Any]], *, x: str = "", y: str = "", height: int = 340, **layout: Any
) -> Figure:
    """Put traces on axes with titles."""
    axes = {name: {"title": {"text": label(title)}} for name, title in (("xaxis", x), ("yaxis", y))}
    for name in axes:
        axes[name] |= layout.pop(name, {})
    return {"data": [dict(t) for t in traces], "layout": {"height": height, **axes, **layout}}


def points(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **more: Any) -> dict[str, Any]:
    """Return a trace of points."""
    marker = {"color": color, "size": 7, **more.pop("marker", {})}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": list(y),
        "name": label(name),
        "marker": marker,
    } | more


def line(x: Sequence[Any], y: Sequence[Any], name: str, color: str, **more: Any) -> dict[str, Any]:
    """Return a trace of a line; None in it is a gap."""
    style = {"color": color, "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": label(name), "line": style} | more


def plain(value: Any, digits: int = 5) -> Any:
    """Return plain data for JSON: numbers with so many digits, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, digits) for key, item in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist(), digits)
    if isinstance(value, Iterable):
        return [plain(item, digits) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{digits}g}")
    return value
