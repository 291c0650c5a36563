"""Lines at the bottom of a terminal that change in place; whatever is printed meanwhile goes above them.

Only lines that have changed are written again, each over what it replaces, and nothing is erased first: there is no
moment at which the screen shows less than a whole frame.  The cursor stays on the line below, so that a ``^C`` or a
message of another process does not land inside, and is hidden while a frame is written and at no other time: no signal
can leave it hidden.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import TextIO

from rich.cells import cell_len

_STYLE = re.compile(r"\x1b\[[\d;]*m")
_WHOLE_EVERY = 5.0
"""Seconds after which unchanged lines are written as well, in case another process has written over them."""


def is_live(stream: TextIO) -> bool:
    """Say whether lines on this stream can change in place: a terminal, and not one that says it cannot."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class Region:
    """The lines shown now, and the way from them to the next ones."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lock = threading.RLock()
        self.lines: list[str] = []
        self.lost = False
        """Whether the terminal is gone; what is shown to nobody must not end a sweep."""
        self.columns = self.size().columns
        self.written_whole = -math.inf

    def size(self) -> os.terminal_size:
        """Return the terminal's columns and rows; some that are connected to nothing say 0."""
        try:
            columns, rows = os.get_terminal_size(self.stream.fileno())
        except OSError:
            self.lost = True
            columns = rows = 0
        return os.terminal_size((columns or 80, rows or 24))

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines in the place of those before; what does not fit into the window is left out."""
        with self.lock:
            columns, rows = self.size()
            shown = list(lines[: rows - 1])
            now = time.monotonic()
            resized, whole = columns != self.columns, now - self.written_whole > _WHOLE_EVERY
            text = self._to_the_top(columns)
            if resized:
                text += "\x1b[J"
            for new, old in zip_longest(shown, [] if resized else self.lines):
                if new is None:
                    break
                text += "\r\n" if new == old and not whole else f"{new}\x1b[K\r\n"
            text += "\x1b[J" if len(shown) < len(self.lines) else "\x1b[K"
            if whole or resized:
                self.written_whole = now
            self.lines, self.columns = shown, columns
            self._write(text)

    def say(self, text: str) -> None:
        """Print a text above the lines."""
        with self.lock:
            above = self._to_the_top(self.columns) + "\x1b[J" + text.rstrip("\n") + "\n"
            self._write(above + "".join(f"{line}\r\n" for line in self.lines))

    def _to_the_top(self, columns: int) -> str:
        # Terminals wrap anew what no longer fits when they become narrower.
        lengths = (cell_len(_STYLE.sub("", line)) for line in self.lines)
        rows = sum(max(1, math.ceil(length / columns)) for length in lengths)
        return f"\x1b[{rows}A\r" if rows else "\r"

    def _write(self, text: str) -> None:
        if self.lost:
            return
        try:
            self.stream.write(f"\x1b[?25l{text}\x1b[?25h")
            self.stream.flush()
        except OSError:
            self.lost = True
