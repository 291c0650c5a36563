"""A sweep from checked settings to a finished folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.tuning import GRACE_AFTER_RAMPS
from cpivae.data.prepare import Folds, fingerprint
from cpivae.errors import InterruptedSweepError, ResourceError, SweepFailedError
from cpivae.files import require_new_folder, write_text
from cpivae.names import RunFiles
from cpivae.training.environment import environment
from cpivae.training.hardware import cpus, gpus
from cpivae.training.linear_skip import has_linear_skip, write_linear_maps
from cpivae.tuning.budget import Stopper
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.older import trials_of
from cpivae.tuning.progress import sweep_progress
from cpivae.tuning.record import Proposal, TrialRecord, ranked
from cpivae.tuning.summary import summarise


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended."""

    folder: SweepFolder
    best: TrialRecord
    records: list[TrialRecord]
    reason: str = ""
    """Why it ended before all trials were done, if a budget ended it."""
    summary: dict[str, Any] = field(default_factory=dict)
    """What it came to; also in ``summary.json``."""


def sweep_config(config: Config) -> Config:
    """Return the base settings of every trial: one metric chooses the epoch, stops early and ranks the trials.

    Raises
    ------
    ResourceError
        A trial asks for more CPUs or GPUs than this machine has.
    """
    tuning = config.tuning
    _require_resources(config)
    return with_values(
        config,
        {
            "training.max_epochs": tuning.max_epochs,
            "training.replicas": 1,
            "data.folds": tuning.folds or config.data.folds,
            "callbacks.model_checkpoint.monitor": tuning.metric,
            "callbacks.model_checkpoint.mode": tuning.goal().mode,
            "callbacks.early_stopping.monitor": None,
            "callbacks.early_stopping.mode": None,
            "hardware.accelerator": "gpu" if tuning.gpus_per_trial else "cpu",
            "hardware.devices": 1,
            "hardware.threads": max(1, math.floor(tuning.cpus_per_trial)),
        },
    )


def concurrent_trials(config: Config) -> int:
    """Return how many trials run side by side: what is asked for, and never more than the machine holds."""
    tuning = config.tuning
    fits = [math.floor(cpus() / tuning.cpus_per_trial)]
    if tuning.gpus_per_trial:
        fits.append(math.floor(gpus() / tuning.gpus_per_trial))
    return max(1, min([*fits, tuning.n_trials, *([tuning.max_concurrent] if tuning.max_concurrent else [])]))


def uses_linear_maps(config: Config, space: Space | None) -> bool:
    """Say whether any trial may have a linear skip."""
    return has_linear_skip(config) or (space is not None and space.may_choose("model.linear_skip", "ridge"))


def grace_warning(config: Config) -> str:
    """Say so if trials are compared before the weight of a term has risen; empty if they are not."""
    grace, ramps = config.grace_period(), config.epochs_of_ramps()
    if not ramps or grace >= ramps + GRACE_AFTER_RAMPS:
        return ""
    return (
        f"warning: tuning.asha.grace_period is {grace}, but a weight rises over {ramps} epochs: trials are compared "
        f"before that is over, or less than {GRACE_AFTER_RAMPS} epochs after"
    )


def run_sweep(
    config: Config,
    space: Space,
    data_source: Callable[[], Folds],
    path: Path,
    *,
    study_name: str,
    resume: bool = False,
    from_sweep: Path | None = None,
    proposals: Sequence[Proposal] = (),
    say: Callable[[str], None] = print,
) -> SweepResult:
    """Run all trials and leave the sweep folder ``path``.

    Parameters
    ----------
    config : base settings, from :func:`sweep_config`.
    data_source : returns the prepared data; called once, so that no second copy stays in this process.
    resume : go on with the sweep in ``path`` where there is one.
    from_sweep : an older sweep, whose trials the sampler learns from where they fit the space.
    proposals : what to try, instead of what a sampler proposes.

    Raises
    ------
    CpivaeError
        An occupied folder, a sweep of other settings or data, one that was interrupted, or one without a single score.
    """
    path = path.resolve()  # Ray's processes have other working directories
    folder = SweepFolder(path)
    resumed = resume and folder.journal.is_file()
    if not resumed:
        require_new_folder(path, "--resume continues it" if folder.journal.is_file() else "")
    older = [] if from_sweep is None or resumed else trials_of(SweepFolder.open(from_sweep), config, space)
    folds = data_source()
    described = {
        "space": space.text, "study_name": study_name, "data": folds[0].sources, "fingerprint": fingerprint(folds),
        "environment": environment(), "proposals": [p.origin for p in proposals],
    }  # fmt: skip
    if resumed:
        folder.require_same(config, described)
    linear_maps = []
    if uses_linear_maps(config, space):
        say("fitting ridge regression between the platforms, once for all trials")
        linear_maps = [data.linear_maps for data in folds]
    _set_ray_environment()
    from cpivae.tuning import engine  # imports Ray, which reads the environment once

    goal, n_trials, n_workers = config.tuning.goal(), config.tuning.n_trials, concurrent_trials(config)
    say("starting Ray on this machine; the first trials wait for it, and for their processes to load")
    with engine.local_ray(sum(data.nbytes for data in folds)):
        if not resumed:
            folder.create()
        with closing(Journal(folder.journal)) as journal:
            # After the journal is ours: another process may be running this sweep.
            folder.describe(config, described)
            for of_fold, where in zip(linear_maps, RunFiles.folds(path, len(folds)), strict=False):
                where.mkdir(exist_ok=True)
                write_linear_maps(where, of_fold)
            del linear_maps
            with sweep_progress(n_trials, goal) as listener:
                ledger = Ledger(folder, goal, config.tuning.keep_weights, listener, journal)
                ledger.replay(read_journal(folder.journal))
                for trial in older:
                    ledger.import_trial(*trial)
                say(_beginning(config, ledger, n_workers))
                stopper = Stopper(config.tuning, ledger)
                task = engine.shared_trial(config, folder, study_name, folds)
                del folds  # the workers have it in shared memory; a second copy here would serve nobody
                try:
                    engine.run(config, space, task, ledger, study_name, n_workers, stopper, proposals)
                except InterruptedSweepError:
                    with suppress(OSError):  # a disk that is full, for one
                        ledger.interrupt()
                    raise
            return _ended(ledger, config, stopper.reason())


