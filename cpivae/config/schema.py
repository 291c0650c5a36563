"""The typed settings of a training run or sweep.  Every default of the program is written here or in ``base``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from cpivae.config.base import LossWeights, Mode, ModelSettings, Section
from cpivae.config.tuning import DEFAULT_GRACE, GRACE_AFTER_RAMPS, TuningSettings
from cpivae.errors import did_you_mean
from cpivae.names import MAX_FOLDS, Goal, metric_keys, natural_mode


class DataAugmentation(Section):
    """Changes made to training inputs only; targets, validation and test rows stay as measured."""

    gaussian_noise_std: float = Field(0.05, ge=0, le=10)
    """Standard deviation of noise added to the inputs, in units of the scaled data."""


class TrainingSettings(Section):
    """How a model is fitted."""

    max_epochs: int = Field(100, ge=1)
    """Passes over the training rows, at most."""
    stop_epoch: int | None = Field(None, ge=1)
    """End after this many epochs although schedules are laid out for max_epochs; how a stopped trial is repeated."""
    learning_rate: float = Field(3e-3, gt=0, le=10)
    """Step size of the optimiser at the start."""
    batch_size: int = Field(64, ge=3)  # an odd number of rows dealt by two would leave a batch of one
    """Rows in a batch, at most: rows are dealt into batches of nearly equal size. Folds of unequal size take as many
    steps an epoch as the smallest, so the batches of larger ones have more rows."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """adam (weight decay as an L2 penalty) or adamw (decoupled weight decay)."""
    weight_decay: float = Field(1e-2, ge=0)
    """Weight decay of the optimiser."""
    scheduler: Literal["none", "reduce_on_plateau", "cosine"] = "cosine"
    """Learning-rate schedule: none, reduce_on_plateau (halved when val_total_loss stalls) or cosine (down to zero)."""
    gradient_clip_val: float | None = Field(1.0, gt=0)
    """Largest norm of the gradient; null for no limit."""
    accumulate_grad_batches: int = Field(1, ge=1)
    """Batches whose gradients are summed before each optimiser step."""
    early_stopping_patience: int = Field(20, ge=1)
    """Epochs without improvement after which training ends."""
    seed: int = Field(42, ge=0, lt=2**32)
    """Seed of the initial weights, the order of rows, dropout and noise."""
    replicas: int = Field(1, ge=1, le=100)
    """Models trained side by side from different seeds (on each fold, where there are folds); what they impute is
    their mean."""
    data_augmentation: DataAugmentation = DataAugmentation()

    @model_validator(mode="after")
    def _stop_lies_within(self) -> TrainingSettings:
        if self.stop_epoch is not None and self.stop_epoch > self.max_epochs:
            raise ValueError(f"stop_epoch is {self.stop_epoch}, but max_epochs is only {self.max_epochs}")
        return self


class Splits(Section):
    """Shares of the shared samples (or of the groups) in each split; together 1."""

    train: float = Field(0.7, gt=0, le=1)
    """Rows the model and the preprocessing learn from."""
    val: float = Field(0.15, gt=0, lt=1)
    """Rows that choose the epoch and the settings."""
    test: float = Field(0.15, ge=0, lt=1)
    """Rows for the final evaluation; a sweep never reads them."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> Splits:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + val + test is {total:g}; the three shares must add up to 1")
        return self


class LogTransform(Section):
    """Whether a platform's values are put on a logarithmic scale first."""

    enabled: bool = False
    """Take log2 of (value + shift), the shift learnt per feature on training rows so that every log exists."""


class LogTransforms(Section):
    """One switch per platform."""

    platform_a: LogTransform = LogTransform()
    """Platform A (Olink NPX and log2 RFU are logarithmic already)."""
    platform_b: LogTransform = LogTransform()
    """Platform B."""


class DataSettings(Section):
    """How rows are split and values prepared; everything is learnt on training rows only."""

    transpose: bool = False
    """Features are rows in the tables, and samples are columns."""
    strip_ids: bool = False
    """Remove blanks around sample ids and feature names; without it they are compared exactly as written."""
    drop_qc_warnings: bool = False
    """Treat values under a QC warning of sample or assay as missing, and leave out samples that have no others."""
    min_detected: float = Field(0.0, ge=0, le=1)
    """Leave out features that fewer than this share of the training rows have a value of, or one that is not below
    the limit of detection where the file has such limits."""
    splits: Splits = Splits()
    random_seed: int = Field(42, ge=0, lt=2**32)
    """Seed of the split: the same ids and seed give the same split, in whatever order the rows come."""
    folds: int | None = Field(None, ge=2, le=MAX_FOLDS)
    """Cross-validation: the samples that are not for testing are dealt to this many folds, and a model is trained for
    each fold, which is its validation split; null for one model on the split above."""
    fold_seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the folds; the test samples do not depend on it."""
    samples_table: Annotated[Path | None, Strict(False)] = None
    """Table with a row per sample (sample id first) that holds the groups column; null when there is none."""
    groups: str | None = None
    """Column of samples_table whose equal values stay in one split (the person, for serial samples)."""
    normalization_method: Literal["zscore", "minmax", "robust"] = "zscore"
    """Scaling per feature: zscore (mean, sd), minmax (0 to 1) or robust (median, interquartile range)."""
    missing_value_strategy: Literal["mean", "median", "knn", "drop"] = "mean"
    """How the model's input is filled: mean, median, knn (5 nearest training rows, which every bundle then holds in
    scaled form), or drop features with gaps."""
    log_transform: LogTransforms = LogTransforms()

    @model_validator(mode="after")
    def _groups_have_a_table(self) -> DataSettings:
        if (self.groups is None) != (self.samples_table is None):
            raise ValueError("groups and samples_table go together: give both or neither")
        return self

    def log_enabled(self, platform: str) -> bool:
        """Say whether a platform's values are put on a logarithmic scale."""
        choice: LogTransform = getattr(self.log_transform, f"platform_{platform}")
        return choice.enabled


