"""Hears every result first: writes it down, then asks ASHA whether the trial goes on."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.result import HOSTNAME
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from cpivae.config.schema import Config
from cpivae.tuning.full_disk import has_room, no_room
from cpivae.tuning.ledger import Course, Ledger
from cpivae.tuning.record import BASE, Failure
from cpivae.tuning.reporting import BEST_EPOCH, DIVERGED, EPOCH, LAST, SCORE, SCORE_SD

_EPOCHS = "epochs"


@dataclass(frozen=True)
class _Known:
    """A trial as ASHA sees it: by our number, because Ray's ids do not outlive a process."""

    trial_id: str


class Referee(FIFOScheduler):
    """Asynchronous successive halving (Li et al. 2020) on what the ledger knows, earlier processes included."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        super().__init__()
        tuning = config.tuning
        self.ledger, self.folder, self.seed = ledger, ledger.folder, tuning.seed
        self.timeout_minutes = tuning.timeout_minutes
        self.gives_out = True
        """Whether trials may end; not while the whole sweep is being stopped."""
        self.chosen: set[str] = set()
        """Ray's names of the trials that were given a process, or asked for one."""
        self.asha = ASHAScheduler(
            time_attr=_EPOCHS,
            metric=SCORE,
            mode=tuning.goal().mode,
            grace_period=config.grace_period(),
            reduction_factor=tuning.asha.reduction_factor,
            brackets=tuning.asha.brackets,
            # One more than there are epochs: a trial that gets that far ends by itself, and ends cleanly.
            max_t=min(tuning.asha.max_t or tuning.max_epochs, tuning.max_epochs) + 1,
        )
        for course in ledger.courses.values():
            self._enter(course)

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Ray's snapshots: they are disposable."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:  # noqa: ARG002
        return True  # ASHA has both already

    @property
    def rungs(self) -> list[dict[int, dict[str, float]]]:
        """What ASHA compares with, by bracket: {epochs: {trial: score}}."""
        return [{int(at): dict(scores) for at, scores in bracket._rungs} for bracket in self.asha._brackets]

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the first trial that waits and has not been returned before, if any.

        Ray's own looks through all trials there ever were, at every event.  And it returns trials again whose process
        is starting, for which Ray then takes a process that has become free and ends the one that is starting: where
        trials are shorter than the start of a process, other nodes would never get one.
        """
        waiting = (trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING)
        new = (trial for trial in waiting if trial.trial_id not in self.chosen)
        chosen = min(new, key=lambda trial: trial.config["number"], default=None)
        if chosen is not None:
            self.chosen.add(chosen.trial_id)
        return chosen

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
        number = trial.config["number"]
        if str(number) not in self.asha._trial_info:
            self._enter(self.ledger.courses[number])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        number = trial.config["number"]
        if result[DIVERGED]:
            return str(TrialScheduler.CONTINUE)  # it ends by itself
        sd = float(result[SCORE_SD])
        of_replicas = None if math.isnan(sd) else sd
        news = self.ledger.epoch(
            number,
            int(result[EPOCH]),
            float(result[SCORE]),
            int(result[BEST_EPOCH]),
            score_sd=of_replicas,
            node=str(result.get(HOSTNAME, "")),
        )
        decision = self._ask(number, int(result[EPOCH]), float(result[SCORE])) if news else TrialScheduler.CONTINUE
        # The base config runs to its end: what tuning has gained over it would be untrue of a trial cut short.
        goes_on = result[LAST] or self.ledger.courses[number].record.origin == BASE
        return str(TrialScheduler.CONTINUE if goes_on else decision)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ARG002
        if not self.gives_out:
            return
        number = trial.config["number"]
        if result.get(DIVERGED):
            self.ledger.end(number, "diverged", "diverged", f"a loss was no longer finite in epoch {result[EPOCH]}")
        else:
            self.ledger.end(number, "complete" if result.get(LAST) else "stopped")

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
        number = trial.config["number"]
        if not self.gives_out:
            return
        failure, error = self._cause_of_failure(number)
        if failure == "full_disk":  # nothing of this trial, and the next one would fare no better
            self.folder.forget_cause(number)
            raise no_room(self.folder.name, error)
        self.ledger.fail(number, failure, error)

    def _cause_of_failure(self, number: int) -> tuple[Failure, str]:
        cause = self.folder.cause_of_failure(number)
        if cause[0] == "lost_worker" and not has_room(self.folder.path):
            return "full_disk", "no space is left"  # nor was there for what the trial had to tell
        silent, most = time.time() - self.ledger.courses[number].heard, self.timeout_minutes
        if cause[0] == "lost_worker" and self.folder.disk is None and most is not None and silent >= 60 * most:
            # A process that was ended because it hung could not send what it had to tell.
            return "timed_out", f"no epoch was finished within {most:g} minutes"
        return cause

    def _enter(self, course: Course) -> None:
        number = course.record.number
        state = np.random.get_state()
        np.random.seed([self.seed, number])  # ASHA draws the bracket from numpy's global state
        self.asha.on_trial_add(None, _Known(str(number)))
        np.random.set_state(state)
        for epoch, score in course.scores.items():
            self._ask(number, epoch, score)

    def _ask(self, number: int, epoch: int, score: float) -> str:
        answer: str = self.asha.on_trial_result(None, _Known(str(number)), {_EPOCHS: epoch + 1, SCORE: score})
        return answer
