"""Ray Tune around the trials: ASHA, our searcher, our referee."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune import Callback

from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.tuning import TuningSettings
from cpivae.data.prepare import Folds
from cpivae.tuning.budget import Stopper
from cpivae.tuning.clusters import require_ray
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.full_disk import interrupted_when_full
from cpivae.tuning.interrupts import terminated_gently
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import Proposal, trial_name
from cpivae.tuning.referee import Referee
from cpivae.tuning.reporting import SCORE
from cpivae.tuning.searcher import Proposer
from cpivae.tuning.trainable import TrialTask, run_trial


def shared_trial(
    config: Config, folder: SweepFolder, study_name: str, folds: Folds
) -> Callable[[dict[str, Any]], None]:
    """Return the function that runs a trial, the data put into shared memory once for all processes."""
    task = TrialTask(config, folder, study_name)
    # A closure would be copied for every trial.
    trial: Callable[[dict[str, Any]], None] = tune.with_parameters(run_trial, task=task, folds=folds)
    return trial


def run(
    config: Config,
    space: Space,
    trial: Callable[[dict[str, Any]], None],
    ledger: Ledger,
    n_workers: int,
    stopper: Stopper,
    proposals: Sequence[Proposal] = (),
) -> Proposer:
    """Run the sweep's trials until all have ended, the stopper or the user ends it.

    The ledger has what happened; returned is what has the study.
    """
    tuning, folder = config.tuning, ledger.folder
    searcher, referee = Proposer(space, config, ledger, proposals), Referee(config, ledger)
    shutil.rmtree(folder.ray, ignore_errors=True)  # an earlier process's snapshots
    tuner = tune.Tuner(
        tune.with_resources(trial, lambda proposed: _resources(tuning, alone=proposed["alone"])),
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode=tuning.goal().mode,
            search_alg=searcher,
            scheduler=referee,
            num_samples=-1,  # the searcher knows when all have been given out
            max_concurrent_trials=n_workers,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: f"{trial_name(trial.config['number'])}_{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=folder.ray.name,
            storage_path=str(folder.path),
            callbacks=[Beginnings(ledger)],
            stop=_Ends(stopper, referee),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    with terminated_gently(), interrupted_when_full(folder.name):
        tuner.fit()
    return searcher


class Beginnings(Callback):
    """Notes when a worker takes a trial on; makes ended trials small."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Ray's snapshots: they are disposable."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        self.ledger.begin(trial.config["number"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        # Ray keeps every trial to the end, each with statistics of every number it reported.
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()


class _Ends(tune.Stopper):
    """Ends the sweep when ours says so; trials that it cuts off have not ended and can be continued.

    Ray asks after every event and several times a second in between, so this is also where the table is kept fresh.
    """

    def __init__(self, stopper: Stopper, referee: Referee) -> None:
        self.stopper, self.referee = stopper, referee

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        if self.stopper.reason():
            self.referee.gives_out = False
        self.referee.ledger.refresh_table()
        require_ray()
        self.referee.ledger.folder.require_ours()
        return not self.referee.gives_out


def _resources(tuning: TuningSettings, *, alone: bool) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([{"CPU": tuning.cpus, "GPU": tuning.gpus_of(alone=alone)}])
