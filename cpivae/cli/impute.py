"""``cpivae impute``: a table of one platform in, a table of the other out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cpivae.cli.options import Transpose
from cpivae.errors import DataError

Platform = Literal["a", "b"]


def impute(
    experiment_dir: Annotated[Path, typer.Option("--experiment_dir", help="A bundle, or a run folder.")],
    input_data: Annotated[Path, typer.Option("--input_data", help="Table of the source platform.")],
    source_platform: Annotated[Platform, typer.Option("--source_platform", help="Platform of the input.")],
    target_platform: Annotated[Platform, typer.Option("--target_platform", help="Platform to predict.")],
    output: Annotated[Path, typer.Option("--output", help="Table to write; its ending chooses the format.")],
    output_latent: Annotated[
        Path | None, typer.Option("--output_latent", help="Also write the samples' latent codes to this table.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow_missing", help="Fill features that the table lacks with training statistics.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of what is drawn, for a model with model.sampling_noise.")
    ] = 0,
    transpose: Transpose = False,
) -> None:
    """Predict one platform's values for samples measured on the other."""
    from cpivae.data.readers import read_table, require_output, write_table
    from cpivae.impute import load_imputer

    outputs = [output] if output_latent is None else [output, output_latent]
    for path in outputs:
        require_output(path)
    if len({path.resolve() for path in (input_data, *outputs)}) < 1 + len(outputs):
        raise DataError(
            "--input_data, --output and --output_latent must be different files: one would replace another."
        )
    imputer = load_imputer(experiment_dir)
    table = read_table(input_data, transpose=transpose)
    imputed = imputer.impute(table, source_platform, target_platform, allow_missing=allow_missing, seed=seed)
    for note in imputed.notes:
        print(note)
    write_table(imputed.values, output)
    print(f"wrote {imputed.values.shape[0]} samples x {imputed.values.shape[1]} features to {output}")
    if output_latent is not None:
        write_table(imputed.latent, output_latent)
        print(f"wrote {imputed.latent.shape[1]} latent dimensions to {output_latent}")
