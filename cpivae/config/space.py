"""Search spaces: which settings a sweep varies, and between which values.

A space file holds one line per setting, ``path: {kind: arguments}``, in Ray Tune's words.  Both ends of a range belong
to it.

====================  =====================================================
choice: [x, y, z]     one of these
uniform: [lo, hi]     a number
loguniform: [lo, hi]  a number, evenly on a logarithmic scale
randint: [lo, hi]     a whole number
lograndint: [lo, hi]  a whole number, evenly on a logarithmic scale
layers:               a list of layer widths
  depth: [lo, hi]       how many, 0 for none
  width: [64, 128]      one of these for each
====================  =====================================================
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cpivae.config.load import to_plain, with_values
from cpivae.config.schema import Config
from cpivae.config.shipped import find_shipped
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import ConfigError, did_you_mean


class Suggests(Protocol):
    """What proposes values; an Optuna trial is one."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, /, *, log: bool = False) -> int: ...


class Parameter(Protocol):
    """One searched setting."""

    def suggest(self, name: str, trial: Suggests) -> Any:
        """Draw a value; ``name`` is the setting's path."""
        ...

    def extremes(self) -> Iterator[Any]:
        """Yield the values that the settings must accept if they are to accept all."""
        ...


@dataclass(frozen=True)
class Choice:
    options: tuple[Any, ...]

    def suggest(self, name: str, trial: Suggests) -> Any:
        return trial.suggest_categorical(name, self.options)

    def extremes(self) -> Iterator[Any]:
        yield from self.options


@dataclass(frozen=True)
class Real:
    low: float
    high: float
    log: bool

    def suggest(self, name: str, trial: Suggests) -> float:
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def extremes(self) -> Iterator[float]:
        yield from (self.low, self.high)


@dataclass(frozen=True)
class Whole:
    low: int
    high: int
    log: bool

    def suggest(self, name: str, trial: Suggests) -> int:
        return trial.suggest_int(name, self.low, self.high, log=self.log)

    def extremes(self) -> Iterator[int]:
        yield from (self.low, self.high)


@dataclass(frozen=True)
class LayerList:
    """Depth and widths are separate scalar parameters, because a sampler can learn nothing from a list."""

    depth: Whole
    width: Choice

    def suggest(self, name: str, trial: Suggests) -> list[int]:
        depth = self.depth.suggest(f"{name}.depth", trial)
        return [self.width.suggest(f"{name}.{i}", trial) for i in range(depth)]

    def extremes(self) -> Iterator[list[int]]:
        for depth in self.depth.extremes():
            for width in self.width.extremes():
                yield [width] * depth


