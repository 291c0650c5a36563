"""Sweeps in folders as ``tune`` leaves them, really trained but without Ray; and a real browser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Page, browser
from made_sweeps import CHOSEN, Made, write_pair
from needed import lacking

from cpivae.baselines.evaluate import evaluate
from cpivae.baselines.folder import write_baselines
from cpivae.data.prepare import Folds, fingerprint
from cpivae.report.predictions import Predictions, predict
from cpivae.training.again import Again
from cpivae.training.folder import RunFolder
from cpivae.tuning.folder import SweepFolder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """Begin a sweep: ``make(paths)``."""
    begun: list[Made] = []

    def begin(paths: dict[str, Path] | None = None, name: str = "study", **overrides: Any) -> Made:
        begun.append(Made(tmp_path / name, paths, **overrides))
        return begun[-1]

    yield begin
    for sweep in begun:
        sweep.journal.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep of three trained trials, and others of every other fate; nobody may change it."""
    folder = tmp_path_factory.mktemp("report")
    made = Made(folder / "study", write_pair(folder))
    with closing(made.journal):
        for values in CHOSEN:
            made.trained(values)
        random = np.random.default_rng(0)
        for i in range(9):
            height = float(random.uniform(0.1, 0.4))
            values = {"model.latent_dim": 4 + i, "training.learning_rate": 0.001 * (i + 1), "model.linear_skip": "none"}
            epochs = 9 if i % 2 else 3 if i == 4 else 1
            made.told(values, [height * (1 - 0.7**e) for e in range(1, epochs + 1)], "complete" if i % 2 else "stopped")
        for i in range(6):  # the best lie at an edge, and enough have ended for the importance of settings to be told
            values = {"model.latent_dim": 15 + i % 2, "training.learning_rate": 0.001, "model.linear_skip": "none"}
            made.told(values, [(0.5 + 0.05 * i) * (1 - 0.7**e) for e in range(1, 10)])
        steep = {"model.latent_dim": 8, "training.learning_rate": 0.1, "model.linear_skip": "none"}
        made.told(steep, [], "diverged", "diverged", "a loss was no longer finite in epoch 0")
        made.told(steep, [0.1], "failed", "code_error", "ValueError: <b>bold</b> </script>")
        made.told(steep, [0.1, 0.2], "running")
        return made.close()


@pytest.fixture(scope="session")
def again(finished: SweepFolder) -> Again:
    return finished.again(finished.best())


@pytest.fixture(scope="session")
def folds(again: Again) -> Folds:
    return again.folds


@pytest.fixture(scope="session")
def run(again: Again) -> RunFolder:
    return again.run


@pytest.fixture(scope="session")
def predictions(again: Again) -> Predictions:
    return predict(again, ("val",))


@pytest.fixture
def umap_stand_in(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a module in the place of umap-learn that takes the first two columns; return what it is asked for."""
    asked: list[dict[str, Any]] = []

    class Umap:
        def __init__(self, **settings: Any) -> None:
            self.settings = settings

        def fit_transform(self, codes: np.ndarray) -> np.ndarray:
            asked.append(self.settings | {"shape": codes.shape})
            return codes[:, :2].astype(np.float32)

    module = ModuleType("umap")
    module.UMAP = Umap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    return asked


@pytest.fixture(scope="session")
def baselines(folds: Folds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baselines") / "found"
    scores = evaluate(folds, ["val"], ["mean", "ridge"], [])
    write_baselines(path, scores, folds[0].splits.to_frame(), {"fingerprint": fingerprint(folds)})
    return path


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of one Chromium for all tests."""
    if CHROMIUM is None:
        lacking("no Chromium on this machine (apt-get install chromium)")
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened
