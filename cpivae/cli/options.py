"""Options that several subcommands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cpivae.config.schema import Config


def plain_name(value: str) -> str:
    """Accept a name that is safe as a folder and inside a checkpoint's name."""
    if not re.fullmatch(r"\w[\w .+=-]*", value):
        raise typer.BadParameter(
            f"{value!r} must start with a letter or digit and hold only letters, digits, _ . + = -"
        )
    return value


def hours(value: str) -> float:
    """Read a duration such as 90m, 2h or 1.5 (hours)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{value!r} is no duration; write 90m, 2h or 1d")
    return float(match[1]) * {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "": 1.0, "d": 24.0}[match[2]]


ConfigFile = Annotated[str, typer.Option("--config", help="Settings: a YAML file, or the name of a shipped one.")]
PlatformA = Annotated[
    Path, typer.Option("--platform_a", help="Table of platform A: csv, tsv, txt (.gz), parquet, adat.")
]
PlatformB = Annotated[Path, typer.Option("--platform_b", help="Table of platform B.")]
Transpose = Annotated[bool, typer.Option("--transpose", help="Features are rows in the tables, samples are columns.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be given several times.")
]


def load_settings(config: str, overrides: list[str], *, transpose: bool) -> Config:
    """Read settings and make their paths independent of the working directory."""
    from cpivae.config.load import load_config, with_values

    loaded = load_config(config, [*overrides, *(["data.transpose=true"] if transpose else [])])
    table = loaded.data.samples_table
    return loaded if table is None else with_values(loaded, {"data.samples_table": str(table.resolve())})
