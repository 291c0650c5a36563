"""What several subcommands say in the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result only, and what is wrong.")]


def sayer(quiet: bool) -> Callable[[str], None]:
    """Return what prints the lines on the way to a result; if ``quiet``, the warnings only, apart from the result."""

    def warn(text: str) -> None:
        for line in text.splitlines():
            if line.startswith("warning:"):
                print(line, file=sys.stderr)

    return warn if quiet else print


def test_scores(metrics: Mapping[str, float]) -> str:
    """Say how well each platform was imputed from the other on the test samples."""
    directions = (("a", "b"), ("b", "a"))
    return ", ".join(f"{t} from {s}: r {metrics[f'test_cross_{t}_corr_mean']:.4f}" for t, s in directions)
