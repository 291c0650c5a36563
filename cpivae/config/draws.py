"""Suggestions from a space without a sampler: its corners, and points at random."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Corner:
    """Proposes the lower (0) or the upper (-1) end of everything."""

    def __init__(self, end: int) -> None:
        self.end = end

    def suggest_categorical(self, _name: str, choices: Sequence[Any], /) -> Any:
        return choices[self.end]

    def suggest_float(
        self, _name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        del step, log
        return (low, high)[self.end]

    def suggest_int(self, _name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        del step, log
        return (low, high)[self.end]


class Dice:
    """Proposes points at random, as a sampler does before it has learnt anything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def suggest_categorical(self, _name: str, choices: Sequence[Any], /) -> Any:
        return self.random.choice(choices)

    def suggest_float(
        self, _name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return min(high, low + step * self.random.randint(0, round((high - low) / step)))
        if log:
            return min(high, max(low, math.exp(self.random.uniform(math.log(low), math.log(high)))))
        return self.random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        if log:
            return round(self.suggest_float(name, low, high, log=True))
        return self.random.randrange(low, high + 1, step)


def sample(n: int, seed: int = 0) -> Iterator[Corner | Dice]:
    """Yield what proposes both corners and then ``n`` random points."""
    yield from (Corner(0), Corner(-1))
    dice = Dice(seed)
    yield from (dice for _ in range(n))


class Leaning(Dice):
    """Proposes the smallest (or largest) of all that has a size, and anything of what has none."""

    def __init__(self, end: int, seed: int) -> None:
        super().__init__(seed)
        self.corner = Corner(end)

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        if all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices):
            return self.corner.suggest_categorical(name, sorted(choices))
        return super().suggest_categorical(name, choices)

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        return self.corner.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        return self.corner.suggest_int(name, low, high, step=step, log=log)


class Near(Dice):
    """Proposes what is known, with some of it drawn anew."""

    SHARE = 0.25
    """Of the parameters that are drawn anew."""

    def __init__(self, known: Mapping[str, Any], seed: int) -> None:
        super().__init__(seed)
        self.known = known
        self.differs = False
        """Whether anything it has proposed is not what is known."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any:
        return self._kept(name, super().suggest_categorical(name, choices))

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._kept(name, super().suggest_float(name, low, high, step=step, log=log)))

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int = 1, log: bool = False) -> int:
        return int(self._kept(name, super().suggest_int(name, low, high, step=step, log=log)))

    def _kept(self, name: str, anew: Any) -> Any:
        if name in self.known and self.random.random() >= self.SHARE:
            return self.known[name]
        self.differs |= anew != self.known.get(name)
        return anew
