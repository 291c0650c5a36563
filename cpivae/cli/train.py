"""``cpivae train``: one configuration, one run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpivae.cli.options import (
    EXPERIMENT,
    RUNS,
    ConfigFile,
    ExperimentName,
    FastDevRun,
    PlatformA,
    PlatformB,
    Replicas,
    ResumeFrom,
    Set,
    Transpose,
    Version,
    load_settings,
    run_folder,
)
from cpivae.cli.told import test_scores

if TYPE_CHECKING:
    from cpivae.training.callbacks import EpochReport
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
    set: Set = None,
) -> None:
    """Train one configuration and evaluate its best epoch on the test samples."""
    options = [f"training.replicas={replicas}"] if replicas is not None else []
    settings = load_settings(config, [*(set or []), *options], transpose=transpose)

    from cpivae.data.prepare import read_and_prepare
    from cpivae.files import require_new_folder
    from cpivae.training.run import build_module, count_parameters, fit, try_one_batch

    path = run_folder(output_dir, experiment_name, version)
    require_new_folder(path)
    folds, lines = read_and_prepare({"a": platform_a, "b": platform_b}, settings.data)
    print("\n".join(lines))
    n_replicas, n_parameters = settings.n_replicas(), count_parameters(build_module(settings, folds))
    several = f"{n_replicas} models of " if n_replicas > 1 else ""
    print(f"{settings.model.model_type}: {several}{n_parameters // n_replicas:,} parameters")
    if fast_dev_run:
        try_one_batch(settings, folds)
        print("fast_dev_run: one batch of training and validation went through; nothing was written")
        return
    print(f"training in {path}")
    epochs = settings.training.stop_epoch or settings.training.max_epochs
    result = fit(
        settings,
        folds,
        path,
        name=experiment_name,
        reporters=[EpochLines(epochs)],
        resume_from=resume_from_checkpoint,
    )
    print("\n".join(_summary(result, settings.callbacks.model_checkpoint.monitor)))


class EpochLines:
    """Prints a line per epoch; a plain object, so that it can travel to a worker process."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, report: EpochReport) -> None:
        shown = ("train_total_loss", "val_total_loss", "val_cross_a_corr_mean", "val_cross_b_corr_mean")
        values = "  ".join(f"{name} {report.metrics[name]:.4f}" for name in shown)
        print(f"epoch {report.epoch:>{len(str(self.epochs))}}/{self.epochs}  {values}", flush=True)


def _summary(result: RunResult, metric: str) -> list[str]:
    lines = [f"best of {result.epochs} epochs: {result.best_epoch}, {metric} {result.score:.4f}"]
    if result.test_metrics:
        lines.append(f"test samples, mean correlation per feature: {test_scores(result.test_metrics)}")
    else:
        lines.append("there is no test split, so nothing was evaluated on it")
    lines.append(f"the run is in {result.folder.path}")
    return lines
