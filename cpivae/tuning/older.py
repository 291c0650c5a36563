"""What an older sweep has found, as trials of a new one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cpivae.config.load import to_plain, with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.space_check import SEARCHABLE, SET_BY_THE_SWEEP, leaves
from cpivae.errors import FolderError
from cpivae.tuning.fitting import params_of
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import SCORED, State

OlderTrial = tuple[dict[str, Any], State, float, dict[int, float]]
"""Settings that differ from the new base config, how the trial ended, its score, and {epoch: best score so far}."""


def trials_of(older: SweepFolder, config: Config, space: Space) -> list[OlderTrial]:
    """Return the trials of an older sweep that the new space could have proposed.

    Raises
    ------
    FolderError
        The older sweep was judged by another metric, so its scores mean something else.
    """
    if older.goal() != config.tuning.goal():
        raise FolderError(
            f"the trials of {older.path} were judged by {older.goal().metric}, those of this sweep are by "
            f"{config.tuning.metric}: their scores cannot be compared."
        )
    return list(_fitting(older, config, space))


def _fitting(older: SweepFolder, config: Config, space: Space) -> Iterator[OlderTrial]:
    base, goal = older.config(), config.tuning.goal()
    new = dict(_searchable(config))
    for record in older.records():
        if record.state not in SCORED or record.state == "interrupted" or record.score is None:
            continue
        then = _searchable(with_values(base, record.values))
        values = {path: value for path, value in then if new.get(path) != value}
        if params_of(space, values, config) is None:
            continue
        scores: dict[int, float] = {}
        best = float("nan")
        for epoch, value in enumerate(older.trial(record).history()[goal.metric]):
            best = float(value) if goal.better(float(value), best) else best
            scores[epoch] = best
        yield values, record.state, record.score, scores


def _searchable(config: Config) -> Iterator[tuple[str, Any]]:
    plain = to_plain(config)
    for path, value in leaves({section: plain[section] for section in SEARCHABLE}):
        if path not in SET_BY_THE_SWEEP:
            yield path, value
