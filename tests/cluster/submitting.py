"""Command lines of ``cpivae submit``, for the fixtures ``here`` and ``run``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., str]
WriteTables = Callable[..., None]


def tune(*more: object, space: str = "space.yaml", config: str = "default") -> list[object]:
    named = ("--config", config, "--search_space", space, "--platform_a", "a.csv", "--platform_b", "b.csv")
    return ["--", "tune", *named, "--no_check", *more]


def contents(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
