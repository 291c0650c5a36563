"""Search spaces: which settings a sweep varies, between which values, and under which conditions.

A space file holds one line per setting, ``path: {kind: arguments}``; ``parameters`` has the kinds, ``space_text`` how
files extend one another.  Under ``when: {path: {value: lines}}`` stand settings that exist only while a choice has that
value.  A setting given again under a condition has that range there; the innermost line counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from cpivae.config.draws import sample
from cpivae.config.load import to_plain, whose, with_values
from cpivae.config.parameters import Choice, MalformedError, Parameter, Suggests, parse_parameter
from cpivae.config.schema import Config
from cpivae.config.shipped import find_shipped
from cpivae.config.space_text import WHEN, Tree, resolve, written
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import ConfigError, did_you_mean

Condition = tuple[str, str]
"""A setting's path and the value, as it is written, that it must have."""
Place = tuple[Condition, ...]
"""Where a line stands: the conditions around it, outermost first."""


@dataclass
class Block:
    """Lines that hold under the same conditions."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    branches: dict[Condition, Block] = field(default_factory=dict)

    def places(self, place: Place = ()) -> Iterator[tuple[Place, str, Parameter]]:
        """Yield every line of the block and of those under its conditions, with where it stands."""
        for path, parameter in self.parameters.items():
            yield place, path, parameter
        for condition, block in self.branches.items():
            yield from block.places((*place, condition))


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
    check = _Check()
    block = check.block(tree, config, {}, ())
    if not tree:
        check.problems.append("the space is empty; name at least one setting to vary")
    if check.problems:
        raise ConfigError(source, check.problems)
    space = Space(source, block, tree)
    _require_possible_combinations(space, config)
    return space


SEARCHABLE = ("model", "loss_weights", "training")
_TRIED = 200
"""Suggestions that are tried for combinations that no single value shows."""
SET_BY_THE_SWEEP = ("training.max_epochs", "training.stop_epoch", "training.seed", "training.replicas")


class _Check:
    """Turns a tree into blocks and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.told: set[tuple[str, str]] = set()

    def block(self, tree: Tree, config: Config, around: dict[str, Parameter], place: Place) -> Block:
        """Check the lines of a block against settings that meet the conditions around it."""
        made = Block()
        known = [path for path, _ in leaves(to_plain(config))]
        for path, spec in tree.items():
            if path == WHEN:
                continue
            if problem := _refusal(str(path), known, config):
                self._tell(place, path, problem)
                continue
            try:
                made.parameters[path] = parse_parameter(spec)
            except MalformedError as error:
                self._tell(place, path, str(error))
        scope = around | made.parameters
        for path, parameter in made.parameters.items():
            others = {p: other for p, other in scope.items() if p not in {path, *(at for at, _ in place)}}
            for problem in _refused_values(path, parameter, config, others):
                self._tell(place, path, problem)
        for path, branches in tree.get(WHEN, {}).items():
            if path in tree and path not in made.parameters:
                continue  # told above
            for value, lines in branches.items():
                self._branch(made, (path, value), lines, config, scope, place)
        self._require_one_range_each(made, scope, place)
        return made

    def _branch(
        self, made: Block, condition: Condition, lines: Tree, config: Config, scope: dict[str, Parameter], place: Place
    ) -> None:
        path, value = condition
        inside = (*place, condition)
        decides = scope.get(path)
        if not isinstance(decides, Choice):
            self._tell(inside, path, "is no choice of this space, neither here nor around the condition")
            return
        options = {written(option): option for option in decides.options}
        if value not in options:
            hint = did_you_mean(value, options)
            self._tell(inside, path, f"never has the value {value}; it may be {', '.join(options)}.{hint}")
            return
        try:
            met = with_values(config, {path: options[value]})
        except ConfigError:
            return  # told where the choice stands
        made.branches[condition] = self.block(lines, met, scope, inside)

    def _require_one_range_each(self, made: Block, scope: dict[str, Parameter], place: Place) -> None:
        deciding = {path for path, _ in made.branches}
        given = {condition: set(_lines(block)) for condition, block in made.branches.items()}
        for condition, lines in given.items():
            for path in sorted({p for p, parameter in lines if p in deciding}):
                self._tell((*place, condition), path, "decides a condition, and cannot be given again under one")
        decided = {
            condition: given[condition] | {(path, scope[path]) for path in _deciding(block) if path in scope}
            for condition, block in made.branches.items()
        }
        for first, second in combinations(given, 2):
            if first[0] == second[0]:
                continue  # never both
            clashes = _two_ranges(decided[first], given[second]) | _two_ranges(given[first], decided[second])
            for path in sorted(clashes):
                self._tell((*place, first), path, f"given twice: both this and {_told(second)} may hold at once")

    def _tell(self, place: Place, path: Any, problem: str) -> None:
        if (str(path), problem) not in self.told:
            where = f" (when {' and '.join(map(_told, place))})" if place else ""
            self.problems.append(f"{path}{where}: {problem}")
        self.told.add((str(path), problem))


