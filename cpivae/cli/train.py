"""``cpivae train``: one configuration, one run folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpivae.cli.options import (
    EXPERIMENT,
    RUNS,
    ConfigFile,
    DropQcWarnings,
    ExperimentName,
    FastDevRun,
    MinDetected,
    PlatformA,
    PlatformB,
    Replicas,
    ResumeFrom,
    Set,
    Transpose,
    Version,
    load_settings,
    reading_overrides,
    run_folder,
)
from cpivae.cli.told import Quiet, sayer, test_scores
from cpivae.names import RunFiles

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.data.prepare import Folds
    from cpivae.training.run import RunResult


def train(
    config: ConfigFile,
    platform_a: PlatformA,
    platform_b: PlatformB,
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where experiments are kept.")] = RUNS,
    experiment_name: ExperimentName = EXPERIMENT,
    version: Version = None,
    resume_from_checkpoint: ResumeFrom = None,
    fast_dev_run: FastDevRun = False,
    replicas: Replicas = None,
    transpose: Transpose = False,
    drop_qc_warnings: DropQcWarnings = False,
    min_detected: MinDetected = None,
    set: Set = None,
    quiet: Quiet = False,
) -> None:
    """Train one configuration and evaluate its best epoch on the test samples."""
    options = [f"training.replicas={replicas}"] if replicas is not None else []
    options += reading_overrides(transpose=transpose, drop_qc_warnings=drop_qc_warnings, min_detected=min_detected)
    settings = load_settings(config, [*(set or []), *options])

    from cpivae.data.prepare import read_and_prepare
    from cpivae.files import require_new_folder
    from cpivae.training.run import build_module, count_parameters, try_one_batch

    path = run_folder(output_dir, experiment_name, version)
    require_new_folder(path)
    folds, lines = read_and_prepare({"a": platform_a, "b": platform_b}, settings.data)
    say = sayer(quiet)
    say("\n".join(lines))
    n_replicas, n_parameters = settings.n_replicas(), count_parameters(build_module(settings, folds))
    several = f"{n_replicas} models of " if n_replicas > 1 else ""
    say(f"{settings.model.model_type}: {several}{n_parameters // n_replicas:,} parameters")
    if fast_dev_run:
        try_one_batch(settings, folds)
        print("fast_dev_run: one batch of training and validation went through; nothing was written")
        return
    say(f"training in {path}")
    result = _fitted(settings, folds, path, name=experiment_name, resume_from=resume_from_checkpoint, quiet=quiet)
    print("\n".join(_summary(result, settings.callbacks.model_checkpoint.monitor)))


def _fitted(
    settings: Config, folds: Folds, path: Path, *, name: str, resume_from: Path | None, quiet: bool
) -> RunResult:
    """Train, and show how it goes."""
    from cpivae.cli.epochs import EpochBar, EpochLines
    from cpivae.terminal.live import live
    from cpivae.terminal.region import is_live
    from cpivae.training.run import fit

    epochs = settings.training.stop_epoch or settings.training.max_epochs
    if quiet or not is_live(sys.stdout):
        return fit(
            settings, folds, path, name=name, reporters=[] if quiet else [EpochLines(epochs)], resume_from=resume_from
        )
    bar = EpochBar(name, path / RunFiles.METRICS, epochs, settings.callbacks.model_checkpoint.goal(), sys.stdout)
    with live(bar.draw, sys.stdout):
        try:
            return fit(settings, folds, path, name=name, resume_from=resume_from)
        finally:
            bar.over = True


def _summary(result: RunResult, metric: str) -> list[str]:
    lines = [f"best after {result.best_epoch + 1} of {result.epochs} epochs: {metric} {result.score:.4f}"]
    if result.test_metrics:
        lines.append(f"test samples, mean correlation per feature: {test_scores(result.test_metrics)}")
    else:
        lines.append("there is no test split, so nothing was evaluated on it")
    lines.append(f"the run is in {result.folder.path}")
    return lines
