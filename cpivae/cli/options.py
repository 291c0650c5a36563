"""Options that several subcommands share."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

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


Options = TypeVar("Options")


def taking(options: type[Options]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every field of a dataclass as an option; it is called with the dataclass, then with its own."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(options).parameters
        own = dict(list(inspect.signature(command).parameters.items())[1:])
        types = get_type_hints(options, include_extras=True) | get_type_hints(command, include_extras=True)

        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = options(**{name: given.pop(name) for name in shared})
            command(chosen, **given)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=types[name])
            for name, parameter in {**shared, **own}.items()
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


RUNS = Path("outputs")
"""Where runs are kept, unless ``--output_dir`` says otherwise."""
ExperimentName = Annotated[
    str, typer.Option("--experiment_name", callback=plain_name, help="Folder of the experiment.")
]
EXPERIMENT = "joint_vae_experiment"
Version = Annotated[
    str | None, typer.Option("--version", help="Folder of this run.", show_default="version_YYYYMMDD-HHMMSS")
]
Replicas = Annotated[
    int | None,
    typer.Option("--replicas", min=1, help="Models trained side by side from different seeds.", show_default="1"),
]

ResumeFrom = Annotated[
    Path | None, typer.Option("--resume_from_checkpoint", help="Continue from a run's checkpoints/last.ckpt.")
]
FastDevRun = Annotated[
    bool, typer.Option("--fast_dev_run", help="Try one batch of training and validation and leave nothing.")
]


def run_folder(output_dir: Path, experiment_name: str, version: str | None) -> Path:
    """Return the folder of a run; without a version, one named by the time."""
    return output_dir / experiment_name / plain_name(version or f"version_{datetime.now():%Y%m%d-%H%M%S}")


ConfigFile = Annotated[str, typer.Option("--config", help="Settings: a YAML file, or the name of a shipped one.")]
PlatformA = Annotated[
    Path, typer.Option("--platform_a", help="Table of platform A: csv, tsv, xlsx, parquet, NPX, adat, h5ad.")
]
PlatformB = Annotated[Path, typer.Option("--platform_b", help="Table of platform B.")]
Transpose = Annotated[bool, typer.Option("--transpose", help="Features are rows in the tables, samples are columns.")]
DropQcWarnings = Annotated[bool, typer.Option("--drop_qc_warnings", help="Treat values under a QC warning as missing.")]
MinDetected = Annotated[
    float | None,
    typer.Option(
        "--min_detected",
        min=0,
        max=1,
        help="Leave out features detected in a smaller share of the training rows.",
        show_default="data.min_detected of the config",
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be given several times.")
]


def reading_overrides(*, transpose: bool, drop_qc_warnings: bool, min_detected: float | None) -> list[str]:
    """Return what the options on reading tables say, as overrides of settings."""
    return [
        *(["data.transpose=true"] if transpose else []),
        *(["data.drop_qc_warnings=true"] if drop_qc_warnings else []),
        *([f"data.min_detected={min_detected}"] if min_detected is not None else []),
    ]


def load_settings(config: str, overrides: list[str]) -> Config:
    """Read settings and make their paths independent of the working directory."""
    from cpivae.config.load import load_config, with_values

    loaded = load_config(config, overrides)
    table = loaded.data.samples_table
    return loaded if table is None else with_values(loaded, {"data.samples_table": str(table.resolve())})