def _beginning(config: Config, ledger: Ledger, n_workers: int) -> str:
    done = sum(course.ended for course in ledger.courses.values())
    known = f"{done} are done; " if done else ""
    learnt = f"{len(ledger.imported)} trials of an older sweep to learn from; " if ledger.imported else ""
    tuning = config.tuning
    return (
        f"{tuning.n_trials} trials of at most {tuning.max_epochs} epochs, {known}{learnt}{n_workers} at a time, in "
        f"{ledger.folder.path}"
    )


def _ended(ledger: Ledger, config: Config, reason: str) -> SweepResult:
    folder, n_trials = ledger.folder, config.tuning.n_trials
    done = sum(course.ended for course in ledger.courses.values())
    ledger.interrupt()
    with suppress(OSError):
        folder.errors.rmdir()  # empty, where nothing has failed
    cut_off = done < n_trials and not reason
    summary = summarise(ledger.records, config, reason or ("interrupted" if cut_off else ""))
    write_text(folder.summary, json.dumps(summary, indent=2) + "\n")
    scored = bool(ranked(ledger.records, config.tuning.goal()))
    if scored:
        folder.write_best_config(folder.best())
    go_on = "The same command with --resume goes on."
    so_far = f" The best trial so far is in {folder.best_config.name}." if scored else ""
    if ledger.broken:
        raise SweepFailedError(
            f"the sweep in {folder.path} was given up: {len(ledger.last_errors)} trials in a row ended with the same "
            f"error, {ledger.broken}.{so_far} When its cause is mended, the same command with --resume goes on."
        )
    if cut_off and not scored:
        raise InterruptedSweepError(f"the sweep in {folder.path} was interrupted before any trial had a score. {go_on}")
    if reason and not scored:
        raise SweepFailedError(f"{reason}, and no trial in {folder.path} has a score yet. {go_on}")
    best = folder.best()
    if cut_off:
        raise InterruptedSweepError(
            f"the sweep was interrupted after {done} of {n_trials} trials. What was found so far is in {folder.path}; "
            f"its best trial ({best.number}) is in {folder.best_config.name}. {go_on}"
        )
    return SweepResult(folder, best, ledger.records, reason, summary)


def _require_resources(config: Config) -> None:
    tuning = config.tuning
    for kind, asked, there in (("CPU", tuning.cpus_per_trial, cpus()), ("GPU", tuning.gpus_per_trial, gpus())):
        if asked > there:
            raise ResourceError(
                f"a trial asks for {asked:g} {kind}(s), but this machine has {there}: it would wait for ever. "
                f"Lower --{kind.lower()}s_per_trial."
            )
    if config.hardware.accelerator == "gpu" and not tuning.gpus_per_trial:
        raise ResourceError(
            "hardware.accelerator is gpu, but trials get no GPU: give --gpus_per_trial (a part will do, such as 0.25)."
        )
    if tuning.gpus_per_trial > 1:
        raise ResourceError(
            f"--gpus_per_trial is {tuning.gpus_per_trial:g}; a trial trains on one GPU or a part of it."
        )


def _set_ray_environment() -> None:
    settings: dict[str, Any] = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": 0,  # the one switch that binds every port to loopback
        "RAY_USAGE_STATS_ENABLED": 0,
        "RAY_AIR_NEW_OUTPUT": 0,
        "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # the ledger's line says what happened
        "RAY_CHDIR_TO_TRIAL_DIR": 0,
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": 1,
        # A stopped trial needs time to unwind before its process is reused.
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": 60,
        # Every trial runs in a new thread of its worker, and glibc would give each thread memory of its own.
        "MALLOC_ARENA_MAX": 1,
    }
    for name, value in settings.items():
        os.environ.setdefault(name, str(value))
