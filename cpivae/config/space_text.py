"""What a space file says once every file it extends is read: one tree of plain data.

``extends: NAME`` (or a list of names) takes over another file's lines.  A line of one's own replaces the inherited line
wherever that stands, under a condition too; inherited conditions that can then no longer be met are dropped.

``when: {path: {value: lines}}`` gives lines that hold only while a choice has that value; ``v1 | v2`` means either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cpivae.config.shipped import find_shipped
from cpivae.config.yaml import parse_yaml, read_yaml_mapping
from cpivae.errors import ConfigError

EXTENDS, WHEN = "extends", "when"
Tree = dict[str, Any]
"""{path: {kind: arguments}, "when": {path: {written value: Tree}}}, ``when`` only where there is a condition."""


def resolve(text: Mapping[Any, Any], folder: Path, files: tuple[Path, ...] = ()) -> Tree:
    """Return the tree that a space's text stands for; ``files`` are those being read, outermost first.

    Raises
    ------
    ConfigError
        A file that cannot be read or extends itself, a malformed ``extends`` or ``when``, or a line given twice.
    """
    inherited: Tree = {}
    for name in _names(text.get(EXTENDS, [])):
        inherited = _extended(inherited, _read(name, folder, files))
    own: Tree = {key: value for key, value in text.items() if key not in (EXTENDS, WHEN)}
    conditions: dict[str, dict[str, Tree]] = {}
    for path, key, block in _conditions(text.get(WHEN, {})):
        branch = resolve(block, folder, files)
        for value in _values(key):
            there = conditions.setdefault(path, {}).get(value, {})
            if twice := set(there) & set(branch):
                raise ConfigError(f"{WHEN} {path} is {value}", [f"{min(map(str, twice))} is given twice"])
            conditions[path][value] = there | branch
    if conditions:
        own[WHEN] = conditions
    return _extended(inherited, own)


def files_of(path: Path) -> set[Path]:
    """Return a space's file and all that it extends, whole paths; a file that cannot be read raises ``ConfigError``."""
    found: set[Path] = set()
    unread = [path.resolve()]
    while unread:
        file = unread.pop()
        found.add(file)
        names = _named(read_yaml_mapping(file))
        unread += {find_shipped(name, "search_spaces", file.parent).resolve() for name in names} - found
    return found


def _named(text: Mapping[Any, Any]) -> list[str]:
    inner = [name for _, _, block in _conditions(text.get(WHEN, {})) for name in _named(block)]
    return [*_names(text.get(EXTENDS, [])), *inner]


def written(value: Any) -> str:
    """Return a value of a choice as it is written in YAML."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _names(extends: Any) -> list[str]:
    names = extends if isinstance(extends, list) else [extends]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(EXTENDS, [f"must be the name of a space, or a list of names, got {extends!r}"])
    return names


def _read(name: str, folder: Path, files: tuple[Path, ...]) -> Tree:
    path = find_shipped(name, "search_spaces", folder).resolve()
    if path in files:
        raise ConfigError(str(path), [f"extends itself: {' -> '.join(p.name for p in (*files, path))}"])
    text = read_yaml_mapping(path)
    try:
        return resolve(text, path.parent, (*files, path))
    except ConfigError as error:
        raise ConfigError(str(path), [f"{error.source}: {p}" for p in error.problems]) from None


def _conditions(when: Any) -> Iterator[tuple[str, Any, Mapping[Any, Any]]]:
    form = "must have the form {setting: {value: {lines that hold then}}}"
    if not isinstance(when, Mapping):
        raise ConfigError(WHEN, [f"{form}, got {when!r}"])
    for path, branches in when.items():
        if not isinstance(branches, Mapping):
            raise ConfigError(f"{WHEN} {path}", [f"{form}, got {branches!r}"])
        for key, block in branches.items():
            if not isinstance(block, Mapping):
                raise ConfigError(f"{WHEN} {path} is {written(key)}", [f"{form}, got {block!r}"])
            yield path, key, block


def _values(key: Any) -> list[str]:
    if not isinstance(key, str) or "|" not in key:
        return [written(key)]
    return [written(parse_yaml(part, f"{WHEN} {key}")) for part in key.split("|")]


def _extended(base: Tree, own: Tree) -> Tree:
    lines = {path: spec for path, spec in own.items() if path != WHEN}
    there: set[str] = set()
    merged = _replaced(base, lines, there)
    merged |= {path: spec for path, spec in lines.items() if path not in there}
    conditions = {path: dict(branches) for path, branches in merged.pop(WHEN, {}).items()}
    for path, branches in own.get(WHEN, {}).items():
        inherited = conditions.setdefault(path, {})
        inherited |= {value: _extended(inherited.get(value, {}), block) for value, block in branches.items()}
    return merged | ({WHEN: conditions} if conditions else {})


def _replaced(block: Tree, lines: Tree, there: set[str]) -> Tree:
    there |= {path for path in block if path in lines}
    new: Tree = {path: lines.get(path, spec) for path, spec in block.items() if path != WHEN}
    conditions = {
        path: {
            value: _replaced(branch, lines, there)
            for value, branch in branches.items()
            if path not in lines or value in _options(lines[path])
        }
        for path, branches in block.get(WHEN, {}).items()
    }
    return new | ({WHEN: kept} if (kept := {path: b for path, b in conditions.items() if b}) else {})


def _options(spec: Any) -> list[str]:
    options = spec.get("choice") if isinstance(spec, Mapping) else None
    return [written(option) for option in options] if isinstance(options, list) else []
