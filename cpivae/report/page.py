"""The page: one HTML file with everything in it, that opens offline and asks nobody for anything.

Text is written by Jinja with escaping always on.  Plotly and the data are compressed and written in base64, so that no
name in a table can end a script, and the page is less than half as large.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cpivae.report.figures import plain

_ASSETS = files("cpivae.report") / "assets"
_SCRIPTS = ("theme.js", "tables.js", "proteins.js", "main.js")


def render(told: Mapping[str, Any], data: Mapping[str, Any], points: bytes = b"") -> str:
    """Return the page.

    Parameters
    ----------
    told : what the template writes.
    data : what the scripts draw: ``figures`` and ``tables`` by name, and ``proteins``.
    points : the predicted and measured values of every protein, a byte each; see :mod:`cpivae.report.proteins`.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_asset),
    )  # fmt: skip
    environment.filters["number"] = number
    return environment.get_template("page.html").render(
        **told,
        style=Markup(_asset("page.css")),
        scripts=Markup("\n".join(_asset(name) for name in _SCRIPTS)),
        packed=packed(data, points),
    )


def packed(data: Mapping[str, Any], points: bytes) -> dict[str, str]:
    """Return Plotly, data and points as the page holds them."""
    written = json.dumps(plain(data), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return {
        "plotly": _plotly(),
        "data": _packed(written.encode()),
        "points": _packed(points),
    }


def number(value: float | None, digits: int = 4) -> str:
    """Write a number, or a dash for none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return _packed(get_plotlyjs().encode())


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=9, mtime=0)).decode()
