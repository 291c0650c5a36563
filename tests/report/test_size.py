"""A page of 7,000 proteins a side stays below 6 MB, and a long sweep does not take long."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from made_sweeps import Made

from cpivae.baselines.evaluate import Scores
from cpivae.names import DIRECTIONS
from cpivae.report.model import shown
from cpivae.report.page import packed
from cpivae.report.predictions import Predictions
from cpivae.report.write import write_report
from cpivae.uncertainty.calibrate import calibrate
from cpivae.uncertainty.files import Calibrations
from cpivae.uncertainty.predict import Prediction

MOST = 6_000_000


def many(d: int, n: int = 300) -> tuple[Predictions, Calibrations, Scores]:
    """Noise: nothing compresses worse."""
    random = np.random.default_rng(0)
    names = {p: [f"{p.upper()}{i:05d}|seq.{random.integers(1e5)}" for i in range(d)] for p in "ab"}
    tables = []
    for source, target in (("b", "a"), ("a", "b")):
        about = {"source": source, "target": target, "split": "val", "fold": 0, "feature": names[target]}
        tables.append(pd.DataFrame(about | {name: random.normal(size=d) for name in ("corr", "r2", "rmse")} | {"n": n}))
    features = pd.concat(tables)
    methods = [
        features.assign(method=m, corr=random.normal(size=2 * d))
        for m in ("mean", "copy", "ridge", "pls", "knn", "wnn")
    ]
    noise = {p: random.normal(size=(n, d)) for p in "ab"}
    codes = {p: random.normal(size=(n, 32)) for p in "ab"}
    predictions = Predictions(
        features, names, noise, {p: random.normal(size=(n, d)) for p in "ab"}, codes,
        np.ones(n, dtype=bool), [f"S{i}" for i in range(n)],
    )  # fmt: skip
    noise_of_a = Prediction(noise["a"], *(np.zeros((n, d)) + s for s in (0, 1, 0)), [])
    calibration = calibrate(noise_of_a, random.normal(size=(n, d)), np.ones(d), np.arange(n))
    return predictions, dict.fromkeys(DIRECTIONS, calibration), Scores(pd.DataFrame(), pd.concat(methods))


@pytest.mark.slow
def test_7000_proteins_a_side_and_all_baselines_stay_below_6_mb(make: Callable[..., Made]) -> None:
    predictions, calibrations, scores = many(7000)
    part = shown(predictions, calibrations, 1, {}, scores)
    assert part.proteins is not None
    assert part.proteins["n"] >= 50, "too few points to see anything by"
    made = make()
    for i in range(200):
        made.told(
            {
                "model.latent_dim": 2 + i % 15,
                "training.learning_rate": 0.001 * (1 + i / 10),
                "model.linear_skip": "none",
            },
            [0.1] * 9,
        )
    without = len(write_report(made.folder).read_bytes())
    data = {"figures": {k: v for k, v in part.figures.items() if v}, "tables": part.tables, "proteins": part.proteins}
    model = packed(data, part.points)
    assert without + len(model["data"]) + len(model["points"]) < MOST


@pytest.mark.slow
def test_a_long_sweep_is_told_in_seconds(make: Callable[..., Made]) -> None:
    made, random = make(**{"tuning.max_epochs": 50}), np.random.default_rng(0)
    for i in range(600):
        score = float(random.uniform())
        rate = float(10 ** random.uniform(-4, -1))
        values = {"model.latent_dim": 2 + i % 15, "training.learning_rate": rate, "model.linear_skip": "none"}
        made.told(
            values,
            [score * (1 - 0.9**e) for e in range(1, 50 if i % 3 == 0 else 6)],
            "complete" if i % 3 == 0 else "stopped",
        )
    started = time.monotonic()
    written = write_report(made.folder)
    assert time.monotonic() - started < 30
    assert written.stat().st_size < MOST / 2
