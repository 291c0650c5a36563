"""``cpivae baseline``: what a model has to beat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpivae.cli.options import (
    DropQcWarnings,
    MinDetected,
    PlatformA,
    PlatformB,
    Set,
    Transpose,
    load_settings,
    reading_overrides,
)
from cpivae.errors import DataError
from cpivae.names import MAX_FOLDS

if TYPE_CHECKING:
    import pandas as pd

    from cpivae.names import Split

BASELINES = Path("outputs_baseline")
"""Where the figures go, unless ``--output_dir`` says otherwise."""


def baseline(
    platform_a: PlatformA,
    platform_b: PlatformB,
    config: Annotated[
        str, typer.Option("--config", help="Settings, of which those of the data count: a YAML file, or a shipped one.")
    ] = "default",
    output_dir: Annotated[Path, typer.Option("--output_dir", help="New folder for the figures.")] = BASELINES,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Only this one; may be given several times.", show_default="all of them"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, max=MAX_FOLDS, help="Mean over so many folds.", show_default="data.folds"),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Also read the test samples.")] = False,
    feature_map: Annotated[
        Path | None,
        typer.Option(
            "--feature_map",
            help="Table of matching features, with columns feature_a and feature_b.",
            show_default="same name, text before |, or UniProt accession",
        ),
    ] = None,
    drop_qc_warnings: DropQcWarnings = False,
    min_detected: MinDetected = None,
    transpose: Transpose = False,
    set: Set = None,
) -> None:
    """Measure simple methods on the same splits with the same metrics: mean, copy, ridge, PLS, kNN, WNN."""
    options = [f"data.folds={folds}"] if folds is not None else []
    options += reading_overrides(transpose=transpose, drop_qc_warnings=drop_qc_warnings, min_detected=min_detected)
    settings = load_settings(config, [*(set or []), *options])

    from cpivae.baselines.evaluate import evaluate
    from cpivae.baselines.folder import write_baselines
    from cpivae.baselines.matching import matching_features, names_in_file, read_feature_map
    from cpivae.baselines.methods import known_methods
    from cpivae.config.load import to_plain
    from cpivae.data.prepare import fingerprint, read_and_prepare
    from cpivae.files import require_new_folder

    methods = known_methods(method or [])
    require_new_folder(output_dir)
    tables = {"a": platform_a, "b": platform_b}
    prepared, lines = read_and_prepare(tables, settings.data)
    print("\n".join(lines))
    data = prepared[0]
    features = {p: preprocessor.features for p, preprocessor in data.preprocessors.items()}
    if feature_map is None:
        matches = matching_features(features, {p: names_in_file(path, settings.data) for p, path in tables.items()})
    else:
        matches = read_feature_map(feature_map, features)
    pairs = f"{len({a for a, _ in matches})} features of a and {len({b for _, b in matches})} of b"
    print(f"{pairs} have a match on the other platform")
    n_test = len(data.rows("test"))
    if test and n_test == 0:
        raise DataError("--test asks for the test samples, but data.splits.test is 0. Leave it out, or set that share.")
    splits: tuple[Split, ...] = ("val", "test") if test else ("val",)
    scores = evaluate(prepared, splits, methods, matches, tell=lambda line: print(line, flush=True))
    import pandas as pd

    write_baselines(
        output_dir,
        scores,
        pd.concat({f"fold_{i}": fold.splits for i, fold in enumerate(prepared)}, axis="columns"),
        {
            "data": to_plain(settings)["data"],
            "tables": data.sources,
            "fingerprint": fingerprint(prepared),
            "methods": methods,
            "scored": list(splits),
            "matches": len(matches),
            "feature_map": None if feature_map is None else str(feature_map.resolve()),
        },
    )
    for split in splits:
        n = sum(len(fold.rows(split)) for fold in prepared) // (len(prepared) if split == "test" else 1)
        print("\n".join(table(scores.summary, split, n)))
    if not test:
        print(f"the {n_test} test samples were not read (--test reads them)" if n_test else "there are no test samples")
    print(f"figures, also of every feature, are in {output_dir}")


def table(summary: pd.DataFrame, split: str, n: int) -> list[str]:
    """Show the figures of one split, a line for each method and direction."""
    samples = "validation" if split == "val" else split
    columns = ("mean r", "median r", "RMSE", "features", "mean r, matched")
    head = [
        f"{n} {samples} samples, correlation per feature ('matched': of the features alone that copy predicts)",
        f"{'':<10}{'method':<8}" + "".join(f"{name:>{max(10, len(name) + 2)}}" for name in columns),
    ]
    return head + [
        f"{f'{row.target} from {row.source}':<10}{row.method:<8}{_number(row.corr_mean, 10)}"
        f"{_number(row.corr_median, 10)}{_number(row.rmse, 10)}{row.n_features:>10.0f}"
        f"{_number(row.corr_mean_matched, 17)}"
        for row in summary[summary["split"] == split].itertuples()
    ]


def _number(value: object, width: int) -> str:
    number = float(str(value))
    return f"{number:>{width}.4f}" if number == number else f"{'-':>{width}}"
