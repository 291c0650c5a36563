"""A sweep at a glance: the frame that a terminal shows while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TextIO

from rich.text import Text

from cpivae.names import plural
from cpivae.terminal import drawing
from cpivae.terminal.drawing import cut, flowed
from cpivae.terminal.times import duration
from cpivae.tuning.journal import Event
from cpivae.tuning.ledger import Course
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.settings_text import in_short
from cpivae.tuning.tally import LAST, Tally

_LABEL = 10
"""Width of the column that says what a line is about."""
_CELL = 33
"""Width of a running trial."""
_BAR = 8
_STYLES = {
    "running": "cyan", "complete": "green", "stopped": "yellow", "diverged": "magenta", "failed": "bold red",
}  # fmt: skip
_SETTINGS = 3
"""Lines for the best trial's settings, at most."""


class View:
    """Draws a tally; the main thread tells of events, another one draws."""

    def __init__(self, tally: Tally, name: str, stream: TextIO) -> None:
        self.tally, self.name, self.stream = tally, name, stream
        self.lock = threading.Lock()
        self.over = False
        """Whether nothing more will happen."""
        self.drawn: list[str] = []
        self.drawn_of: tuple[int, int, int, int, bool] | None = None

    def hear(self, event: Event, course: Course | None) -> None:
        """Take an event in; nothing is drawn for it."""
        with self.lock:
            self.tally.hear(event, course)

    def draw(self, width: int, height: int) -> list[str]:
        """Return the lines of a frame; those of before, where nothing has happened within a second."""
        with self.lock:
            now = (self.tally.events, int(time.monotonic()), width, height, self.over)
            if now == self.drawn_of:
                return self.drawn
            lines = self._lines(width, height)
        self.drawn_of = now
        self.drawn = drawing.rendered(lines, width, self.stream)
        return self.drawn

    def _lines(self, width: int, height: int) -> list[Text]:
        inner = max(1, width - _LABEL)
        head = [self._title(width), *self._trials(inner), *self._epochs(), *self._best(inner)]
        room = height - len(head)
        last = self._last(inner, min(LAST, max(1, room - 2)))
        running = self._running(inner, max(1, room - len(last)))
        return [*head, *running, *last]

    def _title(self, width: int) -> Text:
        tally, n = self.tally, self.tally.tuning.n_trials
        told = f"{tally.ended}/{n} trials  {duration(tally.seconds())} spent"
        left = None if self.over else tally.seconds_left()
        told += "" if left is None else f", about {duration(left)} left"
        return drawing.titled(self.name, tally.ended / n, told, width)

    def _trials(self, width: int) -> list[Text]:
        tally = self.tally
        counts = {
            "interrupted" if self.over else "running": len(tally.running),
            "waiting": tally.waiting,
            **{state: tally.states[state] for state in ("complete", "stopped", "diverged", "failed")},
            "to come": tally.to_come,
        }
        always = {"running", "complete", "stopped"}
        told = [f"{count} {state}" for state, count in counts.items() if count or state in always]
        return _labelled("trials", [_coloured(line) for line in flowed(told, width, 4)])

    def _epochs(self) -> list[Text]:
        tally = self.tally
        done = _labelled("epochs", [Text(f"{tally.epochs:,} done, {tally.saved_by_asha:,} saved by ASHA")])
        if self.over:
            return done
        there = [sum(getattr(node, kind) for node in tally.place.nodes) for kind in ("cpus", "gpus")]
        amounts = zip(("CPUs", "GPUs"), tally.in_use(), there, strict=True)
        used = ", ".join(f"{used:g} of {of:g} {kind}" for kind, used, of in amounts if of)
        where = f" on {len(tally.place.nodes)} nodes" if len(tally.place.nodes) > 1 else ""
        return [*done, *_labelled("in use", [Text(f"{used}{where}")])]

    def _best(self, width: int) -> list[Text]:
        best, goal = self.tally.leading(), self.tally.goal
        if best is None or best.score is None:
            return _labelled("best", [Text("no score yet", "dim")])
        running = " (running)" if best.number in self.tally.running and not self.over else ""
        line = Text().append(_score(best), "bold green").append(f" {goal.metric}, trial {best.number}{running}")
        if best.best_epoch is not None:
            line.append(f", after {plural(best.best_epoch + 1, 'epoch')}")
        bests = self.tally.bests if best is self.tally.best else [*self.tally.bests, best.score]
        if (room := width - line.cell_len - 3) >= 4:
            line.append("   ").append(drawing.sparkline(bests, min(60, room)), "cyan")
        settings = flowed(_settings(best), width, _SETTINGS)
        return _labelled("best", [line, *(Text(line) for line in settings)])

    def _running(self, width: int, most: int) -> list[Text]:
        if self.over or not self.tally.running:
            return []
        courses = sorted(self.tally.running.values(), key=lambda course: course.record.number)
        abreast = max(1, width // _CELL)
        fit = most * abreast
        shown = courses if len(courses) <= fit else courses[: fit - 1]
        cells = [self._cell(course) for course in shown]
        if len(shown) < len(courses):
            cells.append(Text(f"and {len(courses) - len(shown)} more", "dim"))
        lines = [Text().join(cells[i : i + abreast]) for i in range(0, len(cells), abreast)]
        return _labelled("running", lines)

    def _cell(self, course: Course) -> Text:
        record, most = course.record, self.tally.tuning.max_epochs
        cell = Text(f"{record.number:>4} ").append_text(drawing.bar(record.epochs / most, _BAR, "cyan"))
        score = "" if record.score is None else f"{record.score:.4f}"
        cell.append(f" {record.epochs:>3}/{most:<3} {score}")
        cell.pad_right(_CELL - cell.cell_len)
        return cell

    def _last(self, width: int, most: int) -> list[Text]:
        return _labelled("finished", [self._line(r, width) for r in list(self.tally.last)[:most]])

    def _line(self, record: TrialRecord, width: int) -> Text:
        is_best = self.tally.best is record
        line = Text(f"{record.number:>4} ").append(f"{record.state:<9}", _STYLES.get(record.state, ""))
        score = "-" if record.score is None else f"{record.score:.4f}"
        line.append(f"{record.epochs:>4} epochs  ").append(f"{score:>8}", "bold green" if is_best else "")
        line.append(f"  {duration(record.seconds):>6}  ")
        told = record.error or ("the best so far" if is_best else "  ".join(_settings(record)))
        return line.append(cut(told, max(0, width - line.cell_len)), "dim")


def _settings(record: TrialRecord) -> list[str]:
    return in_short(record.values) or ["the base config"]


def _score(record: TrialRecord) -> str:
    spread = "" if record.score_sd is None else f" (sd {record.score_sd:.4f})"
    return f"{record.score:.4f}{spread}"


def _labelled(label: str, lines: Sequence[Text]) -> list[Text]:
    return [
        Text().append(f"{label if i == 0 else '':<{_LABEL}}", "dim").append_text(line) for i, line in enumerate(lines)
    ]


def _coloured(line: str) -> Text:
    text = Text(line)
    for state, style in _STYLES.items():
        text.highlight_words([state], style)
    return text
