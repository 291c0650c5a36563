"""``cpivae impute``: a table of one platform in, a table of the other out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cpivae.cli.options import DropQcWarnings, Transpose
from cpivae.errors import DataError

Platform = Literal["a", "b"]


def impute(
    experiment_dir: Annotated[Path, typer.Option("--experiment_dir", help="A bundle, a run folder, or a sweep.")],
    input_data: Annotated[Path, typer.Option("--input_data", help="Table of the source platform.")],
    source_platform: Annotated[Platform, typer.Option("--source_platform", help="Platform of the input.")],
    target_platform: Annotated[Platform, typer.Option("--target_platform", help="Platform to predict.")],
    output: Annotated[Path, typer.Option("--output", help="Table to write; its ending chooses the format.")],
    output_latent: Annotated[
        Path | None, typer.Option("--output_latent", help="Also write the samples' latent codes to this table.")
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option("--uncertainty", help="Also write a standard deviation for every value to this table."),
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option("--ensemble", min=2, help="Impute the mean of so many of the best trials of a sweep."),
    ] = None,
    min_corr: Annotated[
        float | None,
        typer.Option("--min_corr", min=-1, max=1, help="Leave out features with a smaller validation correlation."),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow_missing", help="Fill features that the table lacks with training statistics.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of what is drawn, for a model with model.sampling_noise.")
    ] = 0,
    transpose: Transpose = False,
    drop_qc_warnings: DropQcWarnings = False,
) -> None:
    """Predict one platform's values for samples measured on the other."""
    from cpivae.config.schema import DataSettings
    from cpivae.data.readers import read_measured, require_output, write_table
    from cpivae.impute import load_imputer
    from cpivae.uncertainty.coverage import HALF_WIDTH

    wanted = {"--output": output, "--output_latent": output_latent, "--uncertainty": uncertainty}
    outputs = {option: path for option, path in wanted.items() if path is not None}
    for path in outputs.values():
        require_output(path)
    if len({path.resolve() for path in (input_data, *outputs.values())}) < 1 + len(outputs):
        raise DataError(f"--input_data, {' and '.join(outputs)} must be different files: one would replace another.")
    imputer = load_imputer(experiment_dir, ensemble)
    trained_on = imputer.config.data
    measured = read_measured(
        input_data,
        DataSettings(
            transpose=transpose,
            strip_ids=trained_on.strip_ids,
            drop_qc_warnings=drop_qc_warnings or trained_on.drop_qc_warnings,
        ),
    )
    for line in measured.origin.told():
        print(line)
    imputed = imputer.impute(
        measured.values,
        source_platform,
        target_platform,
        allow_missing=allow_missing,
        seed=seed,
        uncertainty=uncertainty is not None,
        min_corr=min_corr,
        origin=measured.origin,
    )
    for note in imputed.notes:
        print(note)
    write_table(imputed.values, output)
    print(f"wrote {imputed.values.shape[0]} samples x {imputed.values.shape[1]} features to {output}")
    if uncertainty is not None and imputed.sd is not None:
        write_table(imputed.sd, uncertainty)
        print(f"wrote their standard deviations to {uncertainty}; value ± {HALF_WIDTH:.3f} of them is a 90 % interval")
    if output_latent is not None:
        write_table(imputed.latent, output_latent)
        print(f"wrote {imputed.latent.shape[1]} latent dimensions to {output_latent}")
