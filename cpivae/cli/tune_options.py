"""What describes a sweep on the command line; ``tune`` and ``check`` take the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpivae.cli.options import ConfigFile, PlatformA, PlatformB, Set, Transpose, hours, load_settings, plain_name

if TYPE_CHECKING:
    from cpivae.config.schema import Config

SearchSpace = Annotated[str, typer.Option("--search_space", help="What to vary: a YAML file, or a shipped one's name.")]

_SWEEPS = Path("outputs_tune")


def _from_config(key: str) -> str:
    return f"tuning.{key} of the config"


@dataclass(frozen=True)
class TuneOptions:
    """The options of a sweep; those that are also settings take precedence over the config."""

    config: ConfigFile
    platform_a: PlatformA
    platform_b: PlatformB
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Where sweeps are kept.", show_default=str(_SWEEPS))
    ] = None
    study_name: Annotated[str, typer.Option("--study_name", callback=plain_name, help="Folder of this sweep.")] = (
        "joint_vae_study"
    )
    n_trials: Annotated[
        int | None, typer.Option("--n_trials", min=1, help="Settings to try.", show_default=_from_config("n_trials"))
    ] = None
    max_epochs: Annotated[
        int | None,
        typer.Option("--max_epochs", min=1, help="Epochs of a trial at most.", show_default=_from_config("max_epochs")),
    ] = None
    metric: Annotated[
        str | None, typer.Option("--metric", help="What trials are judged by.", show_default=_from_config("metric"))
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Judge a trial by the mean over so many folds.", show_default=_from_config("folds")
        ),
    ] = None
    cpus_per_trial: Annotated[
        float | None,
        typer.Option("--cpus_per_trial", help="CPUs of a trial.", show_default=_from_config("cpus_per_trial")),
    ] = None
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            "--gpus_per_trial", help="GPUs of a trial, or a part.", show_default=_from_config("gpus_per_trial")
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option("--max_concurrent", min=1, help="Trials at a time.", show_default=_from_config("max_concurrent")),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the search.", show_default=_from_config("seed"))
    ] = None
    time_budget: Annotated[
        float | None,
        typer.Option(
            "--time_budget",
            parser=hours,
            metavar="DURATION",
            help="End after this long, such as 90m or 2h.",
            show_default=_from_config("time_budget"),
        ),
    ] = None
    gpu_hours: Annotated[
        float | None,
        typer.Option("--gpu_hours", help="End after so many GPU hours.", show_default=_from_config("gpu_hours")),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with this sweep where there is one; --n_trials may grow.")
    ] = False
    from_sweep: Annotated[
        Path | None, typer.Option("--from_sweep", help="An older sweep whose trials the sampler learns from.")
    ] = None
    transpose: Transpose = False
    set: Set = None

    @classmethod
    def of_sweeps(cls) -> list[str]:
        """List the options that a run of ``cpivae train`` does not have, and that nothing is meant by if not given."""
        shared = ("config", "platform_a", "platform_b", "output_dir", "study_name", "transpose", "set")
        return [f.name for f in fields(cls) if f.name not in shared]

    @property
    def tables(self) -> dict[str, Path]:
        """The two tables."""
        return {"a": self.platform_a, "b": self.platform_b}

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return (self.output_dir or _SWEEPS) / self.study_name

    def settings(self, extra: Sequence[str] = ()) -> Config:
        """Return the settings with everything that the options say, and overrides beside them.

        Raises
        ------
        ConfigError
            Settings that cannot be used.
        """
        from cpivae.config.tuning import TuningSettings

        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name in TuningSettings.model_fields}
        options = [f"tuning.{name}={value}" for name, value in given.items() if value is not None]
        # A metric given here brings its own direction, unless --set names one.
        direction = ["tuning.mode=null"] if self.metric is not None else []
        return load_settings(self.config, [*direction, *(self.set or []), *options, *extra], transpose=self.transpose)
