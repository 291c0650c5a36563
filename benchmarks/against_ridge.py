"""What the default settings reach beside ridge regression and k nearest neighbours, on real pairs.

    python benchmarks/against_ridge.py [--data FOLDER] [--config default] [--seeds 3] > table.md

The pair that the somadata package ships is always measured.  --data names a folder of more pairs, each a folder with
platform_a.csv and platform_b.csv, and samples.csv with a column "subject" where splits have to keep persons together.
Every method sees the same training rows, scaled and filled by the same pipelines; validation rows choose the epoch of
the network, and are left aside by the others (ridge chooses its penalty by leave-one-out on training rows).  The figure
is the mean over features of Pearson's r on test rows, in scaled units, observed cells only; mean and standard deviation
over seeds, each with a split and initial weights of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor

from cpivae.config.load import load_config
from cpivae.data.example import write_somascan_example
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import read_pair
from cpivae.training.run import fit

Scores = dict[str, float]
DIRECTIONS = (("b", "a"), ("a", "b"))


def pairs(data: Path | None, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and folder of every pair."""
    write_somascan_example(scratch / "example")
    yield "somascan example", scratch / "example"
    for folder in sorted(data.iterdir()) if data else []:
        if (folder / "platform_a.csv").is_file():
            yield folder.name, folder


def overrides(folder: Path, seed: int) -> list[str]:
    """Return the settings that a pair and a seed need."""
    chosen = [f"data.random_seed={seed}", f"training.seed={seed}"]
    samples = folder / "samples.csv"
    if samples.is_file() and "subject" in samples.read_text(encoding="utf-8").splitlines()[0].split(","):
        chosen += [f"data.samples_table={samples}", "data.groups=subject"]
    return chosen


def mean_correlation(predicted: np.ndarray, measured: np.ndarray, observed: np.ndarray) -> float:
    """Return the mean over columns of Pearson's r on observed cells."""
    masked = [np.ma.masked_array(x, ~observed) for x in (predicted, measured)]
    p, m = (x - x.mean(axis=0) for x in masked)
    r = (p * m).mean(axis=0) / np.ma.sqrt((p**2).mean(axis=0) * (m**2).mean(axis=0))
    return float(r.mean())


def baselines(data: PreparedData) -> dict[str, Scores]:
    """Score ridge and kNN in both directions."""
    train, test = data.rows("train"), data.rows("test")
    models = {
        "ridge": lambda: RidgeCV(np.logspace(0, 5, 11)),
        "kNN (15)": lambda: KNeighborsRegressor(15, weights="distance"),
    }
    return {
        name: {
            target: mean_correlation(
                make().fit(data.values[source][train], data.values[target][train]).predict(data.values[source][test]),
                data.values[target][test],
                data.observed[target][test],
            )
            for source, target in DIRECTIONS
        }
        for name, make in models.items()
    }


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--config", default="default")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| pair | rows (train) | method | a from b | b from a |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in pairs(options.data, Path(scratch)):
            pair = read_pair({p: folder / f"platform_{p}.csv" for p in "ab"})
            seen: dict[str, list[Scores]] = {}
            for seed in range(options.seeds):
                config = load_config(options.config, overrides(folder, seed))
                data = prepare(pair, config.data)
                for method, scores in baselines(data).items():
                    seen.setdefault(method, []).append(scores)
                run = fit(config, data, Path(scratch) / f"{folder.name}-{seed}", name="benchmark")
                scores = {t: run.test_metrics[f"test_cross_{t}_corr_mean"] for _, t in DIRECTIONS}
                seen.setdefault(f"joint_vae ({options.config})", []).append(scores)
            rows = f"{len(data.splits)} ({len(data.rows('train'))})"
            for method, results in seen.items():
                cells = [f"{np.mean(x):.3f} ± {np.std(x):.3f}" for x in ([r[t] for r in results] for t in "ab")]
                print(f"| {name} | {rows} | {method} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
