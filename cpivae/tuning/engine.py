"""Ray Tune around the trials: a private local cluster, ASHA, our searcher, our recorder."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.data.prepare import PreparedData
from cpivae.training.hardware import cpus, gpus
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import Listener, trial_name
from cpivae.tuning.recorder import Recorder
from cpivae.tuning.reporting import SCORE
from cpivae.tuning.searcher import OptunaAskTell
from cpivae.tuning.trainable import TrialTask, run_trial


def shared_trial(
    config: Config, folder: SweepFolder, study_name: str, data: PreparedData
) -> Callable[[dict[str, Any]], None]:
    """Return the function that runs a trial, the data put into shared memory once for all processes."""
    task = TrialTask(config, folder, study_name)
    # A closure would be copied for every trial.
    trial: Callable[[dict[str, Any]], None] = tune.with_parameters(run_trial, task=task, data=data)
    return trial


def run(
    config: Config,
    space: Space,
    trial: Callable[[dict[str, Any]], None],
    folder: SweepFolder,
    study_name: str,
    n_workers: int,
    listener: Listener,
) -> Recorder:
    """Run the sweep's trials until all have ended or the user interrupts; return what is known of them."""
    tuning, goal = config.tuning, config.tuning.goal()
    searcher = OptunaAskTell(
        space, goal, n_trials=tuning.n_trials, seed=tuning.seed, startup_trials=tuning.startup_trials
    )
    recorder = Recorder(folder, goal, tuning.keep_weights, listener)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": tuning.cpus_per_trial, "gpu": tuning.gpus_per_trial}),
        tune_config=tune.TuneConfig(
            metric=SCORE,
            mode=goal.mode,
            search_alg=searcher,
            scheduler=asha(config),
            num_samples=tuning.n_trials,
            max_concurrent_trials=n_workers,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial_name(trial.config["number"]),
        ),
        run_config=tune.RunConfig(
            name=folder.ray.name,
            storage_path=str(folder.path),
            callbacks=[recorder],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
    searcher.write_database(folder.study, study_name)
    return recorder


def asha(config: Config) -> ASHAScheduler:
    """Stop all but the best 1 / reduction_factor of the trials at every rung (Li et al. 2020)."""
    tuning = config.tuning
    return ASHAScheduler(
        time_attr="training_iteration",
        grace_period=min(tuning.asha.grace_period, tuning.max_epochs),
        reduction_factor=tuning.asha.reduction_factor,
        # One more than there are epochs: a trial that gets that far ends by itself, and ends cleanly.
        max_t=tuning.max_epochs + 1,
    )


@contextmanager
def local_ray(data_bytes: int) -> Iterator[None]:
    """Start a Ray of our own on this machine, with room for the data, and end it."""
    # Unix sockets below this folder must have short names.
    temporary = tempfile.mkdtemp(prefix="cpivae-", dir="/tmp")
    try:
        ray.init(
            address="local",  # never somebody else's cluster
            num_cpus=cpus(),
            num_gpus=gpus(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=int(1.5 * data_bytes) + 200 * 2**20,
            _temp_dir=temporary,
        )
        # What happens to a trial is told by our own recorder, in a line.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)
