"""The searcher: an Optuna study behind Ray Tune's ask-and-tell interface, with honest final states.

Ray's own Optuna searcher reports a trial that ASHA stopped as complete with its last value, so the sampler takes a
trial of eight epochs for one of fifty.  This one tells Optuna PRUNED (with all intermediate values), COMPLETE or FAIL,
as the ledger has it, and makes the study from the ledger when a sweep is resumed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from cpivae.config.draws import Near
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.files import written_whole
from cpivae.tuning.fitting import params_of
from cpivae.tuning.ledger import Course, Ledger
from cpivae.tuning.record import BASE, NEAR_BASE, Proposal, State, TrialRecord
from cpivae.tuning.reporting import SCORE
from cpivae.tuning.samplers import IN_SEQUENCE, make_sampler
from cpivae.tuning.window import Window

_FINAL: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
_NOT_FROM_THE_BASE = ("random", "qmc")
"""Samplers that promise points evenly over the space."""
_DRAWS = 50
"""Draws near the base config until one differs from it; in a space of a single point none does."""
BEST_OF_OLDER = 3
"""Trials of an older sweep that are tried again, because data or epochs may be others now."""


class Proposer(Searcher):
    """Proposes settings from a space and learns from the scores of trials."""

    def __init__(self, space: Space, config: Config, ledger: Ledger, listed: Sequence[Proposal] = ()) -> None:
        """``listed``: what to try instead of what a sampler proposes."""
        tuning, goal = config.tuning, config.tuning.goal()
        super().__init__(metric=SCORE, mode=goal.mode)
        self.space, self.config, self.ledger = space, config, ledger
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.trials = Window()
        self.study = optuna.create_study(
            storage=self.trials, direction="maximize" if goal.mode == "max" else "minimize"
        )
        self.sequence = make_sampler(tuning, len(ledger.courses))
        self.first = deque([*(listed or first_proposals(config, ledger))][len(ledger.courses) :])
        self.waiting: deque[int] = deque()
        self.numbers: dict[str, int] = {}
        self.open: dict[int, optuna.Trial | None] = {}
        self._remember()

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Ray's snapshots: they are disposable."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next settings, None while there may be more later, or say that all have been given out."""
        finished: str = Searcher.FINISHED
        if self.ledger.broken:
            return finished
        if self.waiting:
            course = self.ledger.courses[self.waiting.popleft()]
        elif len(self.ledger.courses) < self.config.tuning.n_trials:
            course = self._propose(len(self.ledger.courses))
        else:
            return None if self.ledger.unfinished() else finished
        self.numbers[trial_id] = course.record.number
        return {
            "number": course.record.number,
            "values": course.record.values,
            "seed": course.seed,
            "alone": course.alone,
            "reported": max(course.scores, default=-1),
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: the sampler looks at trials that have ended."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002
        """Tell Optuna how a trial ended, or line it up again; the ledger has heard of it already."""
        number = self.numbers.pop(trial_id, None)
        if number is None:
            return
        course = self.ledger.courses[number]
        if course.ended:
            self._tell(self.open.pop(number), course)
        elif error:
            self.waiting.append(number)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: Ray's snapshots are not what a sweep is restored from."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing; see :meth:`save`."""

    def write_database(self, path: Path, study_name: str) -> None:
        """Write the study as SQLite, which optuna-dashboard opens; trials that have not ended are left out."""
        # In memory first: on disk every trial would wait for one commit.
        storage = optuna.storages.RDBStorage("sqlite://")
        copy = optuna.create_study(study_name=study_name, storage=storage, directions=self.study.directions)
        copy.add_trials([t for t in self.trials.whole(self.study._study_id) if t.state.is_finished()])
        with written_whole(path) as beside, storage.engine.connect() as connection:
            beside.unlink()
            connection.exec_driver_sql("VACUUM INTO ?", (str(beside),))
        storage.engine.dispose()

    def _propose(self, number: int) -> Course:
        seed = self.config.tuning.seed + number
        if self.first:
            given = self.first.popleft()
            course = self.ledger.propose(number, given.values, seed if given.seed is None else given.seed, given.origin)
            self.open[number] = self._enter(course.record)
            return course
        if (values := self._near_the_base(number, seed)) is not None:
            course = self.ledger.propose(number, values, seed, NEAR_BASE)
            self.open[number] = self._enter(course.record)
            return course
        # A sampler per proposal, so that a proposal depends on what is known and not on how many processes it took.
        tuning = self.config.tuning
        self.study.sampler = self.sequence if tuning.sampler in IN_SEQUENCE else make_sampler(tuning, number)
        trial = self.study.ask()
        trial.set_user_attr("trial", number)
        values = self.space.suggest(trial)
        earlier = self.ledger.first_with(values)
        origin = tuning.sampler if earlier is None else f"trial {earlier}, with another seed"
        self.open[number] = trial
        return self.ledger.propose(number, values, seed, origin)

    def _near_the_base(self, number: int, seed: int) -> dict[str, Any] | None:
        """Return the base config with some of it drawn anew, for every other trial that comes before there is anything
        to learn from: in a space of twenty settings a point at random is far worse than a config that somebody chose.
        """
        tuning = self.config.tuning
        if tuning.sampler in _NOT_FROM_THE_BASE or number >= tuning.startup_trials or number % 2 == 0:
            return None
        base = params_of(self.space, {}, self.config)
        if base is None:
            return None
        near = Near(base, seed)
        suggested = (self.space.suggest(near) for _ in range(_DRAWS))
        return next((values for values in suggested if near.differs), None)

    def _remember(self) -> None:
        for event in self.ledger.imported:
            older = TrialRecord(-1, event["values"], event["state"], event["score"])
            self._tell(self._enter(older), Course(older, scores=dict(map(tuple, event["scores"]))))
        for course in self.ledger.courses.values():
            trial = self._enter(course.record)
            if course.ended:
                self._tell(trial, course)
            else:
                self.open[course.record.number] = trial
                self.waiting.append(course.record.number)

    def _enter(self, record: TrialRecord) -> optuna.Trial | None:
        """Let the study know of a trial whose settings are given; None if they lie outside the space."""
        params = params_of(self.space, record.values, self.config)
        if params is None:
            return None
        self.study.sampler = optuna.samplers.RandomSampler()  # not asked, because everything is given
        self.study.enqueue_trial(params, user_attrs={"trial": record.number})
        trial = self.study.ask()
        self.space.suggest(trial)
        return trial

    def _tell(self, trial: optuna.Trial | None, course: Course) -> None:
        if trial is None:
            return
        record = course.record
        for epoch, score in course.scores.items():
            trial.report(score, step=epoch)
        state = _FINAL[record.state]
        if record.failure == "out_of_memory":
            trial.set_constraint("memory", 1.0)
            state = TrialState.PRUNED  # as a failure it would tell the sampler nothing
        self.study.tell(trial, record.score if state is TrialState.COMPLETE else None, state=state)


def first_proposals(config: Config, ledger: Ledger) -> list[Proposal]:
    """Return the settings to try first: the base config's, then the best of an older sweep."""
    older = [e for e in ledger.imported if e["score"] is not None]
    older.sort(key=lambda e: e["score"], reverse=config.tuning.goal().mode == "max")
    return [Proposal({}, BASE), *(Proposal(event["values"], "older sweep") for event in older[:BEST_OF_OLDER])]
