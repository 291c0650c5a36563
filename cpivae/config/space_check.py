"""What is wrong with a search space: checked line by line against the settings it varies, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from typing import Any

from cpivae.config.load import to_plain, whose, with_values
from cpivae.config.parameters import Choice, MalformedError, Parameter, parse_parameter
from cpivae.config.schema import Config
from cpivae.config.space_blocks import Block, Condition, Place
from cpivae.config.space_text import WHEN, Tree, written
from cpivae.errors import ConfigError, did_you_mean

SEARCHABLE = ("model", "loss_weights", "training")
SET_BY_THE_SWEEP = ("training.max_epochs", "training.stop_epoch", "training.seed", "training.replicas")


class Check:
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
            of_its_own = {value: _parsed(lines) for value, lines in tree.get(WHEN, {}).get(path, {}).items()}
            for problem in _refused_values(path, parameter, config, others, of_its_own):
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
        if any(at == path and other != value for at, other in place):
            self._tell(inside, path, "can never hold: the conditions contradict one another")
            return
        decides = scope.get(path)
        if not isinstance(decides, Choice):
            self._tell(inside, path, "is no choice of this space, neither here nor around the condition")
            return
        options = {written(option): option for option in decides.options}
        if value not in options:
            hint = did_you_mean(value, options)
            self._tell(inside, path, f"never has the value {value}; it may be {', '.join(options)}.{hint}")
            return
        chosen = {path: options[value]}
        possible = (chosen | corner for corner in _corners(_parsed(lines)) if not refusals(config, chosen | corner))
        if (met := next(possible, None)) is None:
            return  # told where the choice stands
        made.branches[condition] = self.block(lines, with_values(config, met), scope, inside)

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


def _refused_values(
    path: str,
    parameter: Parameter,
    config: Config,
    others: Mapping[str, Parameter],
    of_its_own: Mapping[str, Mapping[str, Parameter]],
) -> list[str]:
    """Say what is wrong with the extreme values that are refused whatever the other settings are.

    ``of_its_own``: by a value as it is written, the settings that exist only with it.
    """
    refused: list[str] = []
    for value in parameter.extremes():
        corners = _corners({**others, **of_its_own.get(written(value), {})})
        answers = [refusals(config, corner | {path: value}) for corner in corners]
        if all(answers):
            refused += [_without(path, p) or f"{value!r} is refused: {p}" for p in answers[0]]
    return list(dict.fromkeys(refused))


def _corners(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Return no values, the first extreme of everything, and the last."""
    return [{}, *({p: list(parameter.extremes())[end] for p, parameter in parameters.items()} for end in (0, -1))]


def _parsed(lines: Tree) -> dict[str, Parameter]:
    """Return the well-formed lines of a block; what is wrong with the others is told when it is checked."""
    parsed: dict[str, Parameter] = {}
    for path, spec in lines.items():
        if path != WHEN:
            with suppress(MalformedError):
                parsed[path] = parse_parameter(spec)
    return parsed


def refusals(config: Config, values: Mapping[str, Any]) -> list[str]:
    try:
        with_values(config, values)
    except ConfigError as error:
        return error.problems
    return []


def _deciding(block: Block) -> set[str]:
    return {path for path, _ in block.branches} | {p for inner in block.branches.values() for p in _deciding(inner)}


def _without(path: str, problem: str) -> str:
    return problem.removeprefix(f"{path}: ") if problem.startswith(f"{path}: ") else ""
