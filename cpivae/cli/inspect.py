"""``cpivae inspect``: what is this file, and what should be known before training on it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpivae.cli.options import DropQcWarnings, Transpose


def inspect(
    file: Annotated[Path, typer.Argument(help="A table, of any kind that is read.", show_default=False)],
    transpose: Transpose = False,
    drop_qc_warnings: DropQcWarnings = False,
    min_detected: Annotated[
        float | None,
        typer.Option(
            "--min_detected",
            min=0,
            max=1,
            help="Also count the features detected in at least this share of the samples.",
            show_default="not counted",
        ),
    ] = None,
    strip_ids: Annotated[
        bool, typer.Option("--strip_ids", help="Remove blanks around sample ids and feature names.")
    ] = False,
) -> None:
    """Say what a file is: its format, shape, gaps, units, QC warnings, limits of detection, plates, duplicates."""
    from cpivae.config.schema import DataSettings
    from cpivae.data.inspection import inspect_file

    settings = DataSettings(
        transpose=transpose,
        drop_qc_warnings=drop_qc_warnings,
        min_detected=min_detected or 0.0,
        strip_ids=strip_ids,
    )
    facts = inspect_file(file, settings)
    width = max(len(about) for about, _ in facts)
    print(file)
    for about, said in facts:
        print(f"  {about:<{width}}  {said}")
