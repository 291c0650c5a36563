"""``cpivae example``: a real pair of tables to try everything on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def example(
    name: Annotated[Literal["somascan"], typer.Argument(help="Which example.")],  # noqa: ARG001 there is one so far
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Folder for the tables.")],
) -> None:
    """Write a real pair of 170 plasma samples: one SomaScan reagent of 4,721 proteins (b), another one of some (a)."""
    from cpivae.data.example import write_somascan_example

    for written in write_somascan_example(output_dir).values():
        print(f"wrote {written}")
