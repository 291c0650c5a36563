"""All baselines on real pairs: how much of a platform simple methods predict, and where copying a protein is best.

    python benchmarks/baselines.py [--data FOLDER] [--seeds 3]

The pair that the somadata package ships is always there.  --data names a folder of more pairs, each a folder with
platform_a.csv and platform_b.csv, and samples.csv with a column "subject" where splits have to keep persons together.
A figure is the mean over features of Pearson's r on test rows, observed cells only, as mean and standard deviation over
seeds, each with a split of its own: what ``cpivae baseline --test --set data.random_seed=SEED`` says.  "matched" is the
same over the features alone that copy predicts.  Seconds are those of both directions on one thread.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from common import machine, of_pair, pairs
from threadpoolctl import threadpool_limits

from cpivae.baselines.evaluate import evaluate
from cpivae.baselines.matching import matching_features
from cpivae.baselines.methods import METHODS
from cpivae.config.load import load_config
from cpivae.data.prepare import prepare
from cpivae.data.tables import read_pair


def measured(folder: Path, seed: int) -> pd.DataFrame:
    """Measure all baselines on one split of one pair; a row for each method and direction."""
    pair = read_pair({p: folder / f"platform_{p}.csv" for p in "ab"})
    data = prepare(pair, load_config("default", of_pair(folder, seed)).data)
    matches = matching_features({p: preprocessor.features for p, preprocessor in data.preprocessors.items()})
    rows = f"{len(data.splits)} ({len(data.rows('train'))})"
    return evaluate([data], ("test",), list(METHODS), matches).summary.assign(seed=seed, rows=rows)


def row(pair: str, method: str, figures: pd.DataFrame) -> str:
    """Render one method's line."""
    cells = []
    for value in ("corr_mean", "corr_mean_matched"):
        for target in "ab":
            own = figures.loc[figures["target"] == target, value]
            cells.append("" if own.isna().all() else f"{own.mean():.3f} ± {own.std(ddof=0):.3f}")
    copied = figures.groupby("target")["n_features"].mean() if method == "copy" else {}
    features = ", ".join(f"{copied[target]:.0f}" for target in "ab") if len(copied) else ""
    seconds = figures.groupby("seed")["seconds"].sum().mean()
    return f"| {pair} | {figures['rows'].iloc[0]} | {method} | {' | '.join(cells)} | {features} | {seconds:.2f} |"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print("| pair | rows (train) | method | a from b | b from a | matched: a | matched: b | copied | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, threadpool_limits(1):
        for pair, folder in pairs(options.data, Path(scratch)):
            found = pd.concat(measured(folder, seed) for seed in range(options.seeds))
            for method in METHODS:
                print(row(pair, method, found[found["method"] == method]), flush=True)


if __name__ == "__main__":
    main()
