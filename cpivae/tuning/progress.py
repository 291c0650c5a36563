"""What a person sees of a running sweep: a live view in a terminal, elsewhere one line per ended trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cpivae.config.tuning import TuningSettings
from cpivae.terminal.live import live
from cpivae.terminal.region import is_live
from cpivae.tuning.journal import Event
from cpivae.tuning.ledger import Course, Ledger
from cpivae.tuning.place import Place
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.tally import Tally
from cpivae.tuning.view import View


@contextmanager
def sweep_progress(ledger: Ledger, tuning: TuningSettings, place: Place, name: str) -> Iterator[None]:
    """Show how a sweep goes while the block runs: what the ledger hears of from now on."""
    tally = Tally(ledger, tuning, place)
    if not is_live(sys.stdout):
        ledger.listener = Lines(tally).hear
        yield
        return
    view = View(tally, name, sys.stdout)
    ledger.listener = view.hear
    with live(view.draw, sys.stdout):
        try:
            yield
        finally:
            view.over = True


class Lines:
    """Prints a line per ended trial."""

    def __init__(self, tally: Tally) -> None:
        self.tally, self.started = tally, time.monotonic()

    def hear(self, event: Event, course: Course | None) -> None:
        """Take an event in, and print the end of a trial."""
        self.tally.hear(event, course)
        if course is None or event["event"] != "ended":
            return
        n_trials, seconds = self.tally.tuning.n_trials, time.monotonic() - self.started
        counted = f"[{self.tally.ended:>{len(str(n_trials))}}/{n_trials} {seconds:6.0f} s]"
        print(f"{counted} {_line(course.record, self.tally.best)}", flush=True)


def _line(record: TrialRecord, best: TrialRecord | None) -> str:
    score = f"{record.score:.4f}" if record.score is not None else "   -  "
    if record.score_sd is not None:
        score += f" (sd {record.score_sd:.4f})"
    leader = f"best {best.score:.4f} (trial {best.number})" if best is not None else "no score yet"
    why = f"  {record.error[:120]}" if record.error else ""
    return f"trial {record.number:>4} {record.state:<9} after {record.epochs:>3} epochs: {score}   {leader}{why}"
