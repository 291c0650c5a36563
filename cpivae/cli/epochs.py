"""What a person sees of a run while it trains: a bar in a terminal, elsewhere a line now and then."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.text import Text

from cpivae.names import Goal, plural
from cpivae.terminal import drawing
from cpivae.terminal.times import duration

if TYPE_CHECKING:
    from cpivae.training.callbacks import EpochReport

LINES, SECONDS = 10, 10.0
"""Lines of a quick run, and the time between two lines of a slow one."""
_RECENT = 20
"""Epochs whose time tells that of the next."""


class EpochLines:
    """Prints an epoch's metrics; a plain object, so that it can travel to a worker process."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.printed = epochs, -math.inf

    def __call__(self, report: EpochReport) -> None:
        due = report.last or report.epoch % max(1, self.epochs // LINES) == 0
        if not due and time.monotonic() - self.printed < SECONDS:
            return
        self.printed = time.monotonic()
        shown = ("train_total_loss", "val_total_loss", "val_cross_a_corr_mean", "val_cross_b_corr_mean")
        values = "  ".join(f"{name} {report.metrics[name]:.4f}" for name in shown)
        print(f"epoch {report.epoch + 1:>{len(str(self.epochs))}}/{self.epochs}  {values}", flush=True)


class EpochBar:
    """Draws how far a run is from its ``metrics.csv``, whichever process writes that."""

    def __init__(self, name: str, metrics: Path, epochs: int, goal: Goal, stream: TextIO) -> None:
        self.name, self.epochs, self.goal, self.stream = name, epochs, goal, stream
        self.rows = new_rows(metrics)
        self.started = time.monotonic()
        self.scores: list[float] = []
        self.seconds: list[float] = []
        self.loss = math.nan
        self.best, self.best_after = math.nan, 0
        self.over = False

    def draw(self, width: int, height: int) -> list[str]:  # noqa: ARG002
        """Return the lines that fit a width."""
        for row in next(self.rows):
            self._take(row)
        return drawing.rendered([self._first(width), *self._scores(width)], width, self.stream)

    def _take(self, row: dict[str, str]) -> None:
        score = float(row[self.goal.metric])
        if self.goal.better(score, self.best):
            self.best, self.best_after = score, int(row["epoch"]) + 1
        self.scores.append(score)
        self.seconds.append(float(row["seconds"]))
        self.loss = float(row["val_total_loss"])

    def _first(self, width: int) -> Text:
        done = len(self.scores)
        told = f"{done}/{self.epochs} epochs  {duration(time.monotonic() - self.started)} spent"
        if done and not self.over:
            recent = self.seconds[-_RECENT:]
            # Early stopping may end it sooner.
            told += f", at most {duration(sum(recent) / len(recent) * (self.epochs - done))} left"
        return drawing.titled(self.name, done / self.epochs, told, width)

    def _scores(self, width: int) -> list[Text]:
        if not self.scores:
            return []
        last = Text().append("last  ", "dim").append(f"{self.scores[-1]:.4f} {self.goal.metric}")
        last.append(f", val_total_loss {self.loss:.4f}")
        best = Text().append("best  ", "dim").append(f"{self.best:.4f}", "bold green")
        best.append(f" after {plural(self.best_after, 'epoch')}   ")
        best.append(drawing.sparkline(self.scores, min(60, width - best.cell_len)), "cyan")
        return [last, best]


def new_rows(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yield, as often as asked, the rows that a csv file has grown by; a row that is half written comes later."""
    header: list[str] | None = None
    at = 0
    while True:
        text = b""
        if path.is_file():
            with path.open("rb") as stream:
                stream.seek(at)
                text = stream.read()
        text = text[: text.rfind(b"\n") + 1]
        at += len(text)
        rows = list(csv.reader(text.decode().splitlines()))
        if header is None and rows:
            header = rows.pop(0)
        yield [dict(zip(header or [], row, strict=True)) for row in rows]
