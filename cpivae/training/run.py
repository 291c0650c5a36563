"""One training run: settings and prepared data in, a run folder out.  The only place where data meets model."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.multiprocessing.spawn import ProcessRaisedException

from cpivae import errors
from cpivae.config.load import to_plain
from cpivae.config.schema import Config
from cpivae.data.module import PairModule
from cpivae.data.prepare import Folds, PreparedData, fingerprint
from cpivae.files import require_new_folder, write_text
from cpivae.models.base import start_from_rows
from cpivae.models.build import build_model
from cpivae.names import RunFiles, fold_of
from cpivae.training import callbacks as cb
from cpivae.training.calibration import write_calibrations_of
from cpivae.training.folder import RunFolder
from cpivae.training.hardware import resolve_hardware
from cpivae.training.linear_skip import has_linear_skip
from cpivae.training.module import PairLightning
from cpivae.training.replica import Replica, seeds_of
from cpivae.training.resume import adopt, check_fits


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    folder: RunFolder
    score: float
    """The checkpoint metric at the best epoch, whose weights are kept."""
    best_epoch: int
    epochs: int
    """Epochs trained, earlier ones of a resumed run included."""
    test_metrics: dict[str, float]


def build_module(config: Config, folds: Folds) -> PairLightning:
    """Build the untrained replicas with their loss weights and scales, each from its own seed and on its own fold."""
    weights = config.term_weights()
    replicas = [
        _replica(config, folds[fold_of(number, len(folds))], seed, list(weights))
        for number, seed in enumerate(seeds_of(config))
    ]
    return PairLightning(
        replicas,
        weights,
        config.training,
        ramps=config.loss_weights.ramps(),
        fingerprint=fingerprint(folds),
        described=kept_by_checkpoints(config),
    )


def _replica(config: Config, data: PreparedData, seed: int, terms: list[str]) -> Replica:
    pl.seed_everything(seed, verbose=False)
    model = build_model(config, data.n_features, data.linear_maps if has_linear_skip(config) else None)
    train = data.rows("train")
    start_from_rows(model, lambda: {p: torch.from_numpy(values[train]) for p, values in data.values.items()})
    return Replica(model, {p: preprocessor.affine() for p, preprocessor in data.preprocessors.items()}, seed, terms)


def kept_by_checkpoints(config: Config) -> dict[str, Any]:
    """Return the settings, by path, that come back with a checkpoint whatever new settings say."""
    plain = to_plain(config)
    of_the_optimiser = ("optimizer", "learning_rate", "weight_decay", "scheduler")
    of_the_data = {key: value for key, value in plain["data"].items() if key != "samples_table"}  # it may have moved
    return (
        {f"model.{key}": value for key, value in plain["model"].items()}
        | {f"data.{key}": value for key, value in of_the_data.items()}
        | {f"training.{key}": plain["training"][key] for key in of_the_optimiser}
    )


def count_parameters(module: torch.nn.Module) -> int:
    """Return how many numbers are learnt."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def fit(
    config: Config,
    folds: Folds,
    path: Path,
    *,
    name: str,
    reporters: list[cb.Reporter] | None = None,
    is_trial: bool = False,
    resume_from: Path | None = None,
    replay: Callable[[pd.DataFrame], None] | None = None,
    linear_maps_in: Path | None = None,
) -> RunResult:
    """Train one configuration and leave the run folder ``path``.

    Parameters
    ----------
    folds : the data as ``config.data`` asks for them: prepared once, or once for every fold.
    name : experiment name, the start of checkpoint names.
    reporters : called after every epoch, when its artifacts are on disk.
    is_trial : a trial of a sweep: the test split stays unread, uncertainty is measured only when the trial is exported,
        and beside the weights of the best epoch there is only a state to continue from.
    resume_from : checkpoint of a run with the same model to continue from.
    replay : called with the metrics of the epochs that a resumed run has behind it, when they are in the new folder.
    linear_maps_in : folder with the linear maps of these data, where many runs share them.

    Raises
    ------
    CpivaeError
        Bad settings, an occupied folder, a checkpoint of another model, or a loss that is no longer finite.
    """
    config = resolve_hardware(config)
    require_new_folder(path)
    torch.set_num_threads(config.hardware.threads or 1)
    module = build_module(config, folds)
    checkpoint = None if resume_from is None else check_fits(resume_from, module)
    folder = RunFolder.create(path, config, folds, linear_maps_in)

    best = cb.best_checkpoint(config, folder, name, weights_only=is_trial)
    state = cb.KeepState(folder, config.tuning.checkpoint_seconds) if is_trial else cb.last_checkpoint(folder)
    kept: list[Callback] = [best, state]
    watched = config.callbacks.model_checkpoint.goal()
    record = cb.EpochRecord(folder, reporters or [])
    others: list[Callback] = [
        cb.Threads(config.hardware.threads or 1),
        cb.StopWhenDiverged(watched.metric),
        cb.StepPlateau(),
        cb.early_stopping(config),
        record,
    ]
    continue_from = None if checkpoint is None or resume_from is None else adopt(checkpoint, resume_from, best, folder)

    if replay is not None and (folder.path / RunFiles.METRICS).is_file():
        replay(folder.history())
    with _quiet_lightning(), _errors_of_processes():
        trainer = _training_trainer(config, folder, [*others, *kept])
        trainer.fit(
            module,
            datamodule=_batches(config, folds),
            ckpt_path=continue_from,
            weights_only=True,
        )
    test_metrics = {}
    if not is_trial:
        test_metrics = evaluate_test(config, folds, folder)
        write_calibrations_of(folder, folds)
    selected = folder.selected_epoch()
    return RunResult(
        folder=folder,
        score=float(selected[watched.metric]),
        best_epoch=int(selected["epoch"]),
        epochs=len(folder.history()),
        test_metrics=test_metrics,
    )


