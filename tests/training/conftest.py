"""A run as the tests of training start it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData
from cpivae.training.run import RunResult, fit

TinyConfig = Callable[..., Config]


@pytest.fixture
def train(tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path) -> Iterator[Callable[..., RunResult]]:
    """Train with overrides into a new folder, called run, run2, ..."""
    count = 0

    def run(reporters: Any = None, is_trial: bool = False, data: PreparedData = prepared, **values: Any) -> RunResult:
        nonlocal count
        count += 1
        path = tmp_path / (f"run{count}" if count > 1 else "run")
        return fit(tiny_config(**values), [data], path, name="exp", reporters=reporters, is_trial=is_trial)

    yield run
