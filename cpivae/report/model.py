"""The part of the page about the best model: its proteins, its intervals, its latent space, and the baselines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpivae.baselines.evaluate import Scores
from cpivae.errors import CpivaeError
from cpivae.names import PLATFORMS, Split, plural
from cpivae.report import coverage, latent, proteins, versus
from cpivae.report.figures import Figure
from cpivae.report.findings import Finding
from cpivae.report.predictions import Predictions, predict
from cpivae.training.again import Again
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import TrialRecord
from cpivae.uncertainty.files import Calibrations


@dataclass
class ModelPart:
    """What the page is told of the best model."""

    told: dict[str, Any] = field(default_factory=lambda: {"model": None, "coverage": {}, "latent": {}, "baselines": {}})
    figures: dict[str, Figure | None] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    proteins: dict[str, Any] | None = None
    points: bytes = b""


def model_part(
    sweep: SweepFolder,
    best: TrialRecord | None,
    baselines: Scores | None = None,
    *,
    again: Again | None = None,
    umap: bool = True,
) -> ModelPart:
    """Return what is to be said of the best model; where that is not possible, why.

    Parameters
    ----------
    baselines : measured on the same data, to set the model beside.
    again : the best trial, where somebody has looked at it already.
    umap : whether to draw it; see :func:`cpivae.report.latent.section`.
    """
    if best is None:
        return _absent("No trial has a score yet, so there is no model to show.", [])
    try:
        again = again or sweep.again(best)
        # The test samples are read by a confirmation, after everything else is decided, and by nobody before it.
        tested = again.run.test_metrics() if sweep.confirmation() else {}
        predictions, calibrations = predict(again, _splits(tested)), again.calibrations
    except (CpivaeError, OSError) as error:
        why = f"The model of trial {best.number} cannot be shown: {error}"
        return _absent(why, [Finding("warn", "There is nothing here about the model.", why)])
    return shown(predictions, calibrations, len(again.folds), tested, baselines, umap=umap)


def _splits(tested: Mapping[str, float]) -> tuple[Split, ...]:
    return ("val", "test") if tested else ("val",)


def _absent(why: str, findings: list[Finding]) -> ModelPart:
    part = ModelPart(findings=findings)
    part.told["model_absent"] = why
    return part


def shown(
    predictions: Predictions,
    calibrations: Calibrations,
    n_folds: int,
    test_metrics: dict[str, float],
    baselines: Scores | None = None,
    *,
    umap: bool = True,
) -> ModelPart:
    """Return what is to be said of a model that predicts so; ``test_metrics`` are empty while nobody has read them."""
    part, by_platform = ModelPart(), proteins.tables(predictions.features)
    part.proteins, part.points = proteins.pack(predictions, by_platform)
    n, drawn = part.proteins["of"], part.proteins["n"]
    rows = (
        plural(n, "validation sample")
        if n_folds == 1
        else f"{n} samples, each predicted by the model of the fold that left it out"
    )
    part.told["model"] = {
        "rows": rows,
        "chance": f"{1.96 / n**0.5:.2f}",
        "test": _of_tests(test_metrics) if test_metrics else "",
        "cards": proteins.cards(by_platform),
        "points_note": "" if drawn == n else f"{drawn} of the {n} samples are drawn.",
    }
    part.figures["histogram"] = proteins.histogram(by_platform)
    part.tables |= {f"proteins_{p}": proteins.table_for_page(p, by_platform[p]) for p in PLATFORMS}
    part.told["coverage"], part.figures["coverage"], part.tables["coverage"] = coverage.section(
        calibrations, _splits(test_metrics)
    )
    part.told["latent"], part.figures["pca"], part.figures["umap"] = latent.section(predictions, umap=umap)
    if baselines is not None:
        _compare(part, predictions, baselines)
    return part


def _compare(part: ModelPart, predictions: Predictions, baselines: Scores) -> None:
    found = versus.compare(predictions.features, baselines)
    if found is None:
        part.told["baselines"] = {
            "absent": "Model and baselines have no protein in common that was scored on the same samples."
        }
        return
    part.told["baselines"] = {"told": [line._asdict() for line in found.told]}
    part.figures["differences"] = found.figure
    part.tables |= versus.tables(found)
    part.findings += found.told


def _of_tests(metrics: dict[str, float]) -> str:
    scores = ", ".join(f"{p.upper()} {metrics[f'test_cross_{p}_corr_mean']:.4f}" for p in PLATFORMS)
    return f"Mean correlation on the test samples, which cpivae confirm has read: {scores}."


def baseline_command(sweep: SweepFolder, described: dict[str, Any], output: Path) -> str:
    """Return the command that measures baselines on a sweep's data."""
    sources = described.get("data", {})
    words = ["cpivae", "baseline", "--config", str(sweep.best_config)]
    for platform in PLATFORMS:
        words += [f"--platform_{platform}", str(sources.get(f"platform_{platform}", {}).get("path"))]
    return shlex.join([*words, "--output_dir", str(output)])
