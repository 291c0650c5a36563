"""The settings of a sweep."""

from __future__ import annotations

from pydantic import Field

from cpivae.config.base import Mode, Section
from cpivae.names import Goal, natural_mode


class AshaSettings(Section):
    """Asynchronous successive halving (Li et al. 2020): which trials are stopped, and when."""

    grace_period: int = Field(8, ge=1)
    """Epochs that every trial may run."""
    reduction_factor: int = Field(3, ge=2)
    """At each rung one trial in this many goes on; rungs lie this factor apart."""


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
    startup_trials: int = Field(10, ge=1)
    """Trials drawn at random before the sampler (TPE) starts to learn from results."""
    asha: AshaSettings = AshaSettings()
    cpus_per_trial: float = Field(1, gt=0)
    """CPUs of a trial, and its number of threads."""
    gpus_per_trial: float = Field(0, ge=0)
    """GPUs of a trial; .25 puts four trials on one."""
    max_concurrent: int | None = Field(None, ge=1)
    """Trials at a time; null for as many as the CPUs and GPUs allow."""
    keep_weights: int | None = Field(None, ge=1)
    """Keep the weights of this many of the best trials only; null for all."""

    def goal(self) -> Goal:
        """Return the metric with its direction."""
        return Goal(self.metric, self.mode or natural_mode(self.metric))
