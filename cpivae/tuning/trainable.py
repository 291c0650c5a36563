"""One trial: the same training run as ``cpivae train``, with a reporter."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from ray import tune

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.data.prepare import Folds
from cpivae.errors import TrainingDivergedError
from cpivae.files import write_text
from cpivae.training.run import fit
from cpivae.tuning.causes import described
from cpivae.tuning.folder import AtHand, SweepFolder
from cpivae.tuning.record import trial_name
from cpivae.tuning.reporting import ScoreKeeper
from cpivae.tuning.unfinished import set_aside
from cpivae.tuning.watch import Watch, watched


@dataclass(frozen=True)
class TrialTask:
    """What all trials of a sweep have in common."""

    config: Config
    folder: SweepFolder
    """With an absolute path: trials have working directories of their own."""
    study_name: str


def run_trial(proposed: dict[str, Any], task: TrialTask, folds: Folds) -> None:
    """Train one proposal and report every epoch; ``folds`` are shared memory, not a copy."""
    _clear_up()
    number = proposed["number"]
    keeper = ScoreKeeper(task.config.tuning.goal())
    with task.folder.at_hand(number) as files:
        error_file = files.folder.traceback(number)
        with watched(error_file, task.config.tuning.timeout_minutes) as watch:
            try:
                _run(proposed, task, files, folds, keeper, watch)
            except TrainingDivergedError:
                # Returning keeps this worker process for the next trial; an error would end it.
                with watch.held():
                    tune.report(keeper.diverged())
            except Exception as error:
                with suppress(OSError):  # who finds nothing there looks for a reason
                    write_text(error_file, described(error))
                raise


def _run(
    proposed: dict[str, Any], task: TrialTask, files: AtHand, folds: Folds, keeper: ScoreKeeper, watch: Watch
) -> None:
    number = proposed["number"]
    config = with_values(task.config, proposed["values"] | {"training.seed": proposed["seed"]}, "the trial's settings")
    earlier = set_aside(files.folder, number)

    def report(result: dict[str, Any]) -> None:
        with watch.held():  # the network or Ray may be busy with something else
            files.keep()
            tune.report(result)

    def replay(history: pd.DataFrame) -> None:
        for result in keeper.replay(history, after=proposed["reported"]):
            report(result)

    fit(
        config,
        folds,
        files.folder.trials / trial_name(number),
        name=task.study_name,
        reporters=[lambda epoch: report(keeper.result(epoch))],
        is_trial=True,
        resume_from=None if earlier is None else earlier.state,
        replay=replay,
        linear_maps_in=files.linear_maps_in,
    )
    files.keep()


def _clear_up() -> None:
    """Free what an earlier trial has left in this process.

    Not at that trial's end: while a stop by ASHA unwinds it, the exception keeps its model and its trainer alive.
    """
    gc.collect()
    if not gc.get_freeze_count():
        # Before the first trial these are the imports' half a million objects: spare later collections the walk.
        gc.freeze()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
