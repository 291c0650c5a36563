"""Reading everything that a command line names, so that all of what is wrong with it is told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from cpivae.cli.tune_options import TuneOptions
from cpivae.errors import ConfigError, CpivaeError, PreflightError

if TYPE_CHECKING:
    from cpivae.config.schema import Config
    from cpivae.config.space import Space
    from cpivae.data.prepare import Folds
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.place import Place

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
    folder: SweepFolder,
    *,
    attempt_steps: bool,
    place: Place,
    extra: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Examined:
    """Read everything that a command line names, and with ``attempt_steps`` try what it would run.

    ``place``: where the trials of a sweep would run.

    Raises
    ------
    PreflightError
        With a line for everything that is wrong.
    """
    from cpivae.config.schema import DataSettings
    from cpivae.config.space import load_space
    from cpivae.data.prepare import read_and_prepare
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.older import trials_of
    from cpivae.tuning.packing import autos, with_numbers
    from cpivae.tuning.sweep import grace_warning, sweep_config
    from cpivae.tuning.token import require_private_token

    found = Examined()
    if search_space is not None and place.here and not place.address:  # Ray starts here, with that token
        found.attempt(require_private_token)
    if options.resume:
        found.attempt(folder.bring)
    resumes = options.resume and folder.has_begun()
    asked = settings = found.attempt(lambda: options.settings(extra))
    if asked is not None and search_space is not None:
        begun = folder if resumes else None
        settings = found.attempt(lambda: with_numbers(asked, place, begun))
    if settings is not None:
        found.config = settings if search_space is None else found.attempt(lambda: sweep_config(settings, place))
        if search_space is not None:
            found.space = found.attempt(lambda: load_space(search_space, settings))
            if warning := grace_warning(settings):
                say(warning)
    if not resumes:
        found.attempt(folder.require_new)
    older, config, space = options.from_sweep, found.config, found.space
    if older is not None and config is not None and space is not None and not resumes:
        found.attempt(lambda: trials_of(SweepFolder.open(older), config, space))
    # With settings that cannot be read the tables can still be: what is wrong with them is told at once.
    of_settings = found.config or asked
    data_settings = (
        DataSettings(transpose=options.transpose, drop_qc_warnings=options.drop_qc_warnings)
        if of_settings is None
        else of_settings.data
    )
    prepared = found.attempt(lambda: read_and_prepare(options.tables, data_settings, options.stage_data))
    if prepared is not None:
        found.folds, lines = prepared
        say("\n".join(lines))
    read = found.config is not None and found.folds is not None and (found.space is None) == (search_space is None)
    if read and not resumes and asked is not None and search_space is not None and autos(asked.tuning):
        found.config = found.attempt(lambda: _measured(found, asked, place, say))
    if attempt_steps and read and found.config is not None and not resumes:
        _attempt_steps(found, folder, place, say)
    if found.problems:
        raise PreflightError(found.problems)
    return found


def _measured(found: Examined, asked: Config, place: Place, say: Callable[[str], None]) -> Config:
    """Return the settings of a sweep with what its trials get, where that was to be measured."""
    from cpivae.tuning.packing import measured
    from cpivae.tuning.sweep import sweep_config

    assert found.config is not None
    assert found.space is not None
    assert found.folds is not None
    packing = measured(asked, found.config, found.space, found.folds, place)
    say("\n".join(packing.lines))
    return sweep_config(packing.config, place)


def _attempt_steps(found: Examined, folder: SweepFolder, place: Place, say: Callable[[str], None]) -> None:
    from cpivae.tuning.preflight import preflight

    assert found.config is not None
    assert found.folds is not None
    report = preflight(found.config, found.space, found.folds, folder.disk, place)
    say("\n".join(report.lines))
    found.problems += report.problems
