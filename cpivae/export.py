"""From a run folder to a bundle."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import cpivae
from cpivae.bundle import CARD, METRICS, write_manifest, write_weights
from cpivae.config.load import to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant
from cpivae.data.preprocess import Preprocessor
from cpivae.files import folder_written_whole, write_text
from cpivae.names import RunFiles
from cpivae.training.folder import RunFolder, read_preprocessors, write_preprocessor
from cpivae.training.linear_skip import read_linear_maps, write_linear_maps


def export_run(run: Path, output: Path, confirmed: dict[str, Any] | None = None) -> list[str]:
    """Pack a run's selected epoch into the new folder ``output``, whole or not at all.

    ``confirmed``: what a second look at the run's settings has found; see ``SweepFolder.confirmation``.
    Returns what the person who shares the bundle should know.

    Raises
    ------
    FolderError
        ``run`` is no finished run folder, or ``output`` is occupied.
    """
    folder = RunFolder.open(run)
    config = _without_private_paths(folder.config())
    metrics = _metrics(folder, config) | {"confirmed": confirmed or {}}
    fitted = [(fold, read_preprocessors(fold)) for fold in folder.folds()]
    (first, preprocessors), held = fitted[0], 0
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
        write_text(beside / CARD, model_card(config, preprocessors, metrics, held))
        write_manifest(beside, len(fitted))
    notes = []
    if held:
        notes += ["warning: the bundle holds the scaled values of the training samples (missing_value_strategy: knn)"]
    if discloses := load_variant(config.model.model_type).discloses:
        notes += [f"note: {discloses}"]
    return notes


def replace_bundle(run: Path, output: Path, confirmed: dict[str, Any] | None = None) -> list[str]:
    """Do as :func:`export_run`, in the place of a bundle that may be there from before."""
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as beside:
        notes = export_run(run, Path(beside) / output.name, confirmed)
        shutil.rmtree(output, ignore_errors=True)
        (Path(beside) / output.name).rename(output)
    return notes


def model_card(config: Config, preprocessors: dict[str, Preprocessor], metrics: dict[str, Any], held: int) -> str:
    """Describe a bundle for the people it is shared with, in Markdown; it holds ``held`` training samples."""
    variant = load_variant(config.model.model_type)
    known = {platform: len(p.features) for platform, p in preprocessors.items()}
    rows = []
    for stage, scores in (("validation", metrics["validation"]), ("test", metrics["test"])):
        prefix = "val" if stage == "validation" else "test"
        for target, source in (("a", "b"), ("b", "a")):
            if scores:
                name = f"{prefix}_cross_{target}"
                rows.append(
                    f"| {target} from {source} | {stage} | {scores[f'{name}_corr_mean']:.3f} | "
                    f"{scores[f'{name}_corr_median']:.3f} | {scores[f'{name}_mean_feature_r2']:.3f} | "
                    f"{scores[f'{name}_n_features']:.0f} |"
                )
    replicas = ""
    if config.n_replicas() > 1:
        replicas = (
            f"\nThis is {config.n_replicas()} models, which impute the mean of their predictions. Scores on validation "
            "samples are means over the models, each on the samples it has not learnt from; scores on test samples are "
            "those of the mean prediction.\n"
        )
    disclosed = (
        f"\n**This folder holds the scaled values of {held} training samples**, because gaps are filled from the "
        "nearest of them (`missing_value_strategy: knn`). Share it as you would share those samples.\n"
        if held
        else ""
    )
    if variant.discloses:
        disclosed += f"\nWhat {config.model.model_type} tells of its training samples: {variant.discloses}.\n"
    tested = _told_of_tests(metrics)
    return f"""# {config.model.model_type}: {known["a"]} features of platform A, {known["b"]} of platform B

{variant.summary} ({variant.paper}).

| prediction | samples | mean r per feature | median r | mean R2 per feature | features scored |
|---|---|---|---|---|---|
{chr(10).join(rows)}
{replicas}{tested}{disclosed}
## Use

    cpivae impute --experiment_dir THIS_FOLDER --input_data new_a.csv \\
        --source_platform a --target_platform b --output imputed_b.csv

Columns are matched by the names in `feature_names_a.txt` and `feature_names_b.txt`. Values are expected on the scale of
the training tables; gaps are filled with training statistics. Every file is listed with its SHA-256 in `MANIFEST.json`,
and reading this folder executes nothing.

## Not for

Decisions about a person. Proteins, matrices and cohorts unlike those of the training samples.

Written by cpivae {cpivae.__version__}; all settings are in `config.yaml`.
"""


def _told_of_tests(metrics: dict[str, Any]) -> str:
    """Say how far the scores can be trusted."""
    confirmed = metrics["confirmed"]
    if confirmed:
        own = next(c for c in confirmed["candidates"] if c["trial"] == confirmed["winner"])
        score = own["score"]
        looks = confirmed["test_looks"]
        looked = "once, after that" if looks == 1 else f"after that, for {looks} trials of this sweep so far"
        test = f" The test samples were looked at {looked}." if metrics["test"] else ""
        return (
            f"\nConfirmed: {confirmed['metric']} {score['mean']:.3f} (95 % interval {score['low']:.3f} to "
            f"{score['high']:.3f}) over {confirmed['folds']} folds x {confirmed['seeds']} seeds that the search had "
            f"not used; the search itself had said {own['search_score']:.3f}.{test}\n"
        )
    if metrics["test"]:
        return ""
    return (
        "\nThe validation samples chose this model, so its scores there are too good by some unknown amount; "
        "no test samples have been looked at.\n"
    )


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
