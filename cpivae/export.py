"""From a run folder to a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from cpivae.bundle import CARD, METRICS, write_manifest, write_weights
from cpivae.card import model_card
from cpivae.config.load import to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant
from cpivae.errors import FolderError
from cpivae.files import folder_written_whole, in_place_of, write_text
from cpivae.names import RunFiles
from cpivae.training.again import Again
from cpivae.training.calibration import calibrations_of
from cpivae.training.folder import RunFolder, read_preprocessors, write_preprocessor
from cpivae.training.linear_skip import read_linear_maps, write_linear_maps
from cpivae.uncertainty.files import Calibrations, write_calibrations


def export_run(run: Path, output: Path, confirmed: dict[str, Any] | None = None) -> list[str]:
    """Do as :func:`pack`, with a run folder whose tables are where it has read them."""
    return pack(Again(RunFolder(run)), output, confirmed)


def pack(again: Again, output: Path, confirmed: dict[str, Any] | None = None) -> list[str]:
    """Pack a run's selected epoch into the new folder ``output``, whole or not at all.

    How uncertain its predictions are is measured here, for which its tables are read again, unless the run has done so.

    ``confirmed``: what a second look at the run's settings has found; see ``SweepFolder.confirmation``.
    Returns what the person who shares the bundle should know.

    Raises
    ------
    FolderError
        It is no finished run folder, or ``output`` is occupied.
    """
    folder = RunFolder.open(again.run.path)
    config = _without_private_paths(folder.config())
    metrics = _metrics(folder, config) | {"confirmed": confirmed or {}}
    fitted = [(fold, read_preprocessors(fold)) for fold in folder.folds()]
    (first, preprocessors), held = fitted[0], 0
    features = {platform: p.features for platform, p in preprocessors.items()}
    calibrations, unmeasured = _calibrations(again)
    scales = folder.scales()
    if rows := max(p.training_rows_inside for p in preprocessors.values()):
        held = rows if len(fitted) == 1 else _samples_of_all_folds(first)
    with folder_written_whole(output) as beside:
        write_text(beside / RunFiles.CONFIG, to_yaml(config))
        write_weights(beside, folder.weights())
        for (source, of_fold), target in zip(fitted, RunFiles.folds(beside, len(fitted)), strict=True):
            target.mkdir(exist_ok=True)
            if linear_maps := read_linear_maps(source, config):
                write_linear_maps(target, linear_maps)
            for platform, preprocessor in of_fold.items():
                write_preprocessor(target, platform, preprocessor)
        write_text(beside / METRICS, json.dumps(metrics, indent=2) + "\n")
        if calibrations:
            write_calibrations(beside, calibrations, features)
        write_text(beside / CARD, model_card(config, features, metrics, held, calibrations, scales))
        write_manifest(beside, len(fitted), scales)
    notes = [f"warning: {unmeasured}"] if unmeasured else []
    if held:
        notes += ["warning: the bundle holds the scaled values of the training samples (missing_value_strategy: knn)"]
    if discloses := load_variant(config.model.model_type).discloses:
        notes += [f"note: {discloses}"]
    return notes


def replace_bundle(again: Again, output: Path, confirmed: dict[str, Any] | None = None) -> list[str]:
    """Do as :func:`pack`, in the place of a bundle that may be there from before."""
    with in_place_of(output) as beside:
        return pack(again, beside, confirmed)


def _calibrations(again: Again) -> tuple[Calibrations, str]:
    """Return how uncertain the run's predictions are, or why that cannot be said."""
    try:
        return calibrations_of(again), ""
    except FolderError as error:
        return {}, f"the bundle cannot say how uncertain its predictions are: {error}"


def _samples_of_all_folds(fold: Path) -> int:
    """Count the samples that some fold learns from: what one leaves out the others have."""
    return int((pd.read_csv(fold / RunFiles.SPLITS)["split"] != "test").sum())


def _metrics(folder: RunFolder, config: Config) -> dict[str, Any]:
    """Return the selected epoch's validation metrics, and the test metrics where the run has them."""
    row = folder.selected_epoch()
    return {
        "epoch": int(row["epoch"]),
        "selected_by": config.callbacks.model_checkpoint.monitor,
        "validation": {str(name): float(row[name]) for name in row.index if str(name).startswith("val_")},
        "test": folder.test_metrics(),
    }


def _without_private_paths(config: Config) -> Config:
    """A bundle is for sharing: it keeps the name of the samples table, not where it lay."""
    table = config.data.samples_table
    return config if table is None else with_values(config, {"data.samples_table": table.name})
