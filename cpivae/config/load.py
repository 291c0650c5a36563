"""From a YAML file and ``--set`` options to checked settings, with every problem reported at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cpivae.config.schema import Config
from cpivae.config.shipped import find_shipped
from cpivae.config.variant_class import config_class
from cpivae.config.variants import variant_name, variant_names
from cpivae.config.yaml import dump_yaml, parse_yaml, read_yaml_mapping
from cpivae.errors import ConfigError, did_you_mean, listed

DEFAULT_VARIANT = "joint_vae"
_OF_A_VARIANT = ("model", "loss_weights")
"""The sections whose settings depend on the variant."""


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read settings from a file or a shipped config by name (``default``), then apply ``KEY=VALUE`` overrides.

    Raises
    ------
    ConfigError
        With one line for each unknown key, wrong type and impossible combination.
    """
    path = find_shipped(source, "configs")
    data = read_yaml_mapping(path)
    problems, given = [], []
    for override in overrides:
        try:
            key, value = parse_override(override)
            set_path(data, key, value)
            given.append(key)
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError("--set", problems)
    try:
        return make_config(data, str(path))
    except ConfigError as error:
        raise _blamed(error, given) from None


def _blamed(error: ConfigError, given: Sequence[str]) -> ConfigError:
    """Return the error with the file blamed for what is in it alone, and not for what was ``given`` over it."""
    by_us = [any(p.startswith((f"{key}.", f"{key}:")) for key in given) for p in error.problems]
    if all(by_us):
        return ConfigError("command line", error.problems)
    told = zip(error.problems, by_us, strict=True)
    return ConfigError(error.source, [f"{p} (given on the command line)" if ours else p for p, ours in told])


def make_config(data: Mapping[str, Any], source: str) -> Config:
    """Check plain nested data and return the settings; ``source`` names the data in errors."""
    model = data.get("model")
    chosen = model.get("model_type", DEFAULT_VARIANT) if isinstance(model, Mapping) else DEFAULT_VARIANT
    problems: list[str] = []
    try:
        name = variant_name(str(chosen))
        schema = config_class(name)
        if isinstance(model, Mapping) and "model_type" in model:
            data = {**data, "model": {**model, "model_type": name}}
    except ConfigError as error:
        # The other sections can be checked all the same.
        problems += [f"{error.source}: {problem}" for problem in error.problems]
        schema = config_class(DEFAULT_VARIANT)
        data = {k: v for k, v in data.items() if k not in _OF_A_VARIANT}
    try:
        config = schema.model_validate(data)
    except ValidationError as error:
        problems += explain(error, schema)
        problems += _hidden_by_unknown_keys(data, error, schema)
    if problems:
        raise ConfigError(source, problems)
    return config


def explain(error: ValidationError, schema: type[BaseModel]) -> list[str]:
    """Turn a validation error into lines ``path: what is wrong``."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            *parents, key = problem["loc"]
            lines.append(
                f"{where}: {whose(where, schema) or 'unknown setting.' + _hint(str(key), _fields_at(schema, parents))}"
            )
        elif problem["type"] == "value_error":
            message = str(problem["ctx"]["error"])
            lines += [f"{where}: {message}" if where else line for line in message.splitlines()]
        elif problem["type"] == "model_type" and problem["input"] is None:
            lines.append(f"{where}: the section is empty; indent its settings below it, or remove the line")
        elif problem["type"] == "model_type":
            keys = listed(_fields_at(schema, list(problem["loc"])))
            lines.append(f"{where}: is a section of settings ({keys}), got {_shown(problem['input'])}")
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            lines.append(f"{where}: {message}, got {_shown(problem['input'])}")
    return lines


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``training.max_epochs=5`` into a path and a YAML value."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(text, ["must have the form KEY=VALUE, for example training.max_epochs=5"])
    return key.strip(), parse_yaml(value, text)


def set_path(data: dict[str, Any], path: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries, making them where they are missing.

    Raises
    ------
    ConfigError
        A part of the path is a value, not a section.
    """
    *parents, last = path.split(".")
    for parent in parents:
        section = data.get(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(path, [f"'{parent}' is a value, not a section"])
        data[parent] = dict(section)  # a YAML alias may share it with another section
        data = data[parent]
    data[last] = value


def to_plain(config: Config) -> dict[str, Any]:
    """Return nested plain data (numbers, text, lists) that :func:`make_config` turns into the same settings."""
    return config.model_dump(mode="json")


def to_yaml(config: Config) -> str:
    """Render all settings as YAML."""
    return dump_yaml(to_plain(config))


def with_values(config: Config, values: Mapping[str, Any], source: str = "settings") -> Config:
    """Return the settings with some replaced, by path: ``{"training.seed": 3}``.  Everything is checked again.

    With another ``model.model_type`` come that variant's own defaults; of the model settings and weights so far, those
    stay that were set to something else than a default and that the new variant accepts.
    """
    data = copy.deepcopy(to_plain(config))
    if "model.model_type" in values:
        data |= _carried_over(config, str(values["model.model_type"]))
    for path, value in values.items():
        set_path(data, path, value)
    return make_config(data, source)


def _carried_over(config: Config, chosen: str) -> dict[str, dict[str, Any]]:
    name, old = variant_name(chosen), config.model.model_type
    if name == old:
        return {}
    plain, defaults, new = to_plain(config), to_plain(_defaults(old)), _defaults(name)
    chosen_on_purpose = {
        section: {key: value for key, value in plain[section].items() if value != defaults[section][key]}
        for section in _OF_A_VARIANT
    }
    return {
        section: {key: value for key, value in values.items() if _accepts(type(getattr(new, section)), key, value)}
        for section, values in chosen_on_purpose.items()
    }


def _accepts(section: type[BaseModel], key: str, value: Any) -> bool:
    try:
        section.model_validate({key: value})
    except ValidationError:
        return False
    return True


def _defaults(variant: str) -> Config:
    return config_class(variant)()  # type: ignore[call-arg]


def _hidden_by_unknown_keys(data: Mapping[str, Any], error: ValidationError, schema: type[Config]) -> list[str]:
    """Find the impossible combinations that are only looked for once every key is known."""
    first = error.errors(include_url=False)
    if any(problem["type"] != "extra_forbidden" for problem in first):
        return []
    known = copy.deepcopy(dict(data))
    for problem in first:
        section: Any = known
        *parents, key = problem["loc"]
        for parent in parents:
            section = section[parent]
        del section[key]
    try:
        schema.model_validate(known)
    except ValidationError as second:
        return explain(second, schema)
    return []


def _fields_at(schema: type[BaseModel], parents: list[int | str]) -> list[str]:
    for parent in parents:
        schema = schema.model_fields[str(parent)].annotation  # type: ignore[assignment]
    return list(schema.model_fields)


def whose(path: str, schema: type[BaseModel]) -> str:
    """Say which variants have a setting that this one lacks; nothing if none has it."""
    section, _, rest = path.partition(".")
    key = rest.partition(".")[0]
    if section not in _OF_A_VARIANT or key in _fields_at(schema, [section]):
        return ""
    own = schema.model_fields["model"].default.model_type
    owners = [name for name in variant_names() if key in _fields_at(config_class(name), [section])]
    return f"is a setting of {listed(owners)}; the model here is {own}" if owners else ""


def _hint(key: str, known: list[str]) -> str:
    return did_you_mean(key, known) or f" Known here: {', '.join(known)}"


def _shown(value: Any) -> str:
    return f"'{value}' (text)" if isinstance(value, str) else repr(value)
