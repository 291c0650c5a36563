"""A few batches of a configuration on the real device: does it run, how fast, and in how much memory?"""

from __future__ import annotations

import faulthandler
import gc
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from math import ceil
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cpivae.config.load import make_config, to_plain
from cpivae.config.schema import Config
from cpivae.data.module import bytes_on_gpu
from cpivae.data.prepare import Folds
from cpivae.training.busy import GpuTime
from cpivae.training.hardware import resolve_hardware
from cpivae.training.memory import ran_out_of_memory
from cpivae.training.run import try_epochs

BATCHES, EPOCHS = 3, 2
"""Of which the last ones are timed: the first pay for first allocations and compiled kernels."""
MINUTES = 10
"""After which a configuration that has not finished them is given up."""
_RECORDED = 0.03
"""Seconds an epoch for what a probe leaves out: checkpoint, files, report (31 ms with 20 MB of weights)."""


@dataclass(frozen=True)
class Probe:
    """What a configuration costs, or why it cannot run."""

    problem: str = ""
    seconds_per_epoch: float = 0.0
    peak_bytes: int = 0
    """Largest memory that torch held on the GPU, in use or not; 0 on a CPU."""
    device_bytes: int = 0
    busy: float = 0.0
    """Share of an epoch in which the GPU computes; 0 where it was not measured."""

    def with_tables(self, folds: Folds) -> Probe:
        """Return it with all rows in the memory of the GPU, for one that was made with a few of them."""
        return replace(self, peak_bytes=self.peak_bytes + bytes_on_gpu(folds, self.device_bytes))


def probe(configs: Sequence[Config], folds: Folds, *, busy: bool = False) -> list[Probe]:
    """Try configurations, one after the other, in a process of their own; ``busy``: see how busy they keep a GPU.

    This process then holds nothing of a GPU for the hours that a sweep takes, and lives on when memory runs out.
    """
    found: list[Probe] = []
    pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=_end_with_its_parent)
    with pool:
        for config in configs:
            size = config.training.batch_size
            few = [data.few({"train": BATCHES * size, "val": size}) for data in folds]
            batches = {split: ceil(len(folds[0].rows(split)) / size) for split in ("train", "val")}
            try:
                found.append(pool.submit(_probe, to_plain(config), few, batches, busy).result().with_tables(folds))
            except BrokenProcessPool:
                why = f"as happens when the machine's memory is full, or after {MINUTES} minutes"
                return [*found, Probe(f"its process was ended, {why}")]
    return found


def _end_with_its_parent() -> None:
    """See to it that this process does not outlive one that was killed: it would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _probe(plain: dict[str, Any], folds: Folds, batches: Mapping[str, int], busy: bool) -> Probe:
    config = resolve_hardware(make_config(plain, "configuration"))
    timer = _Timer()
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115
    faulthandler.dump_traceback_later(60 * MINUTES, exit=True, file=nowhere)
    _forget_memory()
    try:
        try_epochs(config, folds, EPOCHS, timer)
    except Exception as error:  # any model may raise anything, plug-ins among them
        if ran_out_of_memory(error):
            return Probe("it does not fit into the memory of the device")
        return Probe(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")
    seconds = _of_an_epoch(timer.batch, batches) + timer.between() + _RECORDED
    if not (torch.cuda.is_available() and config.hardware.accelerator == "gpu"):
        return Probe(seconds_per_epoch=seconds)
    # What others cannot have: torch keeps what a model has freed.
    peak, there = torch.cuda.max_memory_reserved(), torch.cuda.get_device_properties(0).total_memory
    computes = gpu_seconds(config, folds, batches) if busy else 0.0
    return Probe(seconds_per_epoch=seconds, peak_bytes=peak, device_bytes=there, busy=min(1.0, computes / seconds))


def _forget_memory() -> None:
    """See to it that a peak is this configuration's, not an earlier one's."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def gpu_seconds(config: Config, folds: Folds, batches: Mapping[str, int]) -> float:
    """Return the seconds of an epoch in which the GPU computes; 0 where that cannot be found out."""
    gpu = GpuTime()
    try:
        try_epochs(config, folds, 1, gpu)  # apart from the timed epochs, which counting would slow down
    except Exception:  # the configuration runs; reading a GPU's counters may be forbidden
        return 0.0
    return _of_an_epoch(gpu.batch, batches)


def _of_an_epoch(batch: Mapping[str, float], batches: Mapping[str, int]) -> float:
    return sum(batches[stage] * seconds for stage, seconds in batch.items())


class _Timer(pl.Callback):
    """Times the last epoch: its batches of both kinds, and what lies between them."""

    def __init__(self) -> None:
        self.batch: dict[str, float] = {}
        self.whole = self.in_batches = self.started = self.epoch_started = 0.0

    def between(self) -> float:
        """Return the seconds of an epoch that are in none of its batches."""
        return max(0.0, self.whole - self.in_batches)

    def on_train_epoch_start(self, *_: Any) -> None:
        self.epoch_started, self.in_batches = _now(), 0.0

    def on_train_epoch_end(self, *_: Any) -> None:
        self.whole = _now() - self.epoch_started

    def on_train_batch_start(self, *_: Any) -> None:
        self.started = _now()

    def on_train_batch_end(self, *_: Any) -> None:
        self._ended("train")

    def on_validation_batch_start(self, *_: Any) -> None:
        self.started = _now()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._ended("val")

    def _ended(self, stage: str) -> None:
        self.batch[stage] = _now() - self.started
        self.in_batches += self.batch[stage]


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
