"""The kinds of searched settings, in Ray Tune's words.  Both ends of a range belong to it.

======================  ============================================================
choice: [x, y, z]       one of these
uniform: [lo, hi]       a number
quniform: [lo, hi, q]   a number, in steps of q; whole where all three are whole
loguniform: [lo, hi]    a number, evenly on a logarithmic scale
randint: [lo, hi]       a whole number
lograndint: [lo, hi]    a whole number, evenly on a logarithmic scale
layers:                 a list of layer widths
  depth: [lo, hi]         how many, 0 for none
  width: [64, 128]        one of these for each
======================  ============================================================
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from cpivae.errors import did_you_mean


class Suggests(Protocol):
    """What proposes values; an Optuna trial is one."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...
    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int: ...


class Parameter(Protocol):
    """One searched setting."""

    def suggest(self, name: str, trial: Suggests) -> Any:
        """Draw a value; ``name`` is what the sampler knows the parameter by."""
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
    log: bool = False
    step: float | None = None

    def suggest(self, name: str, trial: Suggests) -> float:
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def extremes(self) -> Iterator[float]:
        yield from (self.low, self.high)


@dataclass(frozen=True)
class Whole:
    low: int
    high: int
    log: bool = False
    step: int = 1

    def suggest(self, name: str, trial: Suggests) -> int:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

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


class MalformedError(Exception):
    """A parameter that is not written as its kind wants it."""


_KINDS = ("choice", "uniform", "quniform", "loguniform", "randint", "lograndint", "layers")


def parse_parameter(spec: Any) -> Parameter:
    """Return the parameter that ``{kind: arguments}`` describes.

    Raises
    ------
    MalformedError
        It describes none; the message says what is expected.
    """
    if not isinstance(spec, dict) or len(spec) != 1:
        raise MalformedError(f"must be one of {', '.join(_KINDS)} with its arguments, such as {{choice: [1, 2]}}")
    kind, arguments = next(iter(spec.items()))
    if kind == "choice":
        return _choice(arguments)
    if kind in ("uniform", "loguniform"):
        low, high = _range(arguments, kind, (int, float))
        return Real(float(low), float(high), log=kind == "loguniform")
    if kind == "quniform":
        return _stepped(arguments)
    if kind in ("randint", "lograndint"):
        low, high = _range(arguments, kind, (int,))
        return Whole(low, high, log=kind == "lograndint")
    if kind == "layers":
        return _layers(arguments)
    raise MalformedError(
        f"'{kind}' is no kind of parameter.{did_you_mean(str(kind), _KINDS)} Known: {', '.join(_KINDS)}"
    )


def _choice(options: Any) -> Choice:
    if not isinstance(options, list) or not options:
        raise MalformedError("choice needs a list of at least one value")
    if not all(isinstance(option, str | int | float | None) for option in options):
        raise MalformedError(
            "choice takes plain values; for lists of layer widths use layers: {depth: ..., width: ...}"
        )
    if len({(type(o), o) for o in options}) < len(options):
        raise MalformedError("choice names a value twice")
    return Choice(tuple(options))


def _range(arguments: Any, kind: str, types: tuple[type[int] | type[float], ...]) -> tuple[Any, Any]:
    if not isinstance(arguments, list) or len(arguments) != 2:
        raise MalformedError(f"{kind} needs [low, high], got {arguments!r}")
    for value in arguments:
        _require_number(value, kind, types)
    low, high = arguments
    if low > high:
        raise MalformedError(f"{kind}: low ({low}) is above high ({high})")
    if kind.startswith("log") and low <= 0:
        raise MalformedError(f"{kind}: low must be above 0 on a logarithmic scale, got {low}")
    return low, high


def _require_number(value: Any, kind: str, types: tuple[type[int] | type[float], ...]) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise MalformedError(f"{kind} needs {'whole ' if types == (int,) else ''}numbers, got {value!r}")
    if not abs(value) <= sys.float_info.max:
        raise MalformedError(f"{kind} needs finite numbers, got {value!r}")


def _stepped(arguments: Any) -> Parameter:
    if not isinstance(arguments, list) or len(arguments) != 3:
        raise MalformedError(f"quniform needs [low, high, step], got {arguments!r}")
    step = arguments[2]
    low, high = _range(arguments[:2], "quniform", (int, float))
    _require_number(step, "quniform", (int, float))
    # As they are written: in binary, 0.3 is not three times 0.1.
    if step <= 0 or (Fraction(str(high)) - Fraction(str(low))) % Fraction(str(step)):
        raise MalformedError(f"quniform: no whole number of steps of {step} leads from {low} to {high}")
    if all(isinstance(value, int) for value in arguments):
        return Whole(low, high, step=step)
    return Real(float(low), float(high), step=float(step))


def _layers(arguments: Any) -> LayerList:
    if not isinstance(arguments, dict) or set(arguments) != {"depth", "width"}:
        raise MalformedError("layers needs {depth: [low, high], width: [widths]}")
    low, high = _range(arguments["depth"], "depth", (int,))
    if low < 0 or high > 64:
        raise MalformedError(f"depth must lie between 0 and 64, got [{low}, {high}]")
    return LayerList(Whole(low, high), _choice(arguments["width"]))
