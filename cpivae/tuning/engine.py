"""Ray Tune around the trials: a private local cluster, ASHA, our searcher, our referee."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback

from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.tuning import TuningSettings
from cpivae.data.prepare import Folds
from cpivae.errors import InterruptedSweepError
from cpivae.training.hardware import cpus, gpus
from cpivae.tuning.budget import Stopper
from cpivae.tuning.folder import SweepFolder
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
    study_name: str,
    n_workers: int,
    stopper: Stopper,
    proposals: Sequence[Proposal] = (),
) -> None:
    """Run the sweep's trials until all have ended, the stopper or the user ends it; the ledger has what happened."""
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
    with _terminated_gently():
        tuner.fit()
    searcher.write_database(folder.study, study_name)


class Beginnings(Callback):
    """Notes when a worker takes a trial on."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Ray's snapshots: they are disposable."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        self.ledger.begin(trial.config["number"])


class _Ends(tune.Stopper):
    """Ends the sweep when ours says so; trials that it cuts off have not ended and can be continued."""

    def __init__(self, stopper: Stopper, referee: Referee) -> None:
        self.stopper, self.referee = stopper, referee

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        if self.stopper.reason():
            self.referee.gives_out = False
        _require_ray()
        return not self.referee.gives_out


def _require_ray() -> None:
    """Notice that Ray's own processes are gone; Ray itself would wait for them, for minutes or for ever."""
    node = ray._private.worker._global_node
    gone = {name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"} if node is not None else set()
    if gone:
        raise InterruptedSweepError(
            f"a process of Ray ({', '.join(sorted(gone))}) has ended, and the sweep with it. No finished trial is "
            "lost: the same command with --resume goes on."
        )


def _resources(tuning: TuningSettings, *, alone: bool) -> tune.PlacementGroupFactory:
    gpus = 1 if alone and tuning.gpus_per_trial else tuning.gpus_per_trial
    return tune.PlacementGroupFactory([{"CPU": tuning.cpus_per_trial, "GPU": gpus}])


@contextmanager
def _terminated_gently() -> Iterator[None]:
    """Take SIGTERM for what Ray ends a sweep cleanly on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def local_ray(data_bytes: int) -> Iterator[None]:
    """Start a Ray of our own on this machine, with room for the data, and end it."""
    _clear_up_after_the_dead()
    # Unix sockets below this folder must have short names.
    temporary = tempfile.mkdtemp(prefix=f"{_OURS}{os.getpid()}-", dir="/tmp")
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
        # What happens to a trial is told by our own listener, in a line.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(temporary, ignore_errors=True)


_OURS = "cpivae-"


def _clear_up_after_the_dead() -> None:
    """Remove the temporary folders of sweeps that were killed before they could do so."""
    for folder in Path("/tmp").glob(f"{_OURS}*"):
        owner = folder.name.removeprefix(_OURS).partition("-")[0]
        if owner.isdigit() and folder.is_dir() and folder.stat().st_uid == os.getuid() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's by now
    return True
