"""``cpivae export``: the best trial of a sweep, or a run, as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cpivae.errors import CpivaeError

if TYPE_CHECKING:
    from cpivae.training.again import Again


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

    from cpivae.export import pack
    from cpivae.training.again import Again
    from cpivae.training.folder import RunFolder

    confirmed: dict[str, Any] = {}
    if sweep is None:
        assert experiment_dir is not None
        again = Again(RunFolder(experiment_dir))
    else:
        again, confirmed = _trial_of(sweep, trial)
    notes = pack(again, output, confirmed)
    print("\n".join([f"exported {again.run.path} to {output}", *notes]))


def _trial_of(sweep: Path, trial: int | None) -> tuple[Again, dict[str, Any]]:
    """Return a trial, and what is confirmed of it."""
    from cpivae.tuning.folder import SweepFolder

    folder = SweepFolder.open(sweep)
    if trial is None:
        return folder.again(folder.best()), folder.confirmation()
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
    return folder.again(known[trial]), confirmed if confirmed.get("winner") == trial else {}
