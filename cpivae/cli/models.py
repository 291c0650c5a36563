"""``cpivae models``: what there is to choose from."""

from __future__ import annotations

import shutil
import textwrap


def models() -> None:
    """List the models: name, what it is, what it is made of, where it comes from."""
    from cpivae.config.variants import load_variant, variant_names

    width = min(shutil.get_terminal_size().columns, 120)
    for name in variant_names():
        variant = load_variant(name)
        print(name)
        for title, text in (("", variant.summary), ("made of: ", variant.parts), ("paper: ", variant.paper)):
            print(textwrap.fill(title + text, width, initial_indent="    ", subsequent_indent="      "))
