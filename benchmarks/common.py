"""What the benchmarks share: the machine's line, calibrated synthetic data, and the settings of the measured model."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cpivae.config.load import make_config, with_values
from cpivae.config.schema import Config
from cpivae.data.example import write_somascan_example
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import pair_from_frames
from cpivae.names import PLATFORMS
from cpivae.training.hardware import cpus

EXAMPLE = "somascan example"
"""The pair that is always there."""

N_TRAIN, N_VAL, FEATURES_A, FEATURES_B = 1600, 200, 2168, 2731

SETTINGS: dict[str, Any] = {
    "model": {"model_type": "joint_vae", "encoder_layers": [1024], "latent_dim": 128, "decoder_layers": [512]},
    "training": {"batch_size": 256},
    "hardware": {"accelerator": "cpu"},
}


def settings(n_train: int, n_val: int, values: dict[str, Any]) -> Config:
    """Return the measured model's settings, the rows divided into training and validation as asked, no test rows."""
    share = n_val / (n_train + n_val)
    splits = {"data.splits.train": 1 - share, "data.splits.val": share, "data.splits.test": 0.0}
    return with_values(make_config(SETTINGS, "benchmark"), splits | values)


def synthetic_data(config: Config, n_rows: int, features: dict[str, int], seed: int = 0) -> PreparedData:
    """Draw two noisy linear views of 32 shared factors, 3 % of the cells missing, and prepare them as a run does."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n_rows, 32), dtype=np.float32)
    frames = {}
    for p in PLATFORMS:
        table = factors @ rng.standard_normal((32, features[p]), dtype=np.float32) / 6
        table += rng.standard_normal(table.shape, dtype=np.float32)
        table[rng.random(table.shape, dtype=np.float32) < 0.03] = np.nan
        names = [f"{p}{i}" for i in range(features[p])]
        frames[p] = pd.DataFrame(table, index=[f"s{i}" for i in range(n_rows)], columns=names)
    return prepare(pair_from_frames(frames), config.data)


def pairs(data: Path | None, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and folder of every pair: the example, then those in the folder ``data``."""
    write_somascan_example(scratch / "example")
    yield EXAMPLE, scratch / "example"
    for folder in sorted(data.iterdir()) if data else []:
        if (folder / "platform_a.csv").is_file():
            yield folder.name, folder


def of_pair(folder: Path, seed: int) -> list[str]:
    """Return the settings that a pair and a seed need."""
    chosen = [f"data.random_seed={seed}", f"training.seed={seed}"]
    samples = folder / "samples.csv"
    if samples.is_file() and "subject" in samples.read_text(encoding="utf-8").splitlines()[0].split(","):
        chosen += [f"data.samples_table={samples}", "data.groups=subject"]
    return chosen


def machine() -> str:
    """Describe the machine in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpus = "".join(f", {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    return f"{model}, {cpus()} cores usable{gpus}; Python {platform.python_version()}, torch {torch.__version__}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Show a median with its quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3f}{unit} ({low:.3f} to {high:.3f})"


@contextmanager
def every(seconds: float, look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` again and again while the block runs."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
