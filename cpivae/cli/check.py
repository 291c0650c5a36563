"""``cpivae check``: would this command line run, how long, and how much disk would it need?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cpivae.cli.examine import examine
from cpivae.cli.options import (
    EXPERIMENT,
    RUNS,
    ExperimentName,
    FastDevRun,
    Replicas,
    ResumeFrom,
    Version,
    run_folder,
    taking,
)
from cpivae.cli.tune_options import TuneOptions
from cpivae.errors import CpivaeError


@taking(TuneOptions)
def check(
    options: TuneOptions,
    search_space: Annotated[
        str | None,
        typer.Option("--search_space", help="What to vary; without it the command line is one of cpivae train."),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no_check", hidden=True)] = False,
    quiet: Annotated[bool, typer.Option("--quiet", hidden=True)] = False,  # noqa: ARG001
    experiment_name: ExperimentName = EXPERIMENT,
    version: Version = None,
    replicas: Replicas = None,
    resume_from_checkpoint: ResumeFrom = None,
    fast_dev_run: FastDevRun = False,
) -> None:
    """Check a tune (or train) command line without running it: give the same options, and read what is wrong."""
    from cpivae.tuning.folder import SweepFolder

    if search_space is not None:
        of_train = {"version": version, "replicas": replicas, "resume_from_checkpoint": resume_from_checkpoint}
        named = {"experiment_name": experiment_name != EXPERIMENT, "fast_dev_run": fast_dev_run}
        _refuse(of_train | named, "belong to cpivae train: leave them out, or leave out --search_space")
        folder = options.folder
    else:
        of_tune = {name: getattr(options, name) for name in TuneOptions.of_sweeps()}
        _refuse(of_tune, "belong to a sweep: give --search_space as well, or leave them out to check a run")
        folder = SweepFolder(run_folder(Path(options.output_dir or RUNS), experiment_name, version))
    extra = [f"training.replicas={replicas}"] if replicas is not None else []
    with options.place() as place:
        examine(options, search_space, folder, attempt_steps=not no_check, place=place, extra=extra)
    print("nothing is wrong with this command")


def _refuse(foreign: Mapping[str, Any], why: str) -> None:
    """Refuse options that are not of this command line, which would refuse them as well."""
    given = [f"--{name}" for name, value in foreign.items() if value not in (None, False)]
    if given:
        raise CpivaeError(f"{', '.join(given)} {why}.")
