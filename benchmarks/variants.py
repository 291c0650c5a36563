"""All model variants with their default settings beside ridge regression and k nearest neighbours, on real pairs.

    python benchmarks/variants.py [--data FOLDER] [--pairs NAME ...] [--configs NAME ...] [--seeds 3] [--processes 2]

The pair that the somadata package ships is always there.  --data names a folder of more pairs, each a folder with
platform_a.csv and platform_b.csv, and samples.csv with a column "subject" where splits have to keep persons together.
--configs names the shipped configs or files to train, all variants unless it is given (generative_vae with both of its
decoders), each without and with linear_skip: ridge.  Every method sees the same training rows, scaled and filled by the
same pipelines; validation rows choose the epoch of a network, and are left aside by the others.  A figure is the mean
over features of Pearson's r on test rows, observed cells only, as mean and standard deviation over seeds, each with a
split and initial weights of its own; a prediction of the training mean has r = 0.  ``ridge`` is what linear_skip: ridge
starts from (penalty by inner folds of the training rows); kNN takes 15 neighbours.  "against ridge" is the difference,
"loses" where it is behind by more than its own standard deviation.  Seconds are CPU seconds of one process with one
thread: compare them with each other, not with another machine's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from common import EXAMPLE, machine, of_pair, pairs
from sklearn.neighbors import KNeighborsRegressor

from cpivae.config.load import load_config
from cpivae.config.schema import Config
from cpivae.config.variants import variant_names
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import read_pair
from cpivae.training.run import build_module, count_parameters, fit

NAMES = (EXAMPLE, "tcga_brca_array_vs_rnaseq", "zoodsma_radboud_olink_panels")
FIXED = ["hardware.accelerator=cpu", "hardware.threads=1", "logging.tensorboard=false"]
DIRECTIONS = (("b", "a"), ("a", "b"))


class Job(NamedTuple):
    pair: str
    folder: Path
    method: str
    settings: tuple[str, ...]
    config: str
    seed: int


class Result(NamedTuple):
    rows: str
    a: float
    b: float
    seconds: float
    parameters: int


def methods(configs: list[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield every method: its name, its overrides, and its config, which is empty for a baseline."""
    yield "ridge", (), ""
    yield "kNN (15)", (), ""
    for config in configs:
        field = type(load_config(config).model).model_fields.get("decoder_type")
        for decoder in get_args(field.annotation) if field else ("",):
            for skip in ("none", "ridge"):
                chosen = (f"model.linear_skip={skip}", *([f"model.decoder_type={decoder}"] if decoder else []))
                shown = " ".join([config, *([f"({decoder})"] if decoder else []), *(["+ ridge"] * (skip == "ridge"))])
                yield shown, chosen, config


def run(job: Job) -> Result:
    """Train or fit one method on one pair with one seed."""
    given = [*of_pair(job.folder, job.seed), *job.settings, *FIXED]
    config = load_config(job.config or "default", given)
    data = prepare(read_pair({p: job.folder / f"platform_{p}.csv" for p in "ab"}), config.data)
    rows = f"{len(data.splits)} ({len(data.rows('train'))})"
    started = time.process_time()
    if job.config:
        scores, parameters = trained(config, data), count_parameters(build_module(config, [data]))
    else:
        scores, parameters = baseline(job.method, data), 0
    return Result(rows, scores["a"], scores["b"], time.process_time() - started, parameters)


def trained(config: Config, data: PreparedData) -> dict[str, float]:
    """Train and return the test scores by target."""
    with tempfile.TemporaryDirectory() as scratch:
        metrics = fit(config, [data], Path(scratch) / "run", name="benchmark").test_metrics
    return {target: metrics[f"test_cross_{target}_corr_mean"] for _, target in DIRECTIONS}


def baseline(method: str, data: PreparedData) -> dict[str, float]:
    """Fit a baseline and return the test scores by target."""
    train, test = data.rows("train"), data.rows("test")
    scores = {}
    for source, target in DIRECTIONS:
        x, y = data.values[source], data.values[target]
        if method == "ridge":
            predicted = data.linear_maps[source, target].predict(x[test])
        else:
            predicted = KNeighborsRegressor(15, weights="distance").fit(x[train], y[train]).predict(x[test])
        scores[target] = mean_correlation(predicted, y[test], data.observed[target][test])
    return scores


def mean_correlation(predicted: np.ndarray, measured: np.ndarray, observed: np.ndarray) -> float:
    """Return the mean over columns of Pearson's r on observed cells."""
    masked = [np.ma.masked_array(x, ~observed) for x in (predicted, measured)]
    p, m = (x - x.mean(axis=0) for x in masked)
    r = (p * m).mean(axis=0) / np.ma.sqrt((p**2).mean(axis=0) * (m**2).mean(axis=0))
    return float(r.mean())


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", nargs="+", default=list(NAMES))
    parser.add_argument("--configs", nargs="+", default=variant_names())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(f"{machine()}; {options.processes} processes\n")
    print("| pair | rows (train) | method | a from b | b from a | against ridge | CPU seconds | parameters |")
    print("|---|---|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool,
    ):
        for pair, folder in pairs(options.data, Path(scratch)):
            if pair not in options.pairs:
                continue
            pending = {
                method: [pool.submit(run, Job(pair, folder, method, chosen, config, s)) for s in range(options.seeds)]
                for method, chosen, config in methods(options.configs)
            }
            ridge: list[Result] = []
            for method, futures in pending.items():
                results = [future.result() for future in futures]
                ridge = ridge or results
                print(row(pair, method, results, ridge), flush=True)


def row(pair: str, method: str, results: list[Result], ridge: list[Result]) -> str:
    """Render one method's line; ``ridge`` holds the results to compare with, seed by seed."""
    cells, verdicts = [], []
    for target in "ab":
        own = np.array([getattr(r, target) for r in results])
        cells.append(f"{own.mean():.3f} ± {own.std():.3f}")
        behind = np.mean([getattr(r, target) for r in ridge]) - own.mean()
        verdicts.append(f"{-behind:+.3f}" + (" loses" if behind > own.std() else ""))
    against = "" if method == "ridge" else ", ".join(verdicts)
    seconds, parameters = np.mean([r.seconds for r in results]), results[0].parameters
    size = f"{parameters:,}" if parameters else ""
    return f"| {pair} | {results[0].rows} | {method} | {cells[0]} | {cells[1]} | {against} | {seconds:.1f} | {size} |"


if __name__ == "__main__":
    main()