def try_one_batch(config: Config, folds: Folds) -> PairLightning:
    """Run one batch of training and validation and leave nothing behind (``--fast_dev_run``)."""
    config = resolve_hardware(config)
    module = build_module(config, folds)
    with _quiet_lightning():
        _trainer(config, fast_dev_run=True).fit(module, datamodule=_batches(config, folds))
    return module


def try_epochs(config: Config, folds: Folds, n_epochs: int, timer: Callback) -> None:
    """Train for so many epochs and write nothing; ``timer`` hears of each batch.

    Raises
    ------
    MetricError
        The metric that chooses the epoch is not among what the epoch reports.
    """
    module = build_module(config, folds)
    torch.set_num_threads(config.hardware.threads or 1)
    with _quiet_lightning():
        trainer = _trainer(
            config,
            max_epochs=n_epochs,
            callbacks=[timer],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            gradient_clip_val=config.training.gradient_clip_val,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=_batches(config, folds))
    cb.reported(trainer.callback_metrics, config.callbacks.model_checkpoint.monitor)


def evaluate_test(config: Config, folds: Folds, folder: RunFolder) -> dict[str, float]:
    """Score the selected epoch's weights on the test split, if there is one, and write ``test_metrics.json``."""
    if len(folds[0].rows("test")) == 0:
        return {}
    module = build_module(config, folds)
    for replica, weights in zip(module.each(), folder.weights(), strict=True):
        replica.model.load_state_dict(weights)
    with _quiet_lightning():
        trainer = _trainer(config, logger=False, enable_checkpointing=False)
        reported = trainer.test(module, datamodule=_batches(config, folds), verbose=False)[0]
    metrics = {name: float(value) for name, value in reported.items()}
    write_text(folder.path / RunFiles.TEST_METRICS, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _batches(config: Config, folds: Folds) -> PairModule:
    return PairModule(folds, config.training.batch_size, seeds_of(config))


def _trainer(config: Config, **more: Any) -> pl.Trainer:
    """Return a silent trainer on one device, unless ``more`` says otherwise."""
    common = {
        "accelerator": config.hardware.accelerator,
        "devices": 1,
        "precision": config.hardware.precision,
        # Inside a SLURM job Lightning would take the job's shape for its own.
        "plugins": [LightningEnvironment()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**common | more)


def _training_trainer(config: Config, folder: RunFolder, callbacks: list[Callback]) -> pl.Trainer:
    hardware, logged = config.hardware, config.logging
    logger: Any = False
    if logged.tensorboard:
        logger = TensorBoardLogger(folder.path, name=RunFiles.TENSORBOARD, version="")
        callbacks = [*callbacks, LearningRateMonitor(logging_interval="epoch")]
        if logged.weight_histograms or logged.gradient_histograms:
            histograms = cb.Histograms(weights=logged.weight_histograms, gradients=logged.gradient_histograms)
            callbacks = [*callbacks, histograms]
    return _trainer(
        config,
        max_epochs=config.training.stop_epoch or config.training.max_epochs,
        devices=hardware.devices,
        # Spawned workers, because a re-run of the command line in every process would read the tables again.
        strategy="ddp_spawn" if hardware.devices > 1 else "auto",
        gradient_clip_val=config.training.gradient_clip_val,
        accumulate_grad_batches=config.training.accumulate_grad_batches,
        callbacks=callbacks,
        logger=logger,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our sampler deals batches to processes itself
    )


@contextmanager
def _errors_of_processes() -> Iterator[None]:
    """Raise an error of ours from a spawned process as itself: it arrives as the text of a traceback."""
    try:
        yield
    except ProcessRaisedException as error:
        ours = re.findall(rf"^{errors.__name__}\.(\w+): (.*)$", str(error), re.MULTILINE)
        if not ours:
            raise
        name, message = ours[-1]
        raise getattr(errors, name)(message) from None


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notes about loader workers and hardware to itself; its errors still come through."""
    # Its tips and hardware notes are INFO.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*smaller than the logging interval.*",
            ".*exists and is not empty.*",
            ".*treespec.*",
            "The `srun` command is available",  # on every machine of a cluster, and not what we want
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
