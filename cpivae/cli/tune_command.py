"""A command line of ``cpivae tune`` as a part of another one, to be run elsewhere."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from cpivae.cli.options import taking
from cpivae.cli.told import Quiet
from cpivae.cli.tune_options import NoReport, SearchSpace, TuneOptions, absolute
from cpivae.errors import ConfigError, CpivaeError

SAMPLES_TABLE = "data.samples_table"


class Tune(NamedTuple):
    """A command line of ``cpivae tune``, read."""

    options: TuneOptions
    search_space: str
    no_check: bool
    no_report: bool
    quiet: bool

    def words(self) -> list[str]:
        """Return it as it is to be given on another machine."""
        flags = [f"--{name}" for name in ("no_check", "no_report", "quiet") if getattr(self, name)]
        table = self._samples_table()
        of_table = [] if table is None else ["--set", f"{SAMPLES_TABLE}={json.dumps(str(table), ensure_ascii=False)}"]
        return ["tune", *self.options.arguments(), *of_table, "--search_space", absolute(self.search_space), *flags]

    def files(self) -> list[Path]:
        """Return what it reads; what cannot be read here is a problem that others tell."""
        from cpivae.config.shipped import find_shipped
        from cpivae.config.space_text import files_of

        options = self.options
        files = [options.platform_a, options.platform_b]
        files += [Path(options.config)] if Path(options.config).is_file() else []
        files += [options.from_sweep] if options.from_sweep is not None else []
        with suppress(ConfigError):
            files += files_of(find_shipped(self.search_space, "search_spaces"))
        table = self._samples_table()
        return files if table is None else [*files, table]

    def _samples_table(self) -> Path | None:
        """Return the table of the samples, which settings name from the folder where they are read."""
        with suppress(ConfigError):  # told when the command is checked, or run
            return self.options.settings().data.samples_table
        return None


def parse_tune(words: list[str]) -> Tune:
    """Read a command line of ``cpivae tune``."""
    if words[0] != "tune":
        raise CpivaeError(f"'{words[0]}' cannot be handed over to a cluster. What can is: -- tune --config ...")
    read: list[Tune] = []

    @taking(TuneOptions)
    def reads(
        options: TuneOptions,
        search_space: SearchSpace,
        no_check: Annotated[bool, typer.Option("--no_check")] = False,
        no_report: NoReport = False,
        quiet: Quiet = False,
    ) -> None:
        read.append(Tune(options, search_space, no_check, no_report, quiet))

    reader = typer.Typer(add_completion=False)
    reader.command()(reads)
    typer.main.get_command(reader).main(words[1:], prog_name="cpivae submit ... -- tune", standalone_mode=False)
    if not read:
        raise typer.Exit  # --help
    (tune,) = read
    options = tune.options
    if options.address is not None or options.nodes is not None or options.stage_data is not None:
        raise CpivaeError(
            "--address, --nodes and --stage_data of tune are given by the job itself (submit slurm has a --stage_data "
            "of its own). Leave them out after the --."
        )
    return tune
