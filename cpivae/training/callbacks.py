"""What happens at the end of an epoch, in this order: checkpoint, record, link the best weights, report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint

from cpivae.config.schema import Config
from cpivae.errors import MetricError, TrainingDivergedError, did_you_mean
from cpivae.files import link_or_copy, written_whole
from cpivae.names import RunFiles
from cpivae.training.folder import RunFolder
from cpivae.training.history import append_row
from cpivae.training.module import PairLightning


@dataclass(frozen=True)
class EpochReport:
    """One epoch's metrics, after its artifacts are on disk."""

    epoch: int
    """Counted from 0, as in checkpoint names."""
    metrics: dict[str, float]
    last: bool
    """Whether training ends here of its own accord."""


Reporter = Callable[[EpochReport], None]
Number = TypeVar("Number", float, torch.Tensor)


class EpochRecord(Callback):
    """Appends each epoch to ``metrics.csv``, keeps ``final_model.ckpt`` at the best epoch, then reports.

    Everything is on disk before the reporter is called, because a trial may be ended inside that call.
    """

    def __init__(self, folder: RunFolder, reporters: list[Reporter]) -> None:
        self.folder, self.reporters = folder, reporters
        self.started: float | None = None
        self.learning_rate = math.nan
        self.linked = ""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self.started = time.monotonic()
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # schedulers have moved on when it ends

    # Early stopping and checkpoints act at the end of validation, before this hook.
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, PairLightning)
        if not trainer.is_global_zero:
            return
        if self.started is None:
            return  # a resumed run first ends the epoch of its checkpoint once more, which is on record
        # What the module reports, whatever other callbacks add (LearningRateMonitor does, under TensorBoard only).
        reported = {k: v for k, v in trainer.callback_metrics.items() if k.startswith(("train_", "val_"))}
        metrics = {name: float(value) for name, value in sorted(reported.items())}
        seconds = time.monotonic() - self.started
        row = {"epoch": trainer.current_epoch, "learning_rate": self.learning_rate, "seconds": seconds}
        if len(pl_module.last_epoch) > 1:
            for number, of_replica in enumerate(pl_module.last_epoch):
                of_both = {"epoch": trainer.current_epoch, "replica": number}
                append_row(self.folder.path / RunFiles.REPLICAS, of_both | of_replica)
        append_row(self.folder.path / RunFiles.METRICS, row | metrics)
        self._link_best(trainer)
        last = trainer.should_stop or trainer.current_epoch + 1 >= (trainer.max_epochs or math.inf)
        for report in self.reporters:
            report(EpochReport(trainer.current_epoch, metrics, last))

    def _link_best(self, trainer: pl.Trainer) -> None:
        best = trainer.checkpoint_callback.best_model_path
        if best and best != self.linked:
            link_or_copy(Path(best), self.folder.final_model)
            self.linked = best


def reported(metrics: Mapping[str, Number], name: str) -> Number:
    """Return one of an epoch's metrics.

    Raises
    ------
    MetricError
        The epoch does not report it; the message names what it reports.
    """
    if name not in metrics:
        hint = did_you_mean(name, metrics)
        raise MetricError(f"no epoch reports '{name}'.{hint} Reported: {', '.join(sorted(metrics))}")
    return metrics[name]


class StopWhenDiverged(Callback):
    """Ends training with an error when a loss or the monitored metric is no longer finite."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        for name in ("val_total_loss", self.metric):
            value = float(reported(trainer.callback_metrics, name))
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    f"training diverged in epoch {trainer.current_epoch}: {name} is {value}. "
                    "Try a lower training.learning_rate or a smaller training.gradient_clip_val."
                )


class Threads(Callback):
    """Sets the number of CPU threads in every process of the run; Lightning chooses its own for spawned ones."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        torch.set_num_threads(self.threads)


class StepPlateau(Callback):
    """Steps ``reduce_on_plateau`` when validation ends: Lightning would do it after the checkpoint, and a resumed run
    would never get that step."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau:
                schedule.scheduler.step(trainer.callback_metrics[schedule.monitor])


class Histograms(Callback):
    """Writes histograms of weights or gradients to TensorBoard, once an epoch."""

    def __init__(self, *, weights: bool, gradients: bool) -> None:
        self.weights, self.gradients = weights, gradients

    # Not after the backward pass: under 16-mixed gradients are still multiplied by the loss scale there.
    def on_before_optimizer_step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002
    ) -> None:
        if self.gradients and trainer.is_last_batch:
            for name, parameter in pl_module.named_parameters():
                if parameter.grad is not None:
                    self._add(trainer, f"gradients/{name}", parameter.grad)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.weights:
            for name, parameter in pl_module.named_parameters():
                self._add(trainer, f"weights/{name}", parameter.detach())

    @staticmethod
    def _add(trainer: pl.Trainer, name: str, values: torch.Tensor) -> None:
        if trainer.logger is not None:
            trainer.logger.experiment.add_histogram(name, values.float(), trainer.current_epoch)


def best_checkpoint(config: Config, folder: RunFolder, name: str, *, weights_only: bool) -> ModelCheckpoint:
    """Keep the best epochs' checkpoints, named by epoch and validation loss whatever metric chooses them."""
    kept = config.callbacks.model_checkpoint
    goal = kept.goal()
    return ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename=f"{name}-epoch={{epoch:02d}}-val_total_loss={{val_total_loss:.3f}}",
        auto_insert_metric_name=False,
        monitor=goal.metric,
        mode=goal.mode,
        save_top_k=kept.save_top_k,
        save_weights_only=weights_only,
        # A trial keeps one set of weights: its last checkpoint is its best one.
        save_last="link" if weights_only else False,
        save_on_train_epoch_end=False,
    )


def last_checkpoint(folder: RunFolder) -> ModelCheckpoint:
    """Keep the state after every epoch, for ``--resume_from_checkpoint``."""
    return ModelCheckpoint(
        dirpath=folder.checkpoints,
        filename=Path(RunFiles.LAST).stem,
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )


class KeepState(Checkpoint):
    """Keeps a trial's full state every so many seconds, with the weights that were best by then.

    Not after the last epoch: nothing would be left to continue.
    """

    def __init__(self, folder: RunFolder, every_seconds: float) -> None:
        self.folder, self.every_seconds = folder, every_seconds
        self.kept = time.monotonic()

    # A checkpoint callback: Lightning calls it after all others, and the one that keeps the best weights stands first.
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        is_last = trainer.should_stop or trainer.current_epoch + 1 >= (trainer.max_epochs or math.inf)
        if is_last or time.monotonic() - self.kept < self.every_seconds:
            return
        # The best weights of now may be gone when the state is needed, for better ones of a later epoch; and a process
        # may be killed between any two lines here.
        best = Path(trainer.checkpoint_callback.best_model_path)
        kept = self.folder.best_of_state(best.name)
        link_or_copy(best, kept)
        with written_whole(self.folder.state) as beside:
            trainer.save_checkpoint(beside)
        for older in self.folder.checkpoints.glob(f"{RunFiles.STATE_BEST}*"):
            if older != kept:
                older.unlink()
        self.kept = time.monotonic()


def early_stopping(config: Config) -> EarlyStopping:
    """Stop when the watched metric has not improved for ``patience`` epochs."""
    own, goal = config.callbacks.early_stopping, config.callbacks.stopping_goal()
    return EarlyStopping(
        monitor=goal.metric,
        mode=goal.mode,
        patience=own.patience or config.training.early_stopping_patience,
        min_delta=own.min_delta,
        check_on_train_epoch_end=False,
        check_finite=False,  # StopWhenDiverged says what happened
    )
