"""A frame that is drawn again while other things happen."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from cpivae.terminal.region import Region

SECONDS = 0.25
"""Between two looks at what there is to draw."""

Draw = Callable[[int, int], Sequence[str]]
"""Lines for a width and a height, whole and in the characters of the terminal."""


@contextmanager
def live(draw: Draw, stream: TextIO) -> Iterator[Region]:
    """Draw on ``stream`` while the block runs and once when it ends; what it prints goes above.

    A thread draws, because whoever waits for an epoch of ten minutes wants to see that time passes.
    """
    region, over = Region(stream), threading.Event()

    def show() -> None:
        # One column stays free: behind a full line some terminals take the next one for its continuation.
        columns, rows = region.size()
        region.show(draw(columns - 1, rows - 1))

    def keep_showing() -> None:
        while not region.lost:
            show()
            if over.wait(SECONDS):
                return

    thread = threading.Thread(target=keep_showing, name="live view", daemon=True)
    with ExitStack() as stack:
        for name, redirect in (("stdout", redirect_stdout), ("stderr", redirect_stderr)):
            if (original := getattr(sys, name)).isatty():
                above = _Above(original, region)
                stack.callback(above.end)
                stack.enter_context(redirect(cast(TextIO, above)))
        thread.start()
        try:
            yield region
        finally:
            over.set()
            thread.join()
            if not region.lost:
                show()


class _Above:
    """Stands in for a stream that leads to the same terminal: whole lines go above the region."""

    def __init__(self, stream: TextIO, region: Region) -> None:
        self.stream, self.region, self.begun = stream, region, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self.region.lock:
            lines, newline, self.begun = (self.begun + text).rpartition("\n")
            if newline:
                self.region.say(lines)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: whole lines are written at once, and half of one would be drawn over."""

    def end(self) -> None:
        """Print what has no line end."""
        if self.begun:
            self.write("\n")
