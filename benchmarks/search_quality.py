"""What does the search find for its epochs, and what do ASHA and honest trial states add to it?

    python benchmarks/search_quality.py --data FOLDER [--methods NAME ...] [--seeds 5] [--epochs 1500]

FOLDER holds platform_a.csv and platform_b.csv.  Five sweeps over the shipped joint_vae space, without its linear skip
(with it every method is at ridge regression after a trial or two, and there is little left to find), spend the same
number of epochs, for every seed:

* random: random settings, every trial trained to its end.
* tpe: Optuna's TPE, which starts with random settings; every trial trained to its end.
* tpe + asha, stock states: ASHA stops trials, and each is told to the sampler as complete with its last score, as
  Ray's own Optuna searcher does.
* tpe from the base: as tpe, but half of the first trials are near the base config, as shipped.
* as shipped: that, with ASHA; a stopped trial is told as pruned, with all its intermediate scores.

Everything else is the same: the program's own engine, the base config as trial 0, two trials at a time, early stopping
inside a trial.  The data are always split in the same way.  A score is the best epoch's val_cross_a_corr_mean, and
"best so far" counts every epoch that was reported.  Results go to a file, and a run that is started
again, for other methods too, goes on there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from common import machine

from cpivae.config.load import load_config
from cpivae.config.space import make_space
from cpivae.config.tuning import TuningSettings
from cpivae.data.prepare import read_and_prepare
from cpivae.tuning import sweep
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.ledger import Course, Ledger

METHODS = ("random", "tpe", "tpe + asha, stock states", "tpe from the base", "as shipped")
SHARES = (0.1, 0.2, 0.33, 0.5, 0.75, 1.0)


class Epochs:
    """Ends a sweep when its epochs are spent."""

    budget = 0

    def __init__(self, tuning: TuningSettings, ledger: Ledger) -> None:  # noqa: ARG002
        self.ledger = ledger

    def reason(self) -> str:
        return "the epochs are spent" if sum(r.epochs for r in self.ledger.records) >= self.budget else ""


def tell_as_ray_does(self: Any, trial: optuna.Trial | None, course: Course) -> None:
    """Tell every trial that has a score as complete with the score it was at."""
    if trial is None:
        return
    for epoch, score in course.scores.items():
        trial.report(score, step=epoch)
    score, state = course.record.score, optuna.trial.TrialState
    self.study.tell(trial, score, state=state.FAIL if score is None else state.COMPLETE)


def courses(journal: Path) -> Iterator[float]:
    """Yield the best score so far after every epoch that was spent, in the order in which they were reported."""
    best = -np.inf
    for event in read_journal(journal):
        if event["event"] == "epoch":
            best = max(best, event["score"])
            yield best


def search(data: Path, method: str, seed: int, epochs: int) -> list[float]:
    """Run one sweep and return its best score after every epoch."""
    config = load_config("default", ["logging.tensorboard=false", "tuning.n_trials=100000", f"tuning.seed={seed}"])
    tuning: dict[str, Any] = {"tuning.keep_weights": 1, "tuning.max_concurrent": 2, "tuning.checkpoint_seconds": 1e6}
    if method == "random":
        tuning["tuning.sampler"] = "random"
    if "asha" not in method and method != "as shipped":
        tuning["tuning.asha.grace_period"] = config.tuning.max_epochs
    base = sweep.with_values(sweep.sweep_config(config), tuning)
    space = make_space({"extends": "joint_vae", "model.linear_skip": {"choice": ["none"]}}, base, "benchmark")
    paths = {p: data / f"platform_{p}.csv" for p in ("a", "b")}
    prepared, _ = read_and_prepare(paths, base.data)
    from cpivae.tuning.searcher import Proposer

    honest, near, stopper = Proposer._tell, Proposer._near_the_base, sweep.Stopper
    with tempfile.TemporaryDirectory() as name:
        try:
            sweep.Stopper = Epochs  # type: ignore[assignment, misc]
            if "stock" in method:
                Proposer._tell = tell_as_ray_does  # type: ignore[method-assign]
            if method not in ("tpe from the base", "as shipped"):
                Proposer._near_the_base = lambda *_: None  # type: ignore[method-assign]
            folder = sweep.run_sweep(
                base, space, lambda: prepared, SweepFolder(Path(name) / "sweep"), study_name="search",
                say=lambda _: None,
            ).folder  # fmt: skip
            return list(courses(folder.journal))[:epochs]
        finally:
            Proposer._tell, Proposer._near_the_base = honest, near  # type: ignore[method-assign]
            sweep.Stopper = stopper  # type: ignore[misc]


def report(results: pd.DataFrame, epochs: int) -> None:
    """Print the best score over epochs spent, and how soon each method is where TPE without ASHA ends."""
    results = results[results["epoch"] <= epochs]
    table = results.pivot(index=["method", "seed"], columns="epoch", values="best").ffill(axis=1)
    columns = [int(np.ceil(share * epochs)) for share in SHARES]
    known = [method for method in METHODS if method in table.index]
    print(f"best score after so many epochs, mean and sd over {results['seed'].nunique()} seeds")
    print(f"{'':<26}" + "".join(f"{c:>16}" for c in columns))
    for method in known:
        scores = table.loc[method][columns]
        cells = [f"{m:.4f} ({s:.4f})" for m, s in zip(scores.mean(), scores.std(ddof=1), strict=True)]
        print(f"{method:<26}" + "".join(f"{cell:>16}" for cell in cells))
    if "tpe" not in known:
        return
    final = table.loc["tpe"][epochs]
    print(f"\nshare of the epochs after which the final score of tpe is reached, by seed (never: {np.inf})")
    for method in known:
        rows = table.loc[method].iterrows()
        reached = [(row >= final[seed]).idxmax() if row.max() >= final[seed] else np.inf for seed, row in rows]
        shares = [float(r) / epochs for r in reached]
        print(f"{method:<26} median {np.median(shares):.2f}   {'  '.join(f'{s:.2f}' for s in shares)}")
    mean_final = final.mean()
    print(f"\nshare of the epochs after which the mean over seeds is where that of tpe ends ({mean_final:.4f})")
    for method in known:
        mean = table.loc[method].mean()
        share = f"{float((mean >= mean_final).idxmax()) / epochs:.2f}" if mean.max() >= mean_final else "never"
        print(f"{method:<26} {share}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1500, help="that each sweep spends")
    parser.add_argument("--results", type=Path, default=Path("search_quality.csv"))
    options = parser.parse_args()
    print(machine())
    Epochs.budget = options.epochs
    done = pd.read_csv(options.results) if options.results.is_file() else pd.DataFrame(columns=["method", "seed"])
    for seed in range(options.seeds):
        for method in options.methods:
            if ((done["method"] == method) & (done["seed"] == seed)).any():
                continue
            started = time.monotonic()
            best = search(options.data, method, seed, options.epochs)
            rows = pd.DataFrame({"method": method, "seed": seed, "epoch": range(1, len(best) + 1), "best": best})
            rows.to_csv(options.results, mode="a", header=not options.results.is_file(), index=False)
            print(f"seed {seed}, {method}: {best[-1]:.4f} in {time.monotonic() - started:.0f} s", flush=True)
    report(pd.read_csv(options.results), options.epochs)


if __name__ == "__main__":
    main()
