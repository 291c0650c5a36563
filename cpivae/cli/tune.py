"""``cpivae tune``: a sweep over settings, its best trial exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from cpivae.cli.options import ConfigFile, PlatformA, PlatformB, Set, Transpose, hours, load_settings, plain_name

_FROM_CONFIG = "tuning.{} of the config"


def _of_config(key: str) -> str:
    return _FROM_CONFIG.format(key)


def tune(
    config: ConfigFile,
    search_space: Annotated[
        str, typer.Option("--search_space", help="What to vary: a YAML file, or a shipped one's name.")
    ],
    platform_a: PlatformA,
    platform_b: PlatformB,
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where sweeps are kept.")] = Path("outputs_tune"),
    study_name: Annotated[
        str, typer.Option("--study_name", callback=plain_name, help="Folder of this sweep.")
    ] = "joint_vae_study",
    n_trials: Annotated[
        int | None, typer.Option("--n_trials", min=1, help="Settings to try.", show_default=_of_config("n_trials"))
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option("--max_epochs", min=1, help="Epochs of a trial at most.", show_default=_of_config("max_epochs")),
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="What trials are judged by.", show_default=_of_config("metric"))
    ] = None,
    cpus_per_trial: Annotated[
        float | None,
        typer.Option("--cpus_per_trial", help="CPUs of a trial.", show_default=_of_config("cpus_per_trial")),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option("--gpus_per_trial", help="GPUs of a trial, or a part.", show_default=_of_config("gpus_per_trial")),
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option("--max_concurrent", min=1, help="Trials at a time.", show_default=_of_config("max_concurrent")),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the search.", show_default=_of_config("seed"))
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(
            "--time_budget",
            parser=hours,
            metavar="DURATION",
            help="End after this long, such as 90m or 2h.",
            show_default=_of_config("time_budget"),
        ),
    ] = None,
    gpu_hours: Annotated[
        float | None,
        typer.Option("--gpu_hours", help="End after so many GPU hours.", show_default=_of_config("gpu_hours")),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this sweep where there is one; --n_trials may grow.")
    ] = False,
    from_sweep: Annotated[
        Path | None, typer.Option("--from_sweep", help="An older sweep whose trials the sampler learns from.")
    ] = None,
    transpose: Transpose = False,
    set: Set = None,
) -> None:
    """Search for the best settings: Optuna proposes, ASHA stops the hopeless, the best trial is exported."""
    given: dict[str, Any] = {
        "n_trials": n_trials,
        "max_epochs": max_epochs,
        "metric": metric,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "max_concurrent": max_concurrent,
        "seed": seed,
        "time_budget": time_budget,
        "gpu_hours": gpu_hours,
    }
    options = [f"tuning.{name}={value}" for name, value in given.items() if value is not None]
    # A metric given here brings its own direction, unless --set names one.
    direction = ["tuning.mode=null"] if metric is not None else []
    settings = load_settings(config, [*direction, *(set or []), *options], transpose=transpose)

    from cpivae.config.space import load_space
    from cpivae.data.prepare import Folds, read_and_prepare
    from cpivae.export import export_run
    from cpivae.tuning.sweep import run_sweep, sweep_config

    space = load_space(search_space, settings)
    base = sweep_config(settings)

    def read() -> Folds:
        folds, lines = read_and_prepare({"a": platform_a, "b": platform_b}, base.data)
        print("\n".join(lines))
        return folds

    if settings.grace_period() < settings.epochs_of_ramps() + 3:
        print(
            f"warning: tuning.asha.grace_period is {settings.grace_period()}, but a weight rises over "
            f"{settings.epochs_of_ramps()} epochs: trials are compared before that is over"
        )
    result = run_sweep(
        base, space, read, output_dir / study_name, study_name=study_name, resume=resume, from_sweep=from_sweep
    )
    folder, best = result.folder, result.best
    shutil.rmtree(folder.best_bundle, ignore_errors=True)  # from before the sweep was resumed
    notes = export_run(folder.trial(best).path, folder.best_bundle)
    if result.reason:
        print(f"ended early: {result.reason}")
    print(f"best of {len(result.records)} trials: {best.number}, {base.tuning.metric} {best.score:.4f}")
    if result.base is not None and result.base.score is not None and best.score is not None:
        print(f"  gained    {best.score - result.base.score:+.4f} over the base config ({result.base.score:.4f})")
    print(f"  spent     {result.spent()}")
    print(f"  trials    {folder.trials_file}")
    print(f"  settings  {folder.best_config}   (cpivae train --config repeats it)")
    print(f"  bundle    {folder.best_bundle}   (cpivae impute --experiment_dir uses it)")
    for note in notes:
        print(note)
