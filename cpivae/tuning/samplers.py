"""Optuna's samplers, every choice of their own spelt out."""

from __future__ import annotations

import warnings

import optuna

from cpivae.config.tuning import TuningSettings


def make_sampler(tuning: TuningSettings, number: int) -> optuna.samplers.BaseSampler:
    """Return a sampler whose draws depend on the sweep's seed and ``number``, and beyond that on the study alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _SAMPLERS[tuning.sampler](tuning, (tuning.seed * 1_000_003 + number) % 2**32)


def _tpe(tuning: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    """Return the tree-structured Parzen estimator (Bergstra et al. 2011); Optuna deprecates all its other arguments."""
    return optuna.samplers.TPESampler(
        n_startup_trials=tuning.startup_trials,
        n_ei_candidates=24,
        multivariate=True,
        group=True,  # settings exist only under their conditions
        constant_liar=True,  # trials run side by side
        seed=seed,
    )


def _random(_tuning: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _gp(tuning: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=tuning.startup_trials, deterministic_objective=False)


def _cmaes(tuning: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        seed=seed, n_startup_trials=tuning.startup_trials, warn_independent_sampling=False
    )


def _qmc(_tuning: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.QMCSampler(
        qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    )  # fmt: skip


IN_SEQUENCE = ("qmc",)
"""Samplers whose proposals are one sequence: another one per proposal would be no sequence."""
_SAMPLERS = {"tpe": _tpe, "random": _random, "gp": _gp, "cmaes": _cmaes, "qmc": _qmc}
