"""How long a GPU computes in a batch, by its own clock."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch.profiler import ProfilerActivity, profile


class GpuTime(pl.Callback):
    """Adds up the kernels and copies of an epoch, its training and its validation apart."""

    def __init__(self) -> None:
        self.batch: dict[str, float] = {}
        """Seconds of a batch of either kind; 0 where the GPU's counters cannot be read."""
        self.profiler: Any = None

    def on_train_epoch_start(self, *_: Any) -> None:
        self._start()

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop("train", int(trainer.num_training_batches))
        self._start()

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._stop("val", int(sum(trainer.num_val_batches)))

    def _start(self) -> None:
        _wait_for_gpu()
        # Without the CPU's own events: they would cost more than what is measured.
        self.profiler = profile(activities=[ProfilerActivity.CUDA])
        self.profiler.start()

    def _stop(self, stage: str, n_batches: int) -> None:
        _wait_for_gpu()
        self.profiler.stop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a next cycle would clear the events; there is none
            events = self.profiler.events()
        spans = [
            (event.time_range.start, event.time_range.end)
            for event in events
            # An annotation, such as an optimiser's step, spans the gaps between its kernels as well.
            if event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False)
        ]
        self.batch[stage] = covered(spans) * 1e-6 / max(1, n_batches)


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how much of the time lies within any of the spans: kernels of several streams may overlap.

    >>> covered([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