def _spell_out_precision(value: Any) -> Any:
    """Accept Lightning's short forms; ``16`` has always meant mixed precision."""
    short = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}
    return short.get(str(value), value)


class HardwareSettings(Section):
    """Where a run computes."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto (a GPU when there is one), cpu or gpu."""
    devices: int = Field(1, ge=1)
    """Devices one run trains on; more than one trains data-parallel."""
    precision: Annotated[
        Literal["32-true", "16-mixed", "bf16-mixed", "64-true"], BeforeValidator(_spell_out_precision)
    ] = "32-true"
    """32-true, bf16-mixed, 16-mixed (GPU only) or 64-true."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of a run; null for all. Part of what makes a run repeatable to the last digit."""


class ModelCheckpointSettings(Section):
    """Which epoch's weights are kept."""

    monitor: str = "val_cross_a_corr_mean"
    """Metric that chooses the epoch: val_cross_a_* scores platform A as predicted from platform B."""
    mode: Mode | None = None
    """max or min; null for what suits the metric (losses and errors min, the rest max)."""
    save_top_k: int = Field(1, ge=1)
    """How many of the best epochs keep a checkpoint."""

    def goal(self) -> Goal:
        """Return the metric with its direction."""
        return Goal(self.monitor, self.mode or natural_mode(self.monitor))


class EarlyStoppingSettings(Section):
    """When to give up."""

    monitor: str | None = None
    """Metric that must improve; null for that of model_checkpoint."""
    mode: Mode | None = None
    """max or min; null for what suits the metric."""
    patience: int | None = Field(None, ge=1)
    """Epochs without improvement; null for training.early_stopping_patience."""
    min_delta: float = Field(0.0, ge=0)
    """Smallest change that counts as an improvement."""


class CallbackSettings(Section):
    """Keeping checkpoints and stopping early."""

    model_checkpoint: ModelCheckpointSettings = ModelCheckpointSettings()
    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()

    def stopping_goal(self) -> Goal:
        """Return the metric that early stopping watches, with its direction."""
        own = self.early_stopping
        if own.monitor is None:
            kept = self.model_checkpoint.goal()
            return Goal(kept.metric, own.mode or kept.mode)
        return Goal(own.monitor, own.mode or natural_mode(own.monitor))


class LoggingSettings(Section):
    """What is written for TensorBoard beside losses, correlations and the learning rate."""

    tensorboard: bool = True
    """Write tensorboard_logs/."""
    gradient_histograms: bool = False
    """Histograms of gradients, once an epoch."""
    weight_histograms: bool = False
    """Histograms of weights, once an epoch."""

    @model_validator(mode="after")
    def _histograms_have_a_place(self) -> LoggingSettings:
        if not self.tensorboard and (self.gradient_histograms or self.weight_histograms):
            raise ValueError("histograms are written to TensorBoard; set logging.tensorboard to true")
        return self


class Config(Section):
    """All settings.  ``model`` and ``loss_weights`` are those of the chosen variant; see :func:`config_class`."""

    model: ModelSettings
    loss_weights: LossWeights
    training: TrainingSettings = TrainingSettings()
    data: DataSettings = DataSettings()
    hardware: HardwareSettings = HardwareSettings()
    callbacks: CallbackSettings = CallbackSettings()
    logging: LoggingSettings = LoggingSettings()
    tuning: TuningSettings = TuningSettings()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Config:
        problems = [
            *_unknown_metric("callbacks.model_checkpoint.monitor", self.callbacks.model_checkpoint.monitor, self),
            *_unknown_metric("callbacks.early_stopping.monitor", self.callbacks.stopping_goal().metric, self),
            *_unknown_metric("tuning.metric", self.tuning.metric, self),
        ]
        if not any(self.term_weights().values()):
            problems.append("loss_weights: every weight is zero; at least one term must count")
        if self.hardware.precision == "16-mixed" and self.hardware.accelerator == "cpu":
            problems.append("hardware.precision: 16-mixed needs a GPU; on a CPU use bf16-mixed or 32-true")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def metric_keys(self) -> list[str]:
        """List the validation metrics that a run with these settings reports every epoch."""
        return metric_keys("val", self.term_weights())

    def grace_period(self) -> int:
        """Return the epochs that ASHA lets every trial run."""
        tuning = self.tuning
        return min(
            tuning.asha.grace_period or max(DEFAULT_GRACE, self.epochs_of_ramps() + GRACE_AFTER_RAMPS),
            tuning.max_epochs,
            tuning.asha.max_t or tuning.max_epochs,
        )

    def n_replicas(self) -> int:
        """Return how many models a run trains side by side."""
        return (self.data.folds or 1) * self.training.replicas

    def epochs_of_ramps(self) -> int:
        """Return the epochs that the slowest ramp of a weight takes."""
        return max((r.epochs for r in self.loss_weights.ramps().values() if r.shape != "constant"), default=0)

    def term_weights(self) -> dict[str, float]:
        """Return {term: weight} for every loss term of the model."""
        return self.loss_weights.by_term(self.model)


def _unknown_metric(path: str, name: str, config: Config) -> list[str]:
    known = config.metric_keys()
    if name in known:
        return []
    hint = did_you_mean(name, known) or f" Known: {', '.join(known)}"
    return [f"{path}: no epoch reports a metric '{name}'.{hint}"]
