"""Reading everything that a command line names, so that all of what is wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cpivae.cli.tune_options import TuneOptions
from cpivae.errors import ConfigError, CpivaeError, PreflightError

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.config.space import Space
    from cpivae.data.prepare import Folds

T = TypeVar("T")


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
