"""What a trial tells Ray after every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from cpivae.names import Goal, sd_of
from cpivae.training.callbacks import EpochReport, reported

SCORE = "score"
"""The metric at the best epoch so far: what ASHA, Optuna and people compare."""
SCORE_SD = "score_sd"
"""The standard deviation of the metric over the trial's replicas in that epoch; NaN where there is one."""
BEST_EPOCH = "best_epoch"
EPOCH = "epoch"
LAST = "last"
"""Whether the trial ends here of its own accord, not by ASHA."""
DIVERGED = "diverged"


class ScoreKeeper:
    """Turns epoch reports into results for Ray, with the best-so-far score."""

    def __init__(self, goal: Goal) -> None:
        self.goal = goal
        self.score, self.score_sd, self.best_epoch, self.epoch = float("nan"), float("nan"), -1, -1

    def result(self, report: EpochReport) -> dict[str, Any]:
        """Return the result of an epoch: no more than is used, because Ray keeps statistics of every number.

        Raises
        ------
        MetricError
            The epoch did not report the metric; a result without it would end the whole sweep.
        """
        value = reported(report.metrics, self.goal.metric)
        self.epoch = report.epoch
        if self.goal.better(value, self.score):
            self.score, self.best_epoch = value, report.epoch
            self.score_sd = report.metrics.get(sd_of(self.goal.metric), float("nan"))
        return {**self._summary(), LAST: report.last, DIVERGED: False}

    def replay(self, history: pd.DataFrame, after: int) -> Iterator[dict[str, Any]]:
        """Take over the epochs that an interrupted trial has behind it; yield the results of those that are news."""
        for row in history.to_dict("records"):
            metrics = {str(k): float(v) for k, v in row.items() if str(k).startswith(("train_", "val_"))}
            result = self.result(EpochReport(int(row["epoch"]), metrics, last=False))
            if result[EPOCH] > after:
                yield result

    def diverged(self) -> dict[str, Any]:
        """Return the closing result of a trial whose loss is no longer finite."""
        self.epoch += 1
        return {**self._summary(), LAST: True, DIVERGED: True}

    def _summary(self) -> dict[str, Any]:
        return {SCORE: self.score, SCORE_SD: self.score_sd, BEST_EPOCH: self.best_epoch, EPOCH: self.epoch}