@dataclass(frozen=True)
class Space:
    """A checked search space."""

    source: str
    parameters: dict[str, Parameter]
    text: dict[str, Any]
    """The space as written, for the record."""

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Draw a value for every setting: {path: value}."""
        return {path: parameter.suggest(path, trial) for path, parameter in self.parameters.items()}


def load_space(source: str | Path, config: Config) -> Space:
    """Read a space file, or a shipped one by name, and check it against the settings it varies.

    Raises
    ------
    ConfigError
        With one line for each malformed parameter, unknown setting and value that the settings refuse.
    """
    path = find_shipped(source, "search_spaces")
    return make_space(read_yaml_mapping(path), config, str(path))


def make_space(text: Mapping[str, Any], config: Config, source: str) -> Space:
    """Check a space given as plain data; ``source`` names it in errors."""
    problems: list[str] = []
    parameters: dict[str, Parameter] = {}
    known = _searchable(config)
    for path, spec in text.items():
        problem = _refusal(str(path), known)
        if problem:
            problems.append(f"{path}: {problem}")
            continue
        try:
            parameters[path] = _parse(spec)
        except _MalformedError as error:
            problems.append(f"{path}: {error}")
    for path, parameter in parameters.items():
        problems += _refused_values(path, parameter, config)
    if not text:
        problems.append("the space is empty; name at least one setting to vary")
    if problems:
        raise ConfigError(source, problems)
    return Space(source, parameters, dict(text))


class _MalformedError(Exception):
    pass


_KINDS = ("choice", "uniform", "loguniform", "randint", "lograndint", "layers")
_SECTIONS = ("model", "loss_weights", "training")
_SET_BY_THE_SWEEP = ("training.max_epochs", "training.stop_epoch", "training.seed")


def _searchable(config: Config) -> list[str]:
    plain = to_plain(config)
    return [path for section in _SECTIONS for path in _leaves(section, plain[section])]


def _leaves(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    else:
        yield path


def _refusal(path: str, known: list[str]) -> str | None:
    section = path.split(".")[0]
    if section == "data":
        return "data.* cannot be searched: trials on other rows or another scale cannot be compared"
    if section in Config.model_fields and section not in _SECTIONS:
        return f"{section}.* cannot be searched; only {', '.join(s + '.*' for s in _SECTIONS)} can"
    if path in _SET_BY_THE_SWEEP:
        return "is set by the sweep itself (see tuning.max_epochs and tuning.seed)"
    if path not in known:
        return f"there is no such setting.{did_you_mean(path, known)}"
    return None


def _parse(spec: Any) -> Parameter:
    if not isinstance(spec, dict) or len(spec) != 1:
        raise _MalformedError(f"must be one of {', '.join(_KINDS)} with its arguments, such as {{choice: [1, 2]}}")
    kind, arguments = next(iter(spec.items()))
    if kind == "choice":
        return _choice(arguments)
    if kind in ("uniform", "loguniform"):
        low, high = _range(arguments, kind, (int, float))
        return Real(float(low), float(high), kind == "loguniform")
    if kind in ("randint", "lograndint"):
        low, high = _range(arguments, kind, (int,))
        return Whole(low, high, kind == "lograndint")
    if kind == "layers":
        return _layers(arguments)
    raise _MalformedError(
        f"'{kind}' is no kind of parameter.{did_you_mean(str(kind), _KINDS)} Known: {', '.join(_KINDS)}"
    )


def _choice(options: Any) -> Choice:
    if not isinstance(options, list) or not options:
        raise _MalformedError("choice needs a list of at least one value")
    if not all(isinstance(option, str | int | float | None) for option in options):
        raise _MalformedError(
            "choice takes plain values; for lists of layer widths use layers: {depth: ..., width: ...}"
        )
    if len({(type(o), o) for o in options}) < len(options):
        raise _MalformedError("choice names a value twice")
    return Choice(tuple(options))


def _range(arguments: Any, kind: str, types: tuple[type[int] | type[float], ...]) -> tuple[Any, Any]:
    if not isinstance(arguments, list) or len(arguments) != 2:
        raise _MalformedError(f"{kind} needs [low, high], got {arguments!r}")
    for value in arguments:
        if not isinstance(value, types) or isinstance(value, bool):
            raise _MalformedError(f"{kind} needs {'whole ' if types == (int,) else ''}numbers, got {value!r}")
        if not abs(value) <= sys.float_info.max:
            raise _MalformedError(f"{kind} needs finite numbers, got {value!r}")
    low, high = arguments
    if low > high:
        raise _MalformedError(f"{kind}: low ({low}) is above high ({high})")
    if kind.startswith("log") and low <= 0:
        raise _MalformedError(f"{kind}: low must be above 0 on a logarithmic scale, got {low}")
    return low, high


def _layers(arguments: Any) -> LayerList:
    if not isinstance(arguments, dict) or set(arguments) != {"depth", "width"}:
        raise _MalformedError("layers needs {depth: [low, high], width: [widths]}")
    low, high = _range(arguments["depth"], "depth", (int,))
    if low < 0 or high > 64:
        raise _MalformedError(f"depth must lie between 0 and 64, got [{low}, {high}]")
    return LayerList(Whole(low, high, log=False), _choice(arguments["width"]))


def _refused_values(path: str, parameter: Parameter, config: Config) -> list[str]:
    refused: list[str] = []
    for value in parameter.extremes():
        try:
            with_values(config, {path: value})
        except ConfigError as error:
            refused += [p if p.startswith(path) else f"{path}: {value!r} is refused: {p}" for p in error.problems]
    return list(dict.fromkeys(refused))
