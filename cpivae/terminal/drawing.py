"""From Rich to the characters that a terminal can show; small pictures out of characters."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

_LEVELS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans("…━╸╺─" + _LEVELS, "~===-" + "_.,-=+*#")
"""As wide as what they stand for, so that a frame keeps its shape."""


def rendered(lines: Iterable[Text], width: int, stream: TextIO) -> list[str]:
    """Return lines, cut to a width, as ``stream``, a terminal, is to get them."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        for line in lines:
            console.print(line, overflow="ellipsis", no_wrap=True)
    return shown(captured.get(), stream).rstrip("\n").split("\n")


def shown(text: str, stream: TextIO) -> str:
    """Return a text in characters that a stream has."""
    # Python takes the plain C locale for UTF-8; whoever sets it for all of a program means what it says.
    plain = os.environ.get("LC_ALL") in ("C", "POSIX")
    encoding = "ascii" if plain else stream.encoding
    if not encoding.lower().startswith("utf"):
        text = text.translate(_ASCII)
    return text.encode(encoding, "replace").decode(encoding)


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw numbers as one line of bars; of more numbers than bars, evenly chosen ones with the first and the last.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20)
    '▁▂▃▄▅▆▇█'
    >>> sparkline(range(1000), 4)
    '▁▃▆█'
    >>> sparkline([2.0, 2.0], 20), sparkline([], 20)
    ('▄▄', '')
    """
    n = min(len(values), width)
    if n <= 0:
        return ""
    chosen = [values[-1]] if n == 1 else [values[round(i * (len(values) - 1) / (n - 1))] for i in range(n)]
    low, high = min(chosen), max(chosen)
    if not math.isfinite(high - low) or high == low:
        return _LEVELS[3] * n
    return "".join(_LEVELS[round((value - low) / (high - low) * (len(_LEVELS) - 1))] for value in chosen)


def bar(share: float, width: int, style: str = "green") -> Text:
    """Draw a bar.

    >>> bar(0.5, 4).plain
    '━━──'
    """
    full = min(width, max(0, math.floor(share * width)))
    return Text().append("━" * full, style).append("─" * (width - full), "dim")


def titled(name: str, share: float, told: str, width: int) -> Text:
    """Put a bar between a name and numbers; where there is no room for all, the numbers stay.

    >>> titled("study", 0.5, "6/12 trials", 24).plain, titled("study", 0.5, "6/12 trials", 16).plain
    ('study  ━━──  6/12 trials', '6/12 trials')
    """
    name = cut(name, max(8, width // 4))
    room = width - cell_len(name + told) - 4
    if room < 1:
        return Text(told)
    return Text().append(name, "bold").append("  ").append_text(bar(share, min(40, room))).append(f"  {told}")


def cut(text: str, width: int) -> str:
    """Return a text on one line, in at most ``width`` cells, and without characters that move the cursor.

    >>> cut("learning_rate", 9), cut("two\\nlines", 20)
    ('learning…', 'two lines')
    """
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if cell_len(plain) <= width else set_cell_size(plain, max(0, width - 1)).rstrip() + "…"


def flowed(items: Iterable[str], width: int, most: int) -> list[str]:
    """Lay items out in at most so many lines; what does not fit ends in an ellipsis.

    >>> flowed(["one", "two", "three"], 8, 2), flowed(["one", "two", "three"], 8, 1)
    (['one  two', 'three'], ['one  tw…'])
    """
    lines: list[str] = []
    for item in (cut(item, width) for item in items):
        if lines and cell_len(lines[-1]) + 2 + cell_len(item) <= width:
            lines[-1] += f"  {item}"
        elif len(lines) < most:
            lines.append(item)
        else:
            lines[-1] = cut(f"{lines[-1]}  {item}", width)
            break
    return lines
