"""The words that several rooms share: platforms, metric keys, and file names inside a run folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

PLATFORMS: Final = ("a", "b")
"""Keys of the two platforms, everywhere and in this order."""

#: All (source, target) pairs of platforms.
DIRECTIONS: Final = tuple((source, target) for target in PLATFORMS for source in PLATFORMS)

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")

STATISTICS: Final = ("corr", "corr_mean", "corr_median", "r2", "mean_feature_r2", "rmse", "n_features")
"""What is measured for every (source, target) pair; see :mod:`cpivae.training.metrics`."""

MAX_FOLDS: Final = 100

TEMPORARY: Final = Path("/tmp")
"""Where Ray's temporary files are, because sockets must have short names."""
TEMPORARY_PREFIX: Final = "cpivae-"
"""What the names of our folders there begin with; the number of the process that owns one is next."""

TOTAL_LOSS: Final = "total_loss"


def fold_of(replica: int, n_folds: int) -> int:
    """Return the fold that a replica is trained on: each fold in turn, then again from another seed."""
    return replica % n_folds


def prediction(source: str, target: str) -> str:
    """Name the prediction of ``target`` from ``source``: ``recon_a`` is a from a, ``cross_a`` is a from *b*."""
    return f"recon_{target}" if source == target else f"cross_{target}"


def metric_keys(stage: str, terms: Iterable[str]) -> list[str]:
    """List every key that one epoch reports in a stage (``val`` or ``test``), in reporting order."""
    losses = [f"{stage}_{TOTAL_LOSS}", *(f"{stage}_{term}_loss" for term in terms)]
    scores = [f"{stage}_{prediction(s, t)}_{name}" for s, t in DIRECTIONS for name in STATISTICS]
    return losses + scores


def sd_of(metric: str) -> str:
    """Name the standard deviation of a metric over replicas; the metric itself is then their mean."""
    return f"{metric}_sd"


@dataclass(frozen=True)
class Goal:
    """Which metric is sought, and whether more or less of it is better."""

    metric: str
    mode: Literal["min", "max"]

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.mode == "max" else -1

    def better(self, new: float, old: float) -> bool:
        """Say whether ``new`` beats ``old``.  A NaN on the left never does; anything finite beats a NaN."""
        if old != old:
            return new == new
        return new > old if self.mode == "max" else new < old


def natural_mode(metric: str) -> Literal["min", "max"]:
    """Losses and errors are minimised, correlations and explained variance maximised."""
    return "min" if metric.endswith(("loss", "rmse")) else "max"


class RunFiles:
    """File names inside a run folder (see docs/run_folder.md)."""

    CONFIG: Final = "config.yaml"
    CHECKPOINTS: Final = "checkpoints"
    LAST: Final = "last.ckpt"
    STATE: Final = "state.ckpt"
    STATE_BEST: Final = "state_best."
    FINAL_MODEL: Final = "final_model.ckpt"
    LOG_PARAMS: Final = "log_params.yaml"
    SPLITS: Final = "splits.csv"
    METRICS: Final = "metrics.csv"
    REPLICAS: Final = "replicas.csv"
    TEST_METRICS: Final = "test_metrics.json"
    ENVIRONMENT: Final = "environment.json"
    TENSORBOARD: Final = "tensorboard_logs"
    LINEAR_SKIP: Final = "linear_skip.safetensors"
    FEATURES: Final = "features.csv"
    CALIBRATION: Final = "calibration.json"

    @staticmethod
    def folds(folder: Path, n: int) -> list[Path]:
        """Return where what was fitted to each fold lies: in the folder itself where there is one fold."""
        return [folder] if n == 1 else [folder / f"fold_{i}" for i in range(n)]

    @staticmethod
    def preprocess(platform: str) -> str:
        return f"preprocess_{platform}.skops"

    @staticmethod
    def scaler(platform: str) -> str:
        return f"scaler_{platform}.pkl"

    @staticmethod
    def feature_names(platform: str) -> str:
        return f"feature_names_{platform}.txt"


def plural(n: int, word: str) -> str:
    """Write a number of things.

    >>> plural(1, "epoch"), plural(2, "epoch")
    ('1 epoch', '2 epochs')
    """
    return f"{n} {word}{'' if n == 1 else 's'}"
