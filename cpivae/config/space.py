"""Search spaces: which settings a sweep varies, between which values, and under which conditions.

A space file holds one line per setting, ``path: {kind: arguments}``; ``parameters`` has the kinds, ``space_text`` how
files extend one another.  Under ``when: {path: {value: lines}}`` stand settings that exist only while a choice has that
value.  A setting given again under a condition has that range there; the innermost line counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cpivae.config.draws import sample
from cpivae.config.parameters import Choice, Parameter, Suggests
from cpivae.config.schema import Config
from cpivae.config.shipped import find_shipped
from cpivae.config.space_blocks import Block
from cpivae.config.space_check import Check, refusals
from cpivae.config.space_text import resolve, written
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import ConfigError


@dataclass(frozen=True)
class Space:
    """A checked search space."""

    source: str
    block: Block
    text: dict[str, Any]
    """The space as plain data, with all that it extends: what a record needs to be complete."""

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Draw a value for every setting whose conditions hold: {path: value}."""
        values: dict[str, Any] = {}

        def draw(path: str, parameter: Parameter) -> Any:
            if path not in values:
                values[path] = parameter.suggest(self.names[path, parameter], trial)
            return values[path]

        applicable = self._applicable(draw)
        return {path: draw(path, parameter) for path, parameter in applicable.items()}

    @cached_property
    def names(self) -> dict[tuple[str, Parameter], str]:
        """What a sampler knows each parameter by: its path, and where it stands if it has another range elsewhere."""
        names: dict[tuple[str, Parameter], str] = {}
        seen: set[str] = set()
        for place, path, parameter in self.block.places():
            where = f" ({', '.join(value for _, value in place)})" if path in seen else ""
            names.setdefault((path, parameter), path + where)
            seen.add(path)
        return names

    def may_choose(self, path: str, value: Any) -> bool:
        """Say whether any suggestion can set a path to a value by choice."""
        return any(
            path == p and isinstance(parameter, Choice) and value in parameter.options
            for _, p, parameter in self.block.places()
        )

    def _applicable(self, value_of: Callable[[str, Parameter], Any]) -> dict[str, Parameter]:
        scope: dict[str, Parameter] = {}

        def enter(block: Block) -> None:
            scope.update(block.parameters)
            for (path, value), inner in block.branches.items():
                if written(value_of(path, scope[path])) == value:
                    enter(inner)

        enter(self.block)
        return scope


_TRIED = 200
"""Suggestions that are tried for combinations that no single value shows."""


def load_space(source: str | Path, config: Config) -> Space:
    """Read a space file, or a shipped one by name, and check it against the settings it varies.

    Raises
    ------
    ConfigError
        With one line for each malformed parameter, unknown setting, value that the settings refuse, and condition
        that cannot be met.
    """
    path = find_shipped(source, "search_spaces")
    return make_space(read_yaml_mapping(path), config, str(path), path.resolve())


def make_space(text: Mapping[Any, Any], config: Config, source: str, file: Path | None = None) -> Space:
    """Check a space given as plain data; ``source`` names it in errors, ``file`` is where it was read from."""
    try:
        tree = resolve(text, file.parent if file else Path(), (file,) if file else ())
    except ConfigError as error:
        raise ConfigError(source, [f"{error.source}: {p}" for p in error.problems]) from None
    check = Check()
    block = check.block(tree, config, {}, ())
    if not tree:
        check.problems.append("the space is empty; name at least one setting to vary")
    if check.problems:
        raise ConfigError(source, check.problems)
    space = Space(source, block, tree)
    _require_possible_combinations(space, config)
    return space


def _require_possible_combinations(space: Space, config: Config) -> None:
    for trial in sample(_TRIED):
        if problems := refusals(config, space.suggest(trial)):
            raise ConfigError(space.source, [f"ranges that do not go together: {problem}" for problem in problems])
