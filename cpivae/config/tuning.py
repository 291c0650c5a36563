"""The settings of a sweep."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from cpivae.config.base import Mode, Section
from cpivae.errors import ResourceError
from cpivae.names import MAX_FOLDS, Goal, natural_mode

GRACE_AFTER_RAMPS = 3
"""Epochs that trials run at least when all weights have risen, before they are compared."""
DEFAULT_GRACE = 5
"""Epochs after which correlations of most models tell good settings from bad ones."""

AUTO: Literal["auto"] = "auto"
"""Instead of a number of CPUs or GPUs: measured when a sweep begins (:mod:`cpivae.tuning.packing`)."""


def _positive_or_auto(value: Any) -> Any:
    return _or_auto(value, "above 0", lambda number: number > 0)


def _not_negative_or_auto(value: Any) -> Any:
    return _or_auto(value, "of at least 0", lambda number: number >= 0)


def _or_auto(value: Any, bounds: str, inside: Callable[[float], bool]) -> Any:
    """Check both kinds here: pydantic would tell of a union's members one by one."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value == AUTO or (number and inside(value)):
        return value
    got = f"{value!r} (text)" if isinstance(value, str) else repr(value)
    raise ValueError(f"must be a number {bounds}, or auto, got {got}")


class AshaSettings(Section):
    """Asynchronous successive halving (Li et al. 2020): which trials are stopped, and when."""

    grace_period: int | None = Field(None, ge=1)
    """Epochs that every trial may run; null for 5, or 3 more than the slowest ramp of the base config takes."""
    reduction_factor: int = Field(3, ge=2)
    """At each rung one trial in this many goes on; rungs lie this factor apart."""
    max_t: int | None = Field(None, ge=1)
    """Epochs up to which trials are compared; null for max_epochs."""
    brackets: int = Field(1, ge=1, le=10)
    """Groups of trials, each compared among itself, whose first rung lies one reduction_factor later each."""


class TuningSettings(Section):
    """How a sweep searches; most of it has an option of ``cpivae tune`` that takes precedence."""

    metric: str = "val_cross_a_corr_mean"
    """What a trial is judged by: the best epoch's value."""
    mode: Mode | None = None
    """max or min; null for what suits the metric."""
    n_trials: int = Field(50, ge=1)
    """Settings to try."""
    max_epochs: int = Field(50, ge=1)
    """Epochs of a trial, at most; replaces training.max_epochs."""
    seed: int = Field(42, ge=0, lt=2**31)
    """Seed of the search; trial number n trains with seed + n."""
    sampler: Literal["tpe", "random", "gp", "cmaes", "qmc"] = "tpe"
    """Who proposes settings: tpe, random, gp (Gaussian process), cmaes or qmc (Sobol); the last three know no
    conditions and draw what stands under one at random."""
    startup_trials: int = Field(10, ge=1)
    """Trials drawn before the sampler starts to learn from results: at random, and with tpe, gp and cmaes every other
    one near the base config."""
    folds: int | None = Field(None, ge=2, le=MAX_FOLDS)
    """Judge every trial by the mean over so many folds, a model each, instead of one validation split: for data of a
    few hundred samples. Replaces data.folds."""
    asha: AshaSettings = AshaSettings()
    cpus_per_trial: Annotated[float | Literal["auto"], BeforeValidator(_positive_or_auto)] = 1.0
    """CPUs of a trial, and its number of threads; auto for what makes the sweep shortest, measured when it begins."""
    gpus_per_trial: Annotated[float | Literal["auto"], BeforeValidator(_not_negative_or_auto)] = 0.0
    """GPUs of a trial; .25 puts four trials on one, and auto as many as fit, measured when the sweep begins."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at a time; null for as many as the CPUs and GPUs allow."""
    time_budget: float | None = Field(None, gt=0)
    """Hours after which the sweep ends; on the command line also 90m or 2h. null for no limit."""
    gpu_hours: float | None = Field(None, gt=0)
    """GPU hours of all trials after which the sweep ends; null for no limit."""
    patience: int | None = Field(None, ge=1)
    """Trials that may end one after the other without a new best before the sweep ends; null for no limit."""
    timeout_minutes: float | None = Field(60, gt=0)
    """Minutes that a trial may go without finishing an epoch before it is given up; null for no limit."""
    checkpoint_seconds: float = Field(30, ge=0)
    """How often a trial's full state is kept, for going on after an interruption; 0 for every epoch."""
    keep_weights: int | None = Field(None, ge=1)
    """Keep the weights of this many of the best trials only; null for all."""

    @property
    def cpus(self) -> float:
        """CPUs of a trial, where they are a number."""
        return _number("cpus_per_trial", self.cpus_per_trial)

    @property
    def gpus(self) -> float:
        """GPUs of a trial, where they are a number."""
        return _number("gpus_per_trial", self.gpus_per_trial)

    def gpus_of(self, *, alone: bool) -> float:
        """Return the GPUs of one trial: ``alone``, of which there is one to itself, once memory ran out."""
        return 1 if alone and self.gpus else self.gpus

    def goal(self) -> Goal:
        """Return the metric with its direction."""
        return Goal(self.metric, self.mode or natural_mode(self.metric))


def _number(name: str, value: float | Literal["auto"]) -> float:
    if isinstance(value, str):
        raise ResourceError(
            f"tuning.{name} is auto, which is measured where cpivae tune begins a sweep. Give a number here."
        )
    return value
