"""``configs/<variant>.yaml`` written from the schema, so that no default stands twice.

``python -m cpivae.config.render joint_vae > configs/default.yaml``
"""

from __future__ import annotations

import sys
import textwrap

from pydantic.fields import FieldInfo

from cpivae.config.base import Section
from cpivae.config.load import to_plain
from cpivae.config.schema import config_class
from cpivae.config.yaml import dump_yaml

HEADER = """\
# Every setting of cpivae with its default. Copy this file and keep the lines you change: what is left out is default.
# Any setting can also be given on the command line, for example --set training.max_epochs=5
"""


def render_config(variant: str) -> str:
    """Return a YAML file that holds every setting of a variant, its default and its documentation."""
    defaults = config_class(variant)()  # type: ignore[call-arg]
    plain = to_plain(defaults)
    blocks = [
        f"# {_first_line(section)}\n{name}:\n{_lines(section, plain[name], 1)}"
        for name, section in ((name, getattr(defaults, name)) for name in type(defaults).model_fields)
    ]
    return HEADER + "\n" + "\n".join(blocks)


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
    text = " ".join((field.description or "").split())
    return "".join(f"{indent}# {line}\n" for line in textwrap.wrap(text, 110 - len(indent)))


def _first_line(section: Section) -> str:
    return (type(section).__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    sys.stdout.write(render_config(sys.argv[1]))
