"""Do given settings lie within a space, and as which parameters does a sampler know them?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from cpivae.config.load import to_plain, with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space


def params_of(space: Space, values: Mapping[str, Any], config: Config) -> dict[str, Any] | None:
    """Return the parameters by which a space would suggest ``config`` with ``values``, or None if it never would."""
    plain, base = to_plain(with_values(config, values)), to_plain(config)
    given = _Given(_by_name(space, plain))
    try:
        suggested = space.suggest(given)
    except _OutsideError:
        return None
    # What the space does not vary must be as in the base config, or the sampler would learn from something else.
    unvaried = set(values) - set(suggested)
    return given.taken if all(_at(plain, path) == _at(base, path) for path in unvaried) else None


class _OutsideError(Exception):
    pass


class _Given:
    """Suggests what is given, and notes what was asked for."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.taken: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        return self._take(name, CategoricalDistribution(choices))

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._take(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        return int(self._take(name, IntDistribution(low, high, log=log, step=step)))

    def _take(self, name: str, distribution: BaseDistribution) -> Any:
        value = self.given.get(name)
        try:
            inside = distribution._contains(distribution.to_internal_repr(value))
        except (ValueError, TypeError):
            inside = False
        if not inside:
            raise _OutsideError
        self.taken[name] = value
        return value


def _by_name(space: Space, plain: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for (path, _), name in space.names.items():
        given[name] = value = _at(plain, path)
        if isinstance(value, list):
            given |= {f"{name}.depth": len(value)} | {f"{name}.{i}": width for i, width in enumerate(value)}
    return given


def _at(plain: Mapping[str, Any], path: str) -> Any:
    found: Any = plain
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