def _told(condition: Condition) -> str:
    path, value = condition
    return f"{path} is {value}"


def _two_ranges(ours: set[tuple[str, Parameter]], theirs: set[tuple[str, Parameter]]) -> set[str]:
    return {p for p, _ in ours ^ theirs} & {p for p, _ in ours} & {p for p, _ in theirs}


def _lines(block: Block) -> Iterator[tuple[str, Parameter]]:
    for _, path, parameter in block.places():
        yield path, parameter


def leaves(plain: Mapping[str, Any], around: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of nested plain data: (path, value)."""
    for key, inner in plain.items():
        if isinstance(inner, dict):
            yield from leaves(inner, f"{around}{key}.")
        else:
            yield f"{around}{key}", inner


def _refusal(path: str, known: list[str], config: Config) -> str | None:
    section = path.split(".")[0]
    if section == "data":
        return "data.* cannot be searched: trials on other rows or another scale cannot be compared"
    if section in Config.model_fields and section not in SEARCHABLE:
        return f"{section}.* cannot be searched; only {', '.join(s + '.*' for s in SEARCHABLE)} can"
    if path in SET_BY_THE_SWEEP:
        return "is set by the sweep itself (see tuning.max_epochs, tuning.seed and tuning.folds)"
    if path not in known:
        near = did_you_mean(path, [k for k in known if k.startswith(SEARCHABLE)])
        owned = whose(path, type(config))
        return f"{owned} (choose another with --config)" if owned else f"there is no such setting.{near}"
    return None


def _refused_values(path: str, parameter: Parameter, config: Config, others: Mapping[str, Parameter]) -> list[str]:
    """Say what is wrong with the extreme values that are refused whatever the other settings are."""
    corners: list[dict[str, Any]] = [{}]
    corners += [{p: list(other.extremes())[end] for p, other in others.items()} for end in (0, -1)]
    refused: list[str] = []
    for value in parameter.extremes():
        answers = [_answer(config, corner | {path: value}) for corner in corners]
        if all(answers):
            refused += [_without(path, p) or f"{value!r} is refused: {p}" for p in answers[0]]
    return list(dict.fromkeys(refused))


def _require_possible_combinations(space: Space, config: Config) -> None:
    for trial in sample(_TRIED):
        if problems := _answer(config, space.suggest(trial)):
            raise ConfigError(space.source, [f"ranges that do not go together: {problem}" for problem in problems])


def _answer(config: Config, values: Mapping[str, Any]) -> list[str]:
    try:
        with_values(config, values)
    except ConfigError as error:
        return error.problems
    return []


def _deciding(block: Block) -> set[str]:
    return {path for path, _ in block.branches} | {p for inner in block.branches.values() for p in _deciding(inner)}


def _without(path: str, problem: str) -> str:
    return problem.removeprefix(f"{path}: ") if problem.startswith(f"{path}: ") else ""
