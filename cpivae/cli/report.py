"""``cpivae report``: a sweep on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    sweep: Annotated[Path, typer.Option("--sweep", help="Sweep folder; it may still be running.")],
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            help="Folder of cpivae baseline on the same data, to set the best model beside; the sweep remembers it.",
        ),
    ] = None,
) -> None:
    """Write report.html into a sweep's folder: one file, for any browser, that needs no network."""
    from cpivae.report.write import write_report
    from cpivae.tuning.folder import SweepFolder

    print(f"report    {write_report(SweepFolder.open(sweep), baseline)}")
