"""A pair whose truth is known, prepared data, and settings small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import r2_score

from cpivae.config.load import make_config, set_path
from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.models.build import build_model
from cpivae.names import DIRECTIONS, Split, prediction
from cpivae.training.folder import RunFolder, read_preprocessors

torch.set_num_threads(1)

TinyConfig = Callable[..., Config]


def linear_pair(n: int = 240, d_a: int = 20, d_b: int = 30, n_factors: int = 4, missing: float = 0.03) -> Pair:
    """Two linear views of the same factors, so that ridge regression is nearly the best possible predictor.

    Values are positive with different sizes and offsets per feature, as measurements are; some cells are missing.
    """
    rng = np.random.default_rng(7)
    factors = rng.normal(size=(n, n_factors))
    frames = {}
    for platform, d in (("a", d_a), ("b", d_b)):
        signal = factors @ rng.normal(size=(n_factors, d)) + 0.5 * rng.normal(size=(n, d))
        values = rng.uniform(50, 100, size=d) + rng.uniform(0.5, 5, size=d) * signal
        values[rng.random(values.shape) < missing] = np.nan
        frames[platform] = pd.DataFrame(
            values,
            index=pd.Index([f"S{i:03d}" for i in range(n)], name="sample"),
            columns=[f"{platform.upper()}{j:02d}" for j in range(d)],
        )
    return pair_from_frames(frames)


@pytest.fixture(scope="session")
def simulated_pair() -> Pair:
    return linear_pair()


WriteTables = Callable[..., None]


@pytest.fixture(scope="session")
def write_tables() -> WriteTables:
    """Write a linear pair as ``a.csv`` and ``b.csv`` into a folder, for a program that reads them."""

    def write(folder: Path, n: int = 90, d_a: int = 12, d_b: int = 15) -> None:
        for platform, frame in linear_pair(n, d_a, d_b, n_factors=3, missing=0.0).frames.items():
            frame.to_csv(folder / f"{platform}.csv")

    return write


@pytest.fixture(scope="session")
def prepared(simulated_pair: Pair, tiny_config: TinyConfig) -> PreparedData:
    return prepare(simulated_pair, tiny_config().data)


@pytest.fixture(scope="session")
def tiny_config() -> TinyConfig:
    """Make settings of a small model and a short run; overrides are paths, dots written as two underscores."""

    def make(**overrides: Any) -> Config:
        data: dict[str, Any] = {
            "model": {"latent_dim": 6, "encoder_layers": [24], "decoder_layers": [24]},
            "training": {"max_epochs": 3, "batch_size": 32, "learning_rate": 1e-3},
            "hardware": {"accelerator": "cpu", "threads": 1},
            "logging": {"tensorboard": False},
        }
        for path, value in overrides.items():
            set_path(data, path.replace("__", "."), value)
        return make_config(data, "test settings")

    return make


Scores = Callable[[np.ndarray, np.ndarray], dict[str, float]]


@pytest.fixture(scope="session")
def scores_by_hand() -> Scores:
    """Score predictions against measurements with gaps (NaN), column by column, by textbook definitions."""

    def of_feature(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        correlation = 0.0 if np.ptp(x) == 0 else float(stats.pearsonr(x, y).statistic)
        return correlation, float(r2_score(y, x))

    def score(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
        observed = ~np.isnan(measured)
        columns = [(predicted[o, j], measured[o, j]) for j, o in enumerate(observed.T)]
        scored = np.array([of_feature(x, y) for x, y in columns if len(y) >= 3 and np.ptp(y) > 0])
        x, y = predicted[observed], measured[observed]
        return {
            "corr": of_feature(x, y)[0],
            "corr_mean": scored[:, 0].mean(),
            "corr_median": float(np.median(scored[:, 0])),
            "r2": float(r2_score(y, x)),
            "mean_feature_r2": scored[:, 1].mean(),
            "rmse": float(np.sqrt(np.mean((x - y) ** 2))),
            "n_features": len(scored),
        }

    return score


Evaluate = Callable[[RunFolder, PreparedData, Pair, Split], dict[str, float]]


@pytest.fixture(scope="session")
def evaluated_by_hand(scores_by_hand: Scores) -> Evaluate:
    """Score a run's kept weights on a split of the measured table, with none of the training code."""

    def evaluate(folder: RunFolder, data: PreparedData, pair: Pair, split: Split) -> dict[str, float]:
        model = build_model(folder.config(), data.n_features)
        model.load_state_dict(folder.weights()[0])
        model.eval()
        rows, preprocessors = data.rows(split), read_preprocessors(folder.path)
        metrics = {}
        for source, target in DIRECTIONS:
            with torch.no_grad():
                scaled = model.impute(torch.from_numpy(data.values[source][rows]), source, target)
            predicted = preprocessors[target].inverse(scaled.numpy())
            measured = pair.frames[target][preprocessors[target].features].to_numpy()[rows]
            named = scores_by_hand(predicted, measured).items()
            metrics |= {f"{split}_{prediction(source, target)}_{key}": value for key, value in named}
        return metrics

    return evaluate
