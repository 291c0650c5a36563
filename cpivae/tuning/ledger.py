"""What is known of a sweep: the journal's events, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cpivae.names import Goal
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Event, Journal
from cpivae.tuning.record import Failure, Listener, State, TrialRecord

MAX_LOST_WORKERS = 3
"""Times in a row, without an epoch between them, that a trial is given another worker after losing one."""
SAME_ERRORS = 3
"""Trials in a row that end with one and the same error before the sweep is given up."""


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
    since: float | None = None
    before: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.record.state not in ("running", "interrupted")


class Ledger:
    """The state of a sweep.  Every change is an event: written to the journal first, then applied."""

    def __init__(
        self, folder: SweepFolder, goal: Goal, keep_weights: int | None, listener: Listener, journal: Journal
    ) -> None:
        self.folder, self.goal, self.keep_weights, self.listener, self.journal = (
            folder, goal, keep_weights, listener, journal,
        )  # fmt: skip
        self.courses: dict[int, Course] = {}
        self.imported: list[Event] = []
        """Trials of an older sweep, for the sampler to learn from."""
        self.last_errors: list[str] = []
        self.order_of_ends: list[int] = []
        """Numbers of the trials that have ended, the earliest first."""

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, in the order they were proposed."""
        return [course.record for course in self.courses.values()]

    @property
    def broken(self) -> str:
        """The error that the last trials all ended with; empty while there is none."""
        return self.last_errors[0] if len(self.last_errors) >= SAME_ERRORS else ""

    def unfinished(self) -> list[Course]:
        """Return the trials that were begun or proposed and have not ended."""
        return [course for course in self.courses.values() if not course.ended]

    def replay(self, events: Iterable[Event]) -> None:
        """Take over what an earlier process has written."""
        for event in events:
            self._apply(event)
        self.last_errors.clear()

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

    def epoch(self, number: int, epoch: int, score: float, best_epoch: int, score_sd: float | None = None) -> bool:
        """Note an epoch, and say whether it is news: a resumed trial may repeat what is known."""
        if epoch in self.courses[number].scores:
            return False
        spread = {} if score_sd is None else {"score_sd": score_sd}
        self._note("epoch", trial=number, epoch=epoch, score=score, best_epoch=best_epoch, **spread, lasting=False)
        return True

    def end(self, number: int, state: State, failure: Failure = "", error: str = "") -> None:
        """Note the end of a trial and bring the files of the sweep up to date."""
        self._note("ended", trial=number, state=state, failure=failure, error=error)
        record = self.courses[number].record
        if failure != "code_error":
            self.last_errors = []
        else:
            alike = error.replace(record.folder, "the trial")  # an error may name the trial's folder
            self.last_errors = [*(e for e in self.last_errors if e == alike), alike]
        self.folder.clear_state(record)
        self.folder.write_trials(self.records)
        if self.keep_weights is not None:
            self.folder.drop_weights(self.records, self.keep_weights, self.goal)
        self.listener(record, self.records)

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
        self.folder.traceback(number).unlink(missing_ok=True)
        return True

    def interrupt(self) -> None:
        """Show the trials that are not done as interrupted; the journal knows it by their missing end."""
        for course in self.unfinished():
            course.record.state = "interrupted"
        self.folder.write_trials(self.records)

    def _note(self, kind: str, *, lasting: bool = True, **details: Any) -> None:
        self._apply(self.journal.write({"event": kind, **details}, lasting=lasting))

    def _apply(self, event: Event) -> None:
        kind = event["event"]
        if kind == "imported":
            self.imported.append(event)
            return
        if kind == "proposed":
            record = TrialRecord(event["trial"], event["values"], origin=event["origin"])
            self.courses[record.number] = Course(record, event["seed"])
            return
        course = self.courses[event["trial"]]
        record = course.record
        if kind == "began":
            course.before, course.since = record.seconds, event["time"]
            return
        if course.since is not None:
            record.seconds = course.before + event["time"] - course.since
        if kind == "epoch":
            course.scores[event["epoch"]] = event["score"]
            course.lost_workers = 0
            record.epochs, record.score, record.best_epoch = event["epoch"] + 1, event["score"], event["best_epoch"]
            record.score_sd = event.get("score_sd")
        elif kind == "lost_worker":
            course.lost_workers += 1
        elif kind == "out_of_memory":
            course.alone = True
        elif kind == "ended":
            self.order_of_ends.append(record.number)
            record.state, record.failure, record.error = event["state"], event["failure"], event["error"]
            if record.failure:
                record.score, record.score_sd, record.best_epoch = None, None, None
