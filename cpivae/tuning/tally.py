"""A sweep in numbers, kept up to date event by event: to show them costs the same after 2,000 trials as after ten."""

from __future__ import annotations

import time
from collections import Counter, deque

from cpivae.config.tuning import TuningSettings
from cpivae.tuning.journal import Event
from cpivae.tuning.ledger import Course, Ledger
from cpivae.tuning.place import Place
from cpivae.tuning.record import TrialRecord, ranked

LAST = 10
"""Trials that have ended last, and are shown."""


class Tally:
    """Begins with what a ledger knows; :meth:`hear` is its listener from then on."""

    def __init__(self, ledger: Ledger, tuning: TuningSettings, place: Place) -> None:
        self.ledger, self.tuning, self.place, self.goal = ledger, tuning, place, tuning.goal()
        self.events = 0
        """Heard so far, by which a change is seen."""
        self.running: dict[int, Course] = {}
        """The trials that a worker of this process is at."""
        self.unfinished = {course.record.number: course.record for course in ledger.unfinished()}
        """The trials that are running, wait, or wait again after their worker was lost."""
        self.states: Counter[str] = Counter()
        """Of the trials that have ended."""
        self.epochs = sum(course.record.epochs for course in ledger.courses.values())
        self.saved_by_asha = 0
        self.best: TrialRecord | None = None
        """Of those that have ended."""
        self.bests: list[float] = []
        """The best score after each trial that has ended, from the first score on."""
        self.last: deque[TrialRecord] = deque(maxlen=LAST)
        """The latest first."""
        self.first_began: float | None = None
        self._seconds_of_ended = self._worked_here = 0.0
        for number in ledger.order_of_ends:
            self._ended(ledger.courses[number])

    @property
    def ended(self) -> int:
        """How many trials nothing more is to come of."""
        return len(self.ledger.order_of_ends)

    @property
    def waiting(self) -> int:
        """How many trials are known and wait for a worker."""
        return len(self.ledger.courses) - self.ended - len(self.running)

    @property
    def to_come(self) -> int:
        """How many trials nothing is known of yet."""
        return self.tuning.n_trials - len(self.ledger.courses)

    def hear(self, event: Event, course: Course | None) -> None:
        """Count an event that the ledger has applied."""
        self.events += 1
        if course is None:
            return
        number = course.record.number
        if event["event"] == "proposed":
            self.unfinished[number] = course.record
        elif event["event"] == "began":
            self.running[number] = course
            self.first_began = self.first_began or event["time"]
        elif event["event"] == "epoch":
            self.epochs += 1  # the ledger notes each once
        elif self.running.pop(number, None) is not None:  # it ended, or lost its worker or its memory
            self._worked_here += course.record.seconds - course.before
        if event["event"] == "ended":
            self._ended(course)

    def leading(self) -> TrialRecord | None:
        """Return the best trial so far, those that have not ended included: their weights are kept as well."""
        unfinished = [record for record in self.unfinished.values() if record.score is not None]
        scored = [*unfinished, *([self.best] if self.best is not None else [])]
        return max(scored, key=lambda r: (self.goal.sign * (r.score or 0.0), -r.number), default=None)

    def in_use(self) -> tuple[float, float]:
        """Return the CPUs and the GPUs of the trials that are running."""
        gpus = sum(self.tuning.gpus_of(alone=course.alone) for course in self.running.values())
        return self.tuning.cpus * len(self.running), gpus

    def seconds(self) -> float:
        """Return for how long the sweep has been run, by all its processes."""
        since = 0.0 if self.ledger.last_event is None else time.time() - self.ledger.last_event
        return self.ledger.seconds + max(0.0, since)

    def seconds_left(self) -> float | None:
        """Estimate for how long it goes on; None before a trial has ended.

        A trial is taken to last as long as those before have on average, and as many run side by side as so far in this
        process: what lies between two trials is in that number.
        """
        if not self.ended or self.first_began is None:
            return None
        now = time.time()
        each = self._seconds_of_ended / self.ended
        here = [now - (course.since or now) for course in self.running.values()]
        begun = zip(self.running.values(), here, strict=True)
        to_do = each * (self.waiting + self.to_come) + sum(max(0.0, each - c.before - spent) for c, spent in begun)
        worked = self._worked_here + sum(here)
        side_by_side = max(worked / max(now - self.first_began, 1e-9), 1e-9)
        left = to_do / side_by_side
        budget = self.tuning.time_budget
        return left if budget is None else min(left, max(0.0, budget * 3600 - self.seconds()))

    def _ended(self, course: Course) -> None:
        record = course.record
        self.unfinished.pop(record.number, None)
        self.states[record.state] += 1
        self._seconds_of_ended += record.seconds
        if record.state == "stopped":
            self.saved_by_asha += self.tuning.max_epochs - record.epochs
        self.best = next(iter(ranked([record, *([self.best] if self.best else [])], self.goal)), None)
        if self.best is not None and self.best.score is not None:
            self.bests.append(self.best.score)
        self.last.appendleft(record)
