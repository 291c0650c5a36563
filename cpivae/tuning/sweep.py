"""A sweep from checked settings to a finished folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.tuning import GRACE_AFTER_RAMPS
from cpivae.data.prepare import Folds, fingerprint
from cpivae.errors import FolderError, InterruptedSweepError, ResourceError, SweepFailedError
from cpivae.files import write_text
from cpivae.names import RunFiles
from cpivae.training.environment import environment
from cpivae.training.linear_skip import has_linear_skip, write_linear_maps
from cpivae.tuning.budget import Stopper
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.full_disk import interrupted_when_full
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.older import trials_of
from cpivae.tuning.place import Place, this_machine
from cpivae.tuning.progress import sweep_progress
from cpivae.tuning.ray_environment import set_ray_environment
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


def sweep_config(config: Config, place: Place | None = None) -> Config:
    """Return the base settings of every trial: one metric chooses the epoch, stops early and ranks the trials.

    ``place``: where they run; without it this machine.

    Raises
    ------
    ResourceError
        A trial asks for more CPUs or GPUs than a machine there has.
    """
    tuning = config.tuning
    (place or this_machine()).require(tuning)
    _require_gpu_settings(config)
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
            "hardware.accelerator": "gpu" if tuning.gpus else "cpu",
            "hardware.devices": 1,
            "hardware.threads": max(1, math.floor(tuning.cpus)),
        },
    )


def uses_linear_maps(config: Config, space: Space | None) -> bool:
    """Say whether any trial may have a linear skip."""
    return has_linear_skip(config) or (space is not None and space.may_choose("model.linear_skip", "ridge"))


def fit_linear_maps(config: Config, space: Space | None, folds: Folds) -> None:
    """Fit ridge regression now where a trial may need it; the data keep it."""
    if uses_linear_maps(config, space):
        for data in folds:
            data.linear_maps  # noqa: B018


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
    folder: SweepFolder,
    *,
    study_name: str,
    resume: bool = False,
    from_sweep: Path | None = None,
    proposals: Sequence[Proposal] = (),
    place: Place | None = None,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> SweepResult:
    """Run all trials and leave the sweep in ``folder``.

    Parameters
    ----------
    config : base settings, from :func:`sweep_config`.
    data_source : returns the prepared data; called once, so that no second copy stays in this process.
    resume : go on with the sweep in ``folder`` where there is one.
    from_sweep : an older sweep, whose trials the sampler learns from where they fit the space.
    proposals : what to try, instead of what a sampler proposes.
    place : a Ray cluster that this process has joined; without it Ray starts on this machine, for this sweep alone.
    quiet : show nothing of the trials while they run.

    Raises
    ------
    CpivaeError
        An occupied folder, a sweep of other settings or data, one that was interrupted, or one without a single score.
    """
    folder = replace(folder, path=folder.path.resolve())  # Ray's processes have other working directories
    resumed = resume and folder.has_begun()
    if not resumed:
        folder.require_new()
    older = [] if from_sweep is None or resumed else trials_of(SweepFolder.open(from_sweep), config, space)
    folds = data_source()
    described = {
        "space": space.text, "study_name": study_name, "data": folds[0].sources, "fingerprint": fingerprint(folds),
        "environment": environment(), "proposals": [p.origin for p in proposals],
    }  # fmt: skip
    if resumed and (moved := folder.require_same(config, described)):
        say(f"trials have other hardware from now on, and scores may differ in their last digits: {'; '.join(moved)}")
    linear_maps = []
    if uses_linear_maps(config, space):
        say("fitting ridge regression between the platforms, once for all trials")
        linear_maps = [data.linear_maps for data in folds]
    place = place or this_machine()
    set_ray_environment(loopback=not place.address)
    from cpivae.tuning import clusters, engine  # import Ray

    n_workers = place.trials(config.tuning)
    ray = f"Ray runs at {place.address}" if place.address else "starting Ray on this machine"
    say(f"{ray}; the first trials wait for it, and for their processes to load")
    ray_here = nullcontext() if place.address else clusters.local_ray(sum(data.nbytes for data in folds))
    with ray_here, folder.mirrored() as send, interrupted_when_full(folder.name):
        folder.path.mkdir(parents=True, exist_ok=True)
        with closing(Journal(folder.journal)) as journal:
            # After the journal is ours: another process may be running this sweep.  Before it knows of anything: until
            # then this process may end at any moment, and the same command starts the sweep.
            if not resumed:
                if folder.has_begun():
                    raise FolderError(
                        f"another process has begun a sweep in {folder.name} meanwhile. Choose another name."
                    )
                folder.create()
            folder.describe(config, described)
            ledger = Ledger(folder, config.tuning.goal(), config.tuning.keep_weights, journal)
            ledger.replay(read_journal(folder.journal))
            for trial in older:
                ledger.import_trial(*trial)
            ledger.start(config.tuning)
            for of_fold, where in zip(linear_maps, RunFiles.folds(folder.path, len(folds)), strict=False):
                where.mkdir(exist_ok=True)
                write_linear_maps(where, of_fold)
            del linear_maps
            send()
            showing = nullcontext() if quiet else sweep_progress(ledger, config.tuning, place, study_name)
            with showing:
                say(_beginning(config, ledger, n_workers))
                stopper = Stopper(config.tuning, ledger)
                task = engine.shared_trial(config, folder, study_name, folds)
                del folds  # the workers have it in shared memory; a second copy here would serve nobody
                try:
                    searcher = engine.run(config, space, task, ledger, n_workers, stopper, proposals)
                except InterruptedSweepError:
                    with suppress(OSError):  # a disk that is full, for one
                        ledger.interrupt()
                    raise
            try:
                return _ended(ledger, config, stopper.reason())
            finally:  # last, because that of a thousand trials takes half a minute
                searcher.write_database(folder.study, study_name)


def _beginning(config: Config, ledger: Ledger, n_workers: int) -> str:
    done = sum(course.ended for course in ledger.courses.values())
    known = f"{done} are done; " if done else ""
    learnt = f"{len(ledger.imported)} trials of an older sweep to learn from; " if ledger.imported else ""
    tuning = config.tuning
    return (
        f"{tuning.n_trials} trials of at most {tuning.max_epochs} epochs, {known}{learnt}{n_workers} at a time, in "
        f"{ledger.folder.name}"
    )


def _ended(ledger: Ledger, config: Config, reason: str) -> SweepResult:
    folder, n_trials = ledger.folder, config.tuning.n_trials
    done = sum(course.ended for course in ledger.courses.values())
    ledger.interrupt()
    folder.clear_half_written([course.record for course in ledger.courses.values() if course.ended])
    with suppress(OSError):
        folder.errors.rmdir()  # empty, where nothing has failed
    cut_off = done < n_trials and not reason
    summary = summarise(ledger, config, reason or ("interrupted" if cut_off else ""))
    write_text(folder.summary, json.dumps(summary, indent=2) + "\n")
    scored = bool(ranked(ledger.records, config.tuning.goal()))
    if scored:
        folder.write_best_config(folder.best())
    go_on = "The same command with --resume goes on."
    so_far = f" The best trial so far is in {folder.best_config.name}." if scored else ""
    if ledger.broken:
        raise SweepFailedError(
            f"the sweep in {folder.name} was given up: {len(ledger.last_errors)} trials in a row ended with the same "
            f"error, {ledger.broken}.{so_far} When its cause is mended, the same command with --resume goes on."
        )
    if cut_off and not scored:
        raise InterruptedSweepError(f"the sweep in {folder.name} was interrupted before any trial had a score. {go_on}")
    if reason and not scored:
        raise SweepFailedError(f"{reason}, and no trial in {folder.name} has a score yet. {go_on}")
    best = folder.best()
    if cut_off:
        raise InterruptedSweepError(
            f"the sweep was interrupted after {done} of {n_trials} trials. What was found so far is in {folder.name}; "
            f"its best trial ({best.number}) is in {folder.best_config.name}. {go_on}"
        )
    return SweepResult(folder, best, ledger.records, reason, summary)


def _require_gpu_settings(config: Config) -> None:
    tuning = config.tuning
    if tuning.gpu_hours is not None and not tuning.gpus:
        raise ResourceError(
            f"tuning.gpu_hours is {tuning.gpu_hours:g}, but trials get no GPU, so it would never be spent: give "
            "--gpus_per_trial (a part will do, such as 0.25), or --time_budget instead."
        )
    if config.hardware.accelerator == "gpu" and not tuning.gpus:
        raise ResourceError(
            "hardware.accelerator is gpu, but trials get no GPU: give --gpus_per_trial (a part will do, such as 0.25)."
        )
    if tuning.gpus > 1:
        raise ResourceError(f"--gpus_per_trial is {tuning.gpus:g}; a trial trains on one GPU or a part of it.")
