"""``configs/*.yaml`` and the tables of settings in ``docs/models``, written from the schema: no default stands twice.

``python -m cpivae.config.render`` in a checkout writes them all.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from cpivae.config.base import LossWeights, ModelSettings, Section
from cpivae.config.load import DEFAULT_VARIANT, to_plain
from cpivae.config.shipped import shipped_folder
from cpivae.config.slurm import SlurmSettings
from cpivae.config.variant_class import config_class
from cpivae.config.variants import load_variant, variant_names
from cpivae.config.yaml import dump_yaml

HEADER = """\
# Every setting of cpivae with its default. Copy this file and keep the lines you change: what is left out is default.
# Any setting can also be given on the command line, for example --set training.max_epochs=5
"""

SLURM_HEADER = """\
# What a job asks of SLURM, with the defaults. Copy this file for your cluster, keep the lines you change, and give it
# with cpivae submit slurm --cluster FILE. Every setting is an option as well, which takes precedence.
"""

TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
"""Where a docs page keeps the table of settings."""


def render_config(variant: str, *sections: str, header: str = HEADER) -> str:
    """Return a YAML file of a variant's settings (of some sections, or all), their defaults and documentation."""
    defaults = config_class(variant)()  # type: ignore[call-arg]
    plain = to_plain(defaults)
    blocks = [
        f"# {_first_line(section)}\n{name}:\n{_lines(section, plain[name], 1)}"
        for name, section in ((name, getattr(defaults, name)) for name in sections or type(defaults).model_fields)
    ]
    return header + "\n" + "\n".join(blocks)


def render_slurm_settings() -> str:
    """Return the YAML file of what a job asks of SLURM, with its defaults and documentation."""
    settings = SlurmSettings()
    return SLURM_HEADER + "\n" + _lines(settings, settings.model_dump(mode="json"), 0)


def render_variant(variant: str) -> str:
    """Return the YAML file with what is particular to a variant; the rest is in ``default.yaml``."""
    recipe = load_variant(variant)
    lines = [f"{variant}: {recipe.summary}", f"({recipe.paper}).", "All other settings are those of default.yaml."]
    header = "".join(f"# {part}\n" for line in lines for part in textwrap.wrap(line, 110))
    return render_config(variant, "model", "loss_weights", header=header)


def settings_table(variant: str) -> str:
    """Return a Markdown table of the settings and weights that are particular to a variant."""
    recipe = load_variant(variant)
    model, weights = recipe.settings(model_type=variant), recipe.loss_weights()
    own = [
        *_rows("model", model, ModelSettings(model_type=variant)),
        *_rows("loss_weights", weights, LossWeights()),
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *own, ""])


SETTINGS_HEADER = """\
# Settings

Every setting of `cpivae` with its default; those of `model` and `loss_weights` are of `joint_vae`, and what other
models have is on [their pages](models/README.md). A config file holds the ones that you change, `--set PATH=VALUE`
overrides one on the command line, and a search space varies them. This page is written from the program
(`python -m cpivae.config.render`).
"""


def settings_page() -> str:
    """Return ``docs/settings.md``: every setting with its default and its meaning, a table per section."""
    defaults = config_class(DEFAULT_VARIANT)()  # type: ignore[call-arg]
    parts = [SETTINGS_HEADER]
    for name in type(defaults).model_fields:
        section = getattr(defaults, name)
        head = f"\n## {name}\n\n{_first_line(section)}\n\n| setting | default | meaning |\n|---|---|---|\n"
        parts.append(head + "".join(f"{row}\n" for row in _leaf_rows(name, section)))
    return "".join(parts)


def _leaf_rows(path: str, section: Section) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _leaf_rows(f"{path}.{name}", value)
        else:
            yield _row(f"{path}.{name}", section.model_dump(mode="json")[name], field)


def _row(path: str, plain: object, field: FieldInfo) -> str:
    shown = dump_yaml(plain).strip().removesuffix("\n...").replace("\n", ", ")
    return f"| `{path}` | `{shown}` | {_text(field)} |"


def _rows(path: str, section: Section, shared: Section) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in type(shared).model_fields and value == getattr(shared, name):
            continue
        yield _row(f"{path}.{name}", section.model_dump(mode="json")[name], field)


def _lines(section: Section, plain: dict[str, object], depth: int) -> str:
    indent = "  " * depth
    lines = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            comment = field.description or _first_line(value)
            lines += [f"{indent}# {comment}\n", f"{indent}{name}:\n", _lines(value, plain[name], depth + 1)]  # type: ignore[arg-type]
        else:
            lines.append(_comment(field, indent) + textwrap.indent(dump_yaml({name: plain[name]}), indent))
    return "".join(lines)


def _comment(field: FieldInfo, indent: str) -> str:
    return "".join(f"{indent}# {line}\n" for line in textwrap.wrap(_text(field), 110 - len(indent)))


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _first_line(section: Section) -> str:
    return (type(section).__doc__ or "").strip().splitlines()[0]


def rendered_files() -> Iterator[tuple[Path, str]]:
    """Yield every file of a checkout that is written from the schema, with what it should hold."""
    configs = shipped_folder("configs")
    yield configs / "default.yaml", render_config(DEFAULT_VARIANT)
    yield configs / "cluster" / "slurm.yaml", render_slurm_settings()
    if (page := configs.parent / "docs" / "settings.md").is_file():
        yield page, settings_page()
    for variant in variant_names():
        yield configs / f"{variant}.yaml", render_variant(variant)
        page = configs.parent / "docs" / "models" / f"{variant}.md"
        if page.is_file():
            table = settings_table(variant)
            yield page, TABLE.sub(lambda _, table=table: table, page.read_text(encoding="utf-8"))  # type: ignore[misc]


if __name__ == "__main__":
    for path, text in list(rendered_files()):
        path.write_text(text, encoding="utf-8")
