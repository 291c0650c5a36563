"""YAML as people mean it: numbers are numbers, and a key stands once."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cpivae.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where ``1e-8`` is text and a repeated key silently wins; neither is acceptable."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: list[object] = []  # not a set: a key may be unhashable, which the base class reports
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice", key_node.start_mark
                )
            seen.append(key)
        return super().construct_mapping(node, deep)


_FLOAT = (
    r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
    r"|\.(?:nan|NaN|NAN)"
)
_INTEGER = r"[-+]?[0-9][0-9_]*"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":int", ":timestamp"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Resolvers are tried in this order: what is not an integer may be a float.
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_INTEGER})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT})$"), list("-+0123456789."))


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 reads 010 as octal


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML text; ``source`` names it in errors.

    >>> parse_yaml("[1e-8, 1, 1.5, true]", "example")
    [1e-08, 1, 1.5, True]

    Raises
    ------
    ConfigError
        The text is not YAML, or a key stands twice in a mapping.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(source, [f"{where}{error.problem or error.context}"]) from None
    except Exception as error:  # PyYAML raises many kinds for a tag that does not fit its value, or deep nesting
        raise ConfigError(source, [f"not valid YAML: {' '.join(str(error).split())}"]) from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is ``key: value`` lines; an empty file is an empty mapping.

    Raises
    ------
    ConfigError
        The file cannot be read, is not YAML, or its top level is something else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise ConfigError(str(path), ["is a folder; a YAML file is needed"]) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), ["is not a text file in UTF-8; a YAML file is needed"]) from None
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    parsed = parse_yaml(text, str(path))
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise ConfigError(str(path), [f"the top level must be 'key: value' lines, not a {type(parsed).__name__}"])
    return parsed


def dump_yaml(data: Any) -> str:
    """Render plain data as YAML in the given order, short lists on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Lists of scalars stand on one line, as people write them."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        scalars = not any(isinstance(item, dict | list) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=scalars or flow_style)


# Text that our loader would take for a number is quoted.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT})$"), list("-+0123456789."))
