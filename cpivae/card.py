"""The model card of a bundle, for the people it is shared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import cpivae
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant
from cpivae.data.measured import Origin
from cpivae.data.scale import Scales
from cpivae.names import PLATFORMS, plural
from cpivae.uncertainty.coverage import HALF_WIDTH, INTERVAL
from cpivae.uncertainty.files import Calibrations


def model_card(
    config: Config,
    features: Mapping[str, list[str]],
    metrics: dict[str, Any],
    held: int,
    calibrations: Calibrations,
    scales: Scales,
) -> str:
    """Describe a bundle for the people it is shared with, in Markdown; it holds ``held`` training samples."""
    variant = load_variant(config.model.model_type)
    known = {platform: len(names) for platform, names in features.items()}
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
{_uncertainty(calibrations)}
## Use

    cpivae impute --experiment_dir THIS_FOLDER --input_data new_a.csv \\
        --source_platform a --target_platform b --output imputed_b.csv

Columns are matched by the names in `feature_names_a.txt` and `feature_names_b.txt`; gaps are filled with training
statistics. Every file is listed with its SHA-256 in `MANIFEST.json`, and reading this folder executes nothing.

New tables must be in the units of the training tables:

| platform | training table | units | what was done in reading it |
|---|---|---|---|
{_of_tables(scales)}

## Not for

Decisions about a person. Proteins, matrices and cohorts unlike those of the training samples.

Written by cpivae {cpivae.__version__}; all settings are in `config.yaml`.
{_of_every_protein(calibrations, features)}"""


def _of_tables(scales: Scales) -> str:
    """Say in which units the training tables were, a row each."""
    rows = []
    for platform in PLATFORMS:
        table = scales.get(platform, Origin("not known", transform="not known"))
        cells = (text.replace("|", "\\|") for text in (platform, table.form, table.units, table.transform))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


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
            f"{score['high']:.3f}) over {plural(confirmed['folds'], 'fold')} x {plural(confirmed['seeds'], 'seed')} "
            f"that the search had not used; the search itself had said {own['search_score']:.3f}.{test}\n"
        )
    if metrics["test"]:
        return ""
    return (
        "\nThe validation samples chose this model, so its scores there are too good by some unknown amount; "
        "no test samples have been looked at.\n"
    )


def _uncertainty(calibrations: Calibrations) -> str:
    """Say how far standard deviations can be trusted."""
    if not calibrations:
        return (
            "## Uncertainty\n\nNot measured, because the training tables were not at hand at the export: "
            "`--uncertainty` and `--min_corr` do not work with this bundle.\n"
        )
    lines = []
    for target, source in (("a", "b"), ("b", "a")):
        one = calibrations[source, target]
        test = "not known" if one.test_coverage is None else f"{one.test_coverage:.1%}"
        lines.append(
            f"| {target} from {source} | {one.validation_coverage:.1%} of {one.rows} rows | {test} | "
            f"{one.follows_spread:.0%} |"
        )
    unread = any(c.test_coverage is None for c in calibrations.values())
    told = "\nCoverage on test samples is not known: none have been looked at.\n" if unread else ""
    return f"""## Uncertainty

`impute --uncertainty FILE` writes a standard deviation for every cell. The {INTERVAL:.0%} interval is value ±
{HALF_WIDTH:.3f} standard deviations, and covers, of all measured cells:

| prediction | validation, each part left out in turn | test | share of the variance that follows the models' spread |
|---|---|---|---|
{chr(10).join(lines)}
{told}"""


def _of_every_protein(calibrations: Calibrations, features: Mapping[str, list[str]]) -> str:
    """List what can be expected of every feature, the best first."""
    if not calibrations:
        return ""
    text = """
## What to expect of every protein

r: correlation on validation samples (few samples: a rough guess); n: samples in which it was measured there; sd:
standard deviation of what the prediction leaves open, in units of the table, or of log2 where the settings take it.
The same, with all digits, is in `features.csv`. `impute --min_corr 0.3` leaves out those with a smaller r.
"""
    for target, source in (("a", "b"), ("b", "a")):
        one = calibrations[source, target]
        text += f"\n### {target} from {source}\n\n| protein | r | n | sd |\n|---|---|---|---|\n"
        for i in np.argsort(-np.nan_to_num(one.corr, nan=-2.0), kind="stable"):
            r = "" if np.isnan(one.corr[i]) else f"{one.corr[i]:.3f}"
            name = features[target][i].replace("|", "\\|")
            text += f"| {name} | {r} | {one.n[i]} | {one.residual_sd[i]:.4g} |\n"
    return text
