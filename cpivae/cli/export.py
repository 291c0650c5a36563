"""``cpivae export``: the best trial of a sweep, or a run, as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cpivae.errors import CpivaeError


def export(
    output: Annotated[Path, typer.Option("--output", help="Folder of the new bundle.")],
    sweep: Annotated[Path | None, typer.Option("--sweep", help="Sweep folder whose best trial is exported.")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Export this trial instead of the best one.")] = None,
    experiment_dir: Annotated[
        Path | None, typer.Option("--experiment_dir", help="Run folder, instead of a sweep.")
    ] = None,
) -> None:
    """Pack a trained model into a folder that imputes new samples anywhere."""
    if (sweep is None) == (experiment_dir is None):
        raise CpivaeError("give either --sweep (a sweep folder) or --experiment_dir (a run folder).")
    if trial is not None and sweep is None:
        raise CpivaeError("--trial chooses a trial of --sweep; it does not go with --experiment_dir.")

    from cpivae.export import export_run

    confirmed: dict[str, Any] = {}
    if sweep is None:
        assert experiment_dir is not None
        run = experiment_dir
    else:
        run, confirmed = _run_of(sweep, trial)
    notes = export_run(run, output, confirmed)
    print("\n".join([f"exported {run} to {output}", *notes]))


def _run_of(sweep: Path, trial: int | None) -> tuple[Path, dict[str, Any]]:
    """Return the run folder of a trial, and what is confirmed of it."""
    from cpivae.tuning.folder import SweepFolder

    folder = SweepFolder.open(sweep)
    if trial is None:
        return folder.trial(folder.best()).path, folder.confirmation()
    known = {record.number: record for record in folder.records()}
    if trial not in known:
        raise CpivaeError(f"{sweep} has no trial {trial}; it has {len(known)}, numbered from 0 (see trials.csv).")
    run = folder.trial(known[trial])
    if not run.final_model.is_file():
        raise CpivaeError(
            f"the weights of trial {trial} ({known[trial].state}) were not kept; tuning.keep_weights is "
            f"{folder.config().tuning.keep_weights}. Train it again with --config {run.path / 'config.yaml'}"
        )
    confirmed = folder.confirmation()
    return run.path, confirmed if confirmed.get("winner") == trial else {}
