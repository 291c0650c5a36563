"""``cpivae check``: would this command line run, how long, and how much disk would it need?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cpivae.cli.options import (
    EXPERIMENT,
    RUNS,
    ExperimentName,
    FastDevRun,
    Replicas,
    ResumeFrom,
    Version,
    run_folder,
    taking,
)  # fmt: skip
from cpivae.cli.tune_options import TuneOptions
from cpivae.errors import ConfigError, CpivaeError, PreflightError

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.config.space import Space
    from cpivae.data.prepare import Folds

T = TypeVar("T")


@taking(TuneOptions)
def check(
    options: TuneOptions,
    search_space: Annotated[
        str | None,
        typer.Option("--search_space", help="What to vary; without it the command line is one of cpivae train."),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no_check", hidden=True)] = False,
    experiment_name: ExperimentName = EXPERIMENT,
    version: Version = None,
    replicas: Replicas = None,
    resume_from_checkpoint: ResumeFrom = None,
    fast_dev_run: FastDevRun = False,
) -> None:
    """Check a tune (or train) command line without running it: give the same options, and read what is wrong."""
    _require_one_command(options, sweep=search_space is not None, run=bool(fast_dev_run or resume_from_checkpoint))
    if search_space is not None and (replicas, version, experiment_name) != (None, None, EXPERIMENT):
        raise CpivaeError("--experiment_name, --version and --replicas are those of cpivae train, not of a sweep.")
    of_run = run_folder(options.output_dir or RUNS, experiment_name, version)
    folder = options.folder if search_space is not None else of_run
    extra = [f"training.replicas={replicas}"] if replicas is not None else []
    examine(options, search_space, folder, attempt_steps=not no_check, extra=extra)
    print("nothing is wrong with this command")


def _require_one_command(options: TuneOptions, *, sweep: bool, run: bool) -> None:
    """Refuse options of the other command, which would refuse them as well."""
    if sweep and run:
        raise CpivaeError("--resume_from_checkpoint and --fast_dev_run are those of cpivae train, not of a sweep.")
    given = [f"--{name}" for name in TuneOptions.of_sweeps() if getattr(options, name) not in (None, False)]
    if not sweep and given:
        raise CpivaeError(
            f"{', '.join(given)} belong to a sweep: give --search_space as well, or leave them out to check a run."
        )


@dataclass
class Examined:
    """What a command line comes to."""

    config: Config | None = None
    space: Space | None = None
    folds: Folds | None = None
    problems: list[str] = field(default_factory=list)

    def attempt(self, step: Callable[[], T]) -> T | None:
        """Take a step, or note why it cannot be taken."""
        try:
            return step()
        except ConfigError as error:
            self.problems += [f"{error.source}: {problem}" for problem in error.problems]
        except CpivaeError as error:
            self.problems.append("; ".join(str(error).splitlines()))
        except OSError as error:
            self.problems.append(f"{error.filename}: {error.strerror}")
        return None

    def sweep(self) -> tuple[Config, Space]:
        """Return the settings and the space of a sweep without problems."""
        assert self.config is not None
        assert self.space is not None
        return self.config, self.space

    def take_folds(self) -> Folds:
        """Return the data and keep none of it."""
        folds, self.folds = self.folds, None
        assert folds is not None
        return folds


def examine(
    options: TuneOptions,
    search_space: str | None,
    folder: Path,
    *,
    attempt_steps: bool,
    extra: Sequence[str] = (),
) -> Examined:
    """Read everything that a command line names, and with ``attempt_steps`` try what it would run.

    Raises
    ------
    PreflightError
        With a line for everything that is wrong.
    """
    from cpivae.config.schema import DataSettings
    from cpivae.config.space import load_space
    from cpivae.data.prepare import read_and_prepare
    from cpivae.files import require_new_folder
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.older import trials_of
    from cpivae.tuning.sweep import grace_warning, sweep_config

    found = Examined()
    settings = found.attempt(lambda: options.settings(extra))
    if settings is not None:
        found.config = settings if search_space is None else found.attempt(lambda: sweep_config(settings))
        if search_space is not None:
            found.space = found.attempt(lambda: load_space(search_space, settings))
            if warning := grace_warning(settings):
                print(warning)
    resumes = options.resume and SweepFolder(folder).journal.is_file()
    if not resumes:
        there = SweepFolder(folder).journal.is_file()
        found.attempt(lambda: require_new_folder(folder, "--resume continues it" if there else ""))
    older, config, space = options.from_sweep, found.config, found.space
    if older is not None and config is not None and space is not None and not resumes:
        found.attempt(lambda: trials_of(SweepFolder.open(older), config, space))
    # With settings that cannot be read the tables can still be: what is wrong with them is told at once.
    of_settings = found.config or settings
    data_settings = DataSettings(transpose=options.transpose) if of_settings is None else of_settings.data
    prepared = found.attempt(lambda: read_and_prepare(options.tables, data_settings))
    if prepared is not None:
        found.folds, lines = prepared
        print("\n".join(lines))
    read = found.config is not None and found.folds is not None and (found.space is None) == (search_space is None)
    if attempt_steps and read and not resumes:
        _attempt_steps(found, folder)
    if found.problems:
        raise PreflightError(found.problems)
    return found


def _attempt_steps(found: Examined, folder: Path) -> None:
    from cpivae.tuning.preflight import preflight

    assert found.config is not None
    assert found.folds is not None
    report = preflight(found.config, found.space, found.folds, folder)
    print("\n".join(report.lines))
    found.problems += report.problems
