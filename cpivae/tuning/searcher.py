"""The searcher: an Optuna study behind Ray Tune's ask-and-tell interface, with honest final states.

Ray's own Optuna searcher reports a trial that ASHA stopped as complete with its last value, so the sampler takes a
trial of eight epochs for one of fifty.  This one tells Optuna PRUNED (with all intermediate values), COMPLETE or FAIL.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from cpivae.config.space import Space
from cpivae.files import written_whole
from cpivae.names import Goal
from cpivae.tuning.reporting import DIVERGED, EPOCH, LAST, SCORE


class OptunaAskTell(Searcher):
    """Proposes settings from a space and learns from the scores of trials."""

    def __init__(self, space: Space, goal: Goal, *, n_trials: int, seed: int, startup_trials: int) -> None:
        super().__init__(metric=SCORE, mode=goal.mode)
        self.space, self.n_trials = space, n_trials
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            direction="maximize" if goal.mode == "max" else "minimize", sampler=tpe(seed, startup_trials)
        )
        self.open: dict[str, optuna.Trial] = {}
        self.last_epoch: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next settings, or say that all have been given out."""
        number = len(self.study.get_trials(deepcopy=False))
        if number >= self.n_trials:
            finished: str = Searcher.FINISHED
            return finished
        trial = self.open[trial_id] = self.study.ask()
        return {"number": trial.number, "values": self.space.suggest(trial)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass an epoch's best-so-far score on, once."""
        epoch = int(result[EPOCH])
        if trial_id in self.open and epoch > self.last_epoch.get(trial_id, -1) and not result[DIVERGED]:
            self.open[trial_id].report(result[SCORE], step=epoch)
            self.last_epoch[trial_id] = epoch

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close a trial with the state it deserves."""
        if trial_id not in self.open:
            return
        if result:
            self.on_trial_result(trial_id, result)  # Ray passes the result that stopped a trial to this method alone
        trial = self.open.pop(trial_id)
        self.last_epoch.pop(trial_id, None)
        if error or not result or result[DIVERGED]:
            self.study.tell(trial, state=TrialState.FAIL)
        elif result[LAST]:
            self.study.tell(trial, result[SCORE], state=TrialState.COMPLETE)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: Ray's snapshots are not what a sweep is restored from."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing; see :meth:`save`."""

    def write_database(self, path: Path, study_name: str) -> None:
        """Write the study as SQLite, which optuna-dashboard opens."""
        with written_whole(path) as beside:
            beside.unlink()
            storage = optuna.storages.RDBStorage(f"sqlite:///{beside}")
            copy = optuna.create_study(study_name=study_name, storage=storage, directions=self.study.directions)
            copy.add_trials(self.study.get_trials(deepcopy=False))
            storage.engine.dispose()


def tpe(seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """Return the tree-structured Parzen estimator (Bergstra et al. 2011), every choice of its own spelt out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=startup_trials,
            n_ei_candidates=24,
            multivariate=True,
            group=True,  # layer widths exist only for some depths
            constant_liar=True,  # trials run side by side
            seed=seed,
        )
