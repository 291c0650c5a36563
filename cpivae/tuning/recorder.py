"""Keeps ``trials.csv`` true while the sweep runs."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback

from cpivae.names import Goal
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import Listener, TrialRecord
from cpivae.tuning.reporting import BEST_EPOCH, DIVERGED, EPOCH, LAST, SCORE


class Recorder(Callback):
    """Follows every trial in Ray's event loop and writes down what happened to it."""

    def __init__(self, folder: SweepFolder, goal: Goal, keep_weights: int | None, listener: Listener) -> None:
        self.folder, self.goal, self.keep_weights, self.listener = folder, goal, keep_weights, listener
        self.records: dict[int, TrialRecord] = {}
        self.started: dict[int, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Ray's snapshots: they are disposable, and a terminal cannot be pickled."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        number = trial.config["number"]
        self.records.setdefault(number, TrialRecord(number, trial.config["values"]))
        self.started.setdefault(number, time.monotonic())

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        record = self.records[trial.config["number"]]
        if result[DIVERGED]:
            record.state, record.score, record.best_epoch = "diverged", None, None
            record.error = f"a loss was no longer finite in epoch {result[EPOCH]}"
        else:
            record.epochs = int(result[EPOCH]) + 1
            record.score, record.best_epoch = float(result[SCORE]), int(result[BEST_EPOCH])
            if result[LAST]:
                record.state = "complete"
        record.seconds = time.monotonic() - self.started[record.number]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        record = self.records[trial.config["number"]]
        if record.state == "running":
            record.state = "stopped"
        self._ended(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        record = self.records[trial.config["number"]]
        record.state, record.score, record.best_epoch = "failed", None, None
        record.error = self.folder.cause_of_failure(record)
        self._ended(record)

    def mark_interrupted(self) -> None:
        """Close the trials that were running when the sweep was stopped."""
        for record in self.records.values():
            if record.state == "running":
                record.state = "interrupted"
        self.folder.write_trials(list(self.records.values()))

    def _ended(self, record: TrialRecord) -> None:
        records = list(self.records.values())
        self.folder.write_trials(records)
        if self.keep_weights is not None:
            self.folder.drop_weights(records, self.keep_weights, self.goal)
        self.listener(record, records)
