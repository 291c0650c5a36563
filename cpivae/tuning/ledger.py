"""What is known of a sweep: the journal's events, and what follows from them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from cpivae.config.tuning import TuningSettings
from cpivae.names import Goal
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Event, Journal, read_journal
from cpivae.tuning.record import Failure, State, TrialRecord

MAX_LOST_WORKERS = 3
"""Times in a row, without an epoch between them, that a trial is given another worker after losing one."""
SAME_ERRORS = 3
"""Trials in a row that end with one and the same error before the sweep is given up."""
_SYSTEMATIC: tuple[Failure, ...] = ("code_error", "timed_out", "lost_worker")
"""Failures that in a row point at the program or the machine, and not at the settings of one trial."""


@dataclass
class Course:
    """How a trial has gone so far, beyond what ``trials.csv`` shows."""

    record: TrialRecord
    seed: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    """{epoch: best score so far}."""
    lost_workers: int = 0
    alone: bool = False
    """Whether it gets a GPU to itself, after memory ran out."""
    of_gpus: float = 0.0
    """What it has of a GPU since a process took it on."""
    gpu_seconds_before: float = 0.0
    """GPU seconds until then."""
    node: str = ""
    """Machine that it trains on."""
    heard: float = 0.0
    """When its process last gave a sign of life."""
    since: float | None = None
    before: float = 0.0

    @property
    def gpu_seconds(self) -> float:
        """Seconds of a whole GPU."""
        return self.gpu_seconds_before + (self.record.seconds - self.before) * self.of_gpus

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.record.state not in ("running", "interrupted")


Listener = Callable[[Event, Course | None], None]
"""Told of every event once it has been applied, and of the trial that it concerns, if it concerns one."""


class Ledger:
    """The state of a sweep.  Every change is an event: written to the journal first, then applied."""

    def __init__(self, folder: SweepFolder, goal: Goal, keep_weights: int | None, journal: Journal | None) -> None:
        """``journal``: None for a ledger that is only looked at."""
        self.folder, self.goal, self.keep_weights, self.journal = folder, goal, keep_weights, journal
        self.listener: Listener = lambda *_: None
        """Hears what happens from now on, and not what is replayed."""
        self.courses: dict[int, Course] = {}
        self.first_numbers: dict[str, int] = {}
        """By settings, as text, the number of the trial that had them first."""
        self.imported: list[Event] = []
        """Trials of an older sweep, for the sampler to learn from."""
        self.last_errors: list[str] = []
        self.order_of_ends: list[int] = []
        """Numbers of the trials that have ended, the earliest first."""
        self.weighty: list[TrialRecord] = []
        """The trials that have ended and may have weights that are to be dropped."""
        self.table_outdated, self.table_rests_until = False, 0.0
        self.seconds = 0.0
        """For how long processes have run the sweep, up to the last event."""
        self.last_event: float | None = None
        self.of_gpus = (0.0, 0.0)
        """What a trial gets of a GPU from the process that runs the sweep: as a rule, and once its memory ran out."""

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, in the order they were proposed."""
        return [course.record for course in self.courses.values()]

    @property
    def broken(self) -> str:
        """The error that the last trials all ended with; empty while there is none."""
        return self.last_errors[0] if len(self.last_errors) >= SAME_ERRORS else ""

    @property
    def gpu_hours(self) -> float:
        """Of all trials; one that had a GPU to itself had all of it."""
        return sum(course.gpu_seconds for course in self.courses.values()) / 3600

    def first_with(self, values: dict[str, Any]) -> int | None:
        """Return the number of the first trial with these settings, if there is one."""
        return self.first_numbers.get(_text(values))

    def unfinished(self) -> list[Course]:
        """Return the trials that were begun or proposed and have not ended."""
        return [course for course in self.courses.values() if not course.ended]

    def replay(self, events: Iterable[Event]) -> None:
        """Take over what an earlier process has written."""
        for event in events:
            self._apply(event)
        self.last_errors.clear()

    def start(self, tuning: TuningSettings | None = None) -> None:
        """Note that a process has taken the sweep on, which gives trials what ``tuning`` says of GPUs, or none."""
        gpus = [0.0, 0.0] if tuning is None else [tuning.gpus_of(alone=alone) for alone in (False, True)]
        self._note("started", gpus=gpus)

    def import_trial(self, values: dict[str, Any], state: State, score: float, scores: dict[int, float]) -> None:
        """Note a trial of an older sweep."""
        self._note("imported", values=values, state=state, score=score, scores=list(scores.items()))

    def propose(self, number: int, values: dict[str, Any], seed: int, origin: str) -> Course:
        """Note a new trial, before it exists."""
        self._note("proposed", trial=number, values=values, seed=seed, origin=origin)
        return self.courses[number]

    def begin(self, number: int) -> None:
        """Note that a worker has taken a trial on."""
        self._note("began", trial=number)

    def epoch(
        self, number: int, epoch: int, score: float, best_epoch: int, score_sd: float | None = None, node: str = ""
    ) -> bool:
        """Note an epoch, and say whether it is news: a resumed trial may repeat what is known."""
        course = self.courses[number]
        if epoch in course.scores:
            return False
        more: dict[str, Any] = {} if score_sd is None else {"score_sd": score_sd}
        if node != course.node:
            more["node"] = node
        self._note("epoch", trial=number, epoch=epoch, score=score, best_epoch=best_epoch, **more, lasting=False)
        return True

    def end(self, number: int, state: State, failure: Failure = "", error: str = "") -> None:
        """Note the end of a trial and bring the files of the sweep up to date."""
        self._note("ended", trial=number, state=state, failure=failure, error=error)
        record = self.courses[number].record
        if failure not in _SYSTEMATIC:
            self.last_errors = []
        else:
            alike = error.replace(record.folder, "the trial")  # an error may name the trial's folder
            self.last_errors = [*(e for e in self.last_errors if e == alike), alike]
        self.folder.clear_state(record)
        self.table_outdated = True
        self.refresh_table()
        if self.keep_weights is not None:
            self.weighty = self.folder.drop_weights(self.weighty, self.keep_weights, self.goal)

    def fail(self, number: int, failure: Failure, error: str) -> bool:
        """Note a failure; say whether the trial is to be tried again."""
        course = self.courses[number]
        again = (failure == "lost_worker" and course.lost_workers < MAX_LOST_WORKERS) or (
            failure == "out_of_memory" and not course.alone
        )
        if not again:
            self.end(number, "failed", failure, error)
            return False
        self._note(failure, trial=number, error=error)
        # A process that dies before it has made a file of its own would be read by this one.
        self.folder.forget_cause(number)
        return True

    def refresh_table(self) -> None:
        """Bring ``trials.csv`` up to date; not more than once a second, nor for more than a twentieth of the time."""
        started = time.monotonic()
        if not self.table_outdated or started < self.table_rests_until:
            return
        self.folder.write_trials(self.records)
        ended = time.monotonic()
        self.table_outdated, self.table_rests_until = False, ended + max(1.0, 19 * (ended - started))

    def interrupt(self) -> None:
        """Show the trials that are not done as interrupted; the journal knows it by their missing end."""
        for course in self.unfinished():
            course.record.state = "interrupted"
        self.folder.write_trials(self.records)

    def _note(self, kind: str, *, lasting: bool = True, **details: Any) -> None:
        assert self.journal is not None
        event = self.journal.write({"event": kind, **details}, lasting=lasting)
        self._apply(event)
        self.listener(event, self.courses[event["trial"]] if "trial" in event else None)

    def _apply(self, event: Event) -> None:
        kind = event["event"]
        if kind != "started" and self.last_event is not None:
            self.seconds += event["time"] - self.last_event
        self.last_event = event["time"]
        if kind == "started":
            as_a_rule, alone = event.get("gpus", (0.0, 0.0))
            self.of_gpus = (as_a_rule, alone)
            for course in self.courses.values():
                course.since = None  # what it was doing has ended with the process before
            return
        if kind == "imported":
            self.imported.append(event)
            return
        if kind == "proposed":
            record = TrialRecord(event["trial"], event["values"], origin=event["origin"])
            self.courses[record.number] = Course(record, event["seed"])
            self.first_numbers.setdefault(_text(record.values), record.number)
            return
        course = self.courses[event["trial"]]
        record = course.record
        if kind == "began":
            course.gpu_seconds_before = course.gpu_seconds
            course.before, course.since = record.seconds, event["time"]
            course.of_gpus = self.of_gpus[course.alone]
            course.heard = event["time"]
            return
        if course.since is not None:
            record.seconds = course.before + event["time"] - course.since
        if kind == "epoch":
            course.scores[event["epoch"]] = event["score"]
            course.lost_workers = 0
            course.heard = event["time"]
            course.node = event.get("node", course.node)
            record.epochs, record.score, record.best_epoch = event["epoch"] + 1, event["score"], event["best_epoch"]
            record.score_sd = event.get("score_sd")
        elif kind == "lost_worker":
            course.lost_workers += 1
            course.since = None
        elif kind == "out_of_memory":
            course.alone, course.since = True, None
        elif kind == "ended":
            self.order_of_ends.append(record.number)
            self.weighty.append(record)
            record.state, record.failure, record.error = event["state"], event["failure"], event["error"]
            if record.failure:
                record.score, record.score_sd, record.best_epoch = None, None, None


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def read_ledger(folder: SweepFolder) -> Ledger:
    """Return what a sweep's journal says so far, whoever is writing it."""
    ledger = Ledger(folder, folder.goal(), None, None)
    ledger.replay(read_journal(folder.journal))
    return ledger
