"""How often the 90 % intervals of impute --uncertainty hold on test rows, and what standard deviations tell.

    python benchmarks/uncertainty.py [--data FOLDER] [--pairs NAME ...] [--seeds 5] [--epochs 40] [--processes 2]

The pair that the somadata package ships is always there.  --data names a folder of more pairs, each a folder with
platform_a.csv and platform_b.csv, and samples.csv with a column "subject" where splits have to keep persons together.
Every method is trained with the shipped settings but for the number of epochs, once for each seed, with a split and
initial weights of its own; validation rows choose the epoch and learn the scales, test rows are looked at once.

"coverage" is the share of measured test cells within value ± 1.645 sd, as mean (least to most) over seeds.  The
validation figure is the one that a bundle has where no test rows are read.  "between" is Spearman's correlation, over
proteins, of the mean absolute error with the mean sd, both relative to the protein's deviation among training rows;
"within" is the mean over proteins of Spearman's correlation, over test rows, of |error| with sd: whether sd tells which
samples are predicted badly.  λ is the share of the variance that follows the models' spread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from common import machine, of_pair, pairs

from cpivae.config.load import load_config
from cpivae.data.prepare import prepare_folds
from cpivae.data.tables import read_pair
from cpivae.training.again import Again
from cpivae.training.calibration import calibrations_of
from cpivae.training.run import fit
from cpivae.uncertainty.predict import predict

FIXED = ["hardware.accelerator=cpu", "hardware.threads=1", "logging.tensorboard=false"]
METHODS = {
    "joint_vae": ("joint_vae", []),
    "joint_vae + ridge": ("joint_vae", ["model.linear_skip=ridge"]),
    "joint_vae, 5 replicas": ("joint_vae", ["training.replicas=5"]),
    "joint_vae, 5 folds": ("joint_vae", ["data.folds=5"]),
    "res_unet": ("res_unet", []),
}


class Job(NamedTuple):
    folder: Path
    method: str
    seed: int
    epochs: int


def measured(job: Job) -> pd.DataFrame:
    """Train once and measure both directions."""
    config, chosen = METHODS[job.method]
    given = [*of_pair(job.folder, job.seed), *chosen, *FIXED, f"training.max_epochs={job.epochs}"]
    settings = load_config(config, given)
    tables = read_pair({p: job.folder / f"platform_{p}.csv" for p in "ab"})
    folds = prepare_folds(tables, settings.data)
    with tempfile.TemporaryDirectory() as scratch:
        run = fit(settings, folds, Path(scratch) / "run", name="benchmark").folder
        again = Again(run)
        calibrations, trained = calibrations_of(again), again.trained
    rows, data = folds[0].rows("test"), folds[0]
    found = []
    for source, target in (("b", "a"), ("a", "b")):
        x, y = (tables.frames[p][data.preprocessors[p].features].to_numpy()[rows] for p in (source, target))
        predicted = predict(trained, x, source, target)
        one = calibrations[source, target]
        unit = np.abs(data.preprocessors[target].affine().scale)
        error, sd = np.abs(y - predicted.values) / unit, one.sd(predicted) / unit
        found.append(
            {
                "target": target,
                "rows": f"{len(data.splits)} ({one.rows}, {len(rows)})",
                "validation": one.validation_coverage,
                "test": one.test_coverage,
                "share": one.follows_spread,
                "between": pd.Series(np.nanmean(error, axis=0)).corr(pd.Series(sd.mean(axis=0)), method="spearman"),
                "within": np.nanmean(list(within(error, sd))),
            }
        )
    return pd.DataFrame(found)


def within(error: np.ndarray, sd: np.ndarray) -> Iterator[float]:
    """Yield the rank correlation over rows of every feature; 0 where sd is the same for all rows."""
    for e, s in zip(error.T, sd.T, strict=True):
        seen = ~np.isnan(e)
        if seen.sum() >= 5:
            flat = np.ptp(s[seen]) <= 1e-9 * s[seen].max()
            yield 0.0 if flat else pd.Series(e[seen]).corr(pd.Series(s[seen]), method="spearman")


def row(pair: str, method: str, figures: pd.DataFrame) -> Iterator[str]:
    """Render the lines of one method, one for each direction."""
    for target, own in figures.groupby("target"):
        test = f"{own['test'].mean():.1%} ({own['test'].min():.1%} to {own['test'].max():.1%})"
        figures_of = (
            f"{own['validation'].mean():.1%} | {test} | {own['between'].mean():.2f} | {own['within'].mean():.2f}"
        )
        direction = "a from b" if target == "a" else "b from a"
        yield f"| {pair} | {own['rows'].iloc[0]} | {method} | {direction} | {figures_of} | {own['share'].mean():.2f} |"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", nargs="+", help="only these")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(f"{machine()}; {options.processes} processes\n")
    print("| pair | rows (val, test) | method | predicted | coverage: val | coverage: test | between | within | λ |")
    print("|---|---|---|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool,
    ):
        for pair, folder in pairs(options.data, Path(scratch)):
            if options.pairs and pair not in options.pairs:
                continue
            pending = {
                method: [
                    pool.submit(measured, Job(folder, method, seed, options.epochs)) for seed in range(options.seeds)
                ]
                for method in options.methods
            }
            for method, futures in pending.items():
                figures = pd.concat(future.result() for future in futures)
                print("\n".join(row(pair, method, figures)), flush=True)


if __name__ == "__main__":
    main()
