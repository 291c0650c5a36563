"""A sweep without Ray, see ``game``, and a sweep that is kept elsewhere: a ``file://`` stands for the bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from game import SPACE, Game

from cpivae.config.load import make_config
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.mirrored import MirroredFolder
from cpivae.tuning.remote import Remote


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Game]]:
    """Open a game: ``play(n_trials=10, ...)``; the settings are those of ``tuning``."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with ExitStack() as stack:

        def make(folder: str | SweepFolder = "sweep", space: dict[str, Any] = SPACE, **tuning: Any) -> Game:
            settings = {"n_trials": 10, "startup_trials": 3, "max_epochs": 20, "seed": 1, **tuning}
            config = make_config({"tuning": settings}, "game")
            return stack.enter_context(
                closing(Game(SweepFolder(tmp_path / folder) if isinstance(folder, str) else folder, config, space))
            )

        yield make


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def remote(bucket: Path) -> Remote:
    return Remote(f"file://{bucket}")


@pytest.fixture
def folder(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MirroredFolder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return MirroredFolder.at(remote / "study")
