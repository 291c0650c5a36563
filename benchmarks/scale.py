"""Does a sweep stay as fast and as small over thousands of trials as it was at first, and how soon is it resumed?

A real sweep (``run_sweep``: Ray Tune, Optuna's TPE and ASHA as shipped, the journal, run folders) of trials that are
empty: in the worker processes :func:`empty_fit` stands in for ``training.run.fit``.  It writes what a training run
writes where the machinery looks (a run folder, a row of metrics and two files of weights per epoch) and reports made-up
scores, which depend on the proposed settings.  Everything else is the program that people run.

* trials/s: from the times at which trials ended, in the journal.
* memory: a thread reads this process's resident size once a second.  Its growth is counted from the end of the first
  part on, when everything has been imported and used.
* resume: another process goes on with the finished sweep and ten trials more.  Counted from the start of ``run_sweep``
  to the time at which the journal says that the first new trial began; Ray's own start is in it.
"""

from __future__ import annotations

import argparse
import io
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from common import every, machine, settings, synthetic_data

from cpivae.config.schema import Config
from cpivae.config.space import load_space
from cpivae.data.prepare import Folds
from cpivae.names import RunFiles, metric_keys
from cpivae.training.callbacks import EpochReport
from cpivae.training.folder import RunFolder
from cpivae.training.history import append_row
from cpivae.tuning import engine, trainable
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.sweep import run_sweep, sweep_config

N_TRAIN, N_VAL, FEATURES = 40, 20, {"a": 4, "b": 5}
PARTS, MORE, EPOCHS, GRACE = 4, 10, 9, 3
KEYS = [key for stage in ("train", "val") for key in metric_keys(stage, ("reconstruction", "cross", "kl", "alignment"))]
MB = 1e6


def score_of(config: Config, epoch: int) -> float:
    """Return a made-up score: a learning curve towards what the settings are worth."""
    rate, width = math.log10(config.training.learning_rate), math.log2(config.model.latent_dim)
    worth = 0.6 - 0.05 * (rate + 3) ** 2 - 0.01 * (width - 6) ** 2 - 0.2 * abs(config.model.dropout_rate - 0.2)
    noise = np.random.default_rng([config.training.seed, epoch]).normal(scale=0.01)
    return float(worth * (1 - math.exp(-(epoch + 1) / 3)) + noise)


def empty_fit(
    config: Config, folds: Folds, path: Path, *, reporters: list[Any], linear_maps_in: Path, **_: Any
) -> None:
    """Leave what a training run leaves, without one."""
    folder = RunFolder.create(path, config, folds, linear_maps_in)
    for epoch in range(EPOCHS):
        score = score_of(config, epoch)
        append_row(folder.path / RunFiles.METRICS, {"epoch": epoch, config.tuning.metric: score})
        for weights in (folder.checkpoints / "best.ckpt", folder.final_model):
            weights.write_bytes(b"weights")
        metrics = dict.fromkeys(KEYS, 0.5) | {config.tuning.metric: score}
        for report in reporters:
            report(EpochReport(epoch, metrics, last=epoch + 1 == EPOCHS))


def run_empty_trial(proposed: dict[str, Any], task: trainable.TrialTask, folds: Folds) -> None:
    """Run a trial in a worker, the training replaced."""
    trainable.fit = empty_fit  # type: ignore[assignment]
    trainable.run_trial(proposed, task, folds)


def run(path: Path, space_name: str, n_trials: int, *, resume: bool = False) -> None:
    values: dict[str, Any] = {"n_trials": n_trials, "max_epochs": EPOCHS, "keep_weights": 3, "max_concurrent": 2}
    asha = {"tuning.asha.grace_period": GRACE}
    config = sweep_config(settings(N_TRAIN, N_VAL, asha | {f"tuning.{key}": value for key, value in values.items()}))
    folds = [synthetic_data(config, N_TRAIN + N_VAL, FEATURES)]
    engine.run_trial = run_empty_trial
    run_sweep(
        config, load_space(space_name, config), lambda: folds, SweepFolder(path), study_name="scale", resume=resume,
        say=lambda _: None,
    )  # fmt: skip


@contextmanager
def watched() -> Iterator[list[tuple[float, int, float]]]:
    """Note this process's memory and CPU time once a second: (time, bytes, seconds)."""
    seen: list[tuple[float, int, float]] = []
    process = psutil.Process()

    def look() -> None:
        spent = process.cpu_times()
        seen.append((time.time(), process.memory_info().rss, spent.user + spent.system))

    with every(1, look):
        yield seen


def report(folder: SweepFolder, seen: list[tuple[float, int, float]]) -> None:
    ends = [event for event in read_journal(folder.journal) if event["event"] == "ended"]
    times = [event["time"] for event in ends]
    print(f"{len(ends)} trials in {times[-1] - times[0]:.0f} s: {dict(Counter(event['state'] for event in ends))}")
    size = len(ends) // PARTS
    bounds = [0, *(part * size - 1 for part in range(1, PARTS + 1))]
    at, bytes_at, spent_at = (np.array(column) for column in zip(*seen, strict=True))
    rates, sizes, costs = [], [], []
    for first, last in pairwise(bounds):
        rates.append((last - first) / (times[last] - times[first]))
        sizes.append(float(np.interp(times[last], at, bytes_at)))
        costs.append(float(np.diff(np.interp([times[first], times[last]], at, spent_at))[0]) / (last - first))
        print(
            f"trials {first:>5} to {last:>5}: {rates[-1]:.2f} trials/s; the sweep's own process: "
            f"{1000 * costs[-1]:.0f} ms CPU a trial, {sizes[-1] / MB:.0f} MB at their end"
        )
    print(f"trials/s, last / first: {rates[-1] / rates[0]:.2f} (target: at least 0.9)")
    print(f"CPU a trial, first / last: {costs[0] / costs[-1]:.2f}; other work on the machine has less say in this one")
    growth = (sizes[-1] - sizes[0]) / MB / (bounds[-1] - bounds[1]) * 1000
    print(f"growth of the sweep's own process: {growth:.0f} MB per 1,000 trials (target: at most 50)")


def resume(path: Path, space_name: str, n_trials: int) -> None:
    before = time.time()
    run(path, space_name, n_trials + MORE, resume=True)
    began = (e["time"] for e in read_journal(SweepFolder(path).journal) if e["event"] == "began")
    first = next(moment for moment in began if moment > before)
    print(f"resumed: the first new trial began after {first - before:.1f} s (target: 20 s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--space", default="joint_vae", help="a search space, for the samplers")
    parser.add_argument("--quick", action="store_true", help="200 trials, under two minutes")
    parser.add_argument("--folder", type=Path, help="keep the sweep here; if there is one, only resume it")
    options = parser.parse_args()
    n_trials = 200 if options.quick else options.trials
    if options.folder is not None and options.folder.exists():
        resume(options.folder, options.space, n_trials)
        return
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        path = options.folder or Path(name) / "sweep"
        with watched() as seen, redirect_stdout(io.StringIO()):  # a line per trial
            run(path, options.space, n_trials)
        report(SweepFolder(path), seen)
        more = ["--folder", str(path), "--space", options.space, "--trials", str(n_trials)]
        # In a process of its own, as people do it.
        done = subprocess.run([sys.executable, __file__, *more], check=True, capture_output=True, text=True)
        print(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
