"""``cpivae tune``: a sweep over settings, its best trial exported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cpivae.cli.options import ConfigFile, PlatformA, PlatformB, Set, Transpose, load_settings, plain_name

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
    }
    options = [f"tuning.{name}={value}" for name, value in given.items() if value is not None]
    # A metric given here brings its own direction, unless --set names one.
    direction = ["tuning.mode=null"] if metric is not None else []
    settings = load_settings(config, [*direction, *(set or []), *options], transpose=transpose)

    from cpivae.config.space import load_space
    from cpivae.data.prepare import PreparedData, read_and_prepare
    from cpivae.export import export_run
    from cpivae.tuning.sweep import run_sweep, sweep_config

    space = load_space(search_space, settings)
    base = sweep_config(settings)

    def read() -> PreparedData:
        data, lines = read_and_prepare({"a": platform_a, "b": platform_b}, base.data)
        print("\n".join(lines))
        return data

    result = run_sweep(base, space, read, output_dir / study_name, study_name=study_name)
    folder, best = result.folder, result.best
    notes = export_run(folder.trial(best).path, folder.best_bundle)
    print(f"best of {len(result.records)} trials: {best.number}, {base.tuning.metric} {best.score:.4f}")
    print(f"  trials    {folder.trials_file}")
    print(f"  settings  {folder.best_config}   (cpivae train --config repeats it)")
    print(f"  bundle    {folder.best_bundle}   (cpivae impute --experiment_dir uses it)")
    for note in notes:
        print(note)
