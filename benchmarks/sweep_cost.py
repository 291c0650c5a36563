"""What does a sweep cost beyond its epochs: processes, the gap between two trials, and memory?

A real sweep (``run_sweep``: Ray Tune, Optuna, ASHA, joint_vae on synthetic data) runs two trials at a time.  Everything
is read from what it leaves behind or from the outside, so that the measured program is the one that people run:

* processes: the TensorBoard file of a trial carries the pid of its worker in its name.
* gap: from a trial's last row in ``metrics.csv`` (the file's time of change) to the start of the next trial's first
  epoch in the same process (when TensorBoard was told its first learning rate).  It holds the last report, ASHA's
  decision, the trial's unwinding, the searcher's proposal, the new model, run folder and Trainer.  File times inside
  the new run folder divide it into parts.
* epochs' share: seconds spent in epochs / seconds between a worker's first and last epoch.
* memory: a thread reads /proc of this process and its children a few times a second.  ``shared`` is the
  proportional share (PSS) of Ray's object store summed over all processes: 1.0 x data is one copy.  ``private`` is
  a worker's unique memory (USS).  Two more sweeps of two trials each, one on four times the rows, show by how much it
  grows with the data: 0 for data held once, 1 for a copy of its own.  A weak reference tells whether the arrays live
  on in the sweep's own process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
from common import FEATURES_A, FEATURES_B, N_TRAIN, N_VAL, machine, settings, synthetic_data
from memory import Memory, report_growth, report_memory, sampled
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from cpivae.config.space import make_space
from cpivae.data.prepare import Folds
from cpivae.names import RunFiles
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.sweep import SweepResult, run_sweep, sweep_config

SPACE = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "model.dropout_rate": {"uniform": [0.1, 0.5]},
    "loss_weights.kl_divergence": {"loguniform": [1e-4, 1e-2]},
}
"""Nothing that changes the size of a model, so that trials and their memory compare."""

PARTS = ("stop, propose, build model", "write run folder", "Trainer to TensorBoard", "to the first epoch")


@dataclass
class TrialTimes:
    """When one trial did what, in seconds since 1970."""

    pid: int
    marks: list[float]
    """Settings written, run folder complete, TensorBoard opened, first epoch begun."""
    ended: float
    in_epochs: float

    @classmethod
    def read(cls, folder: Path) -> TrialTimes:
        (events,) = (folder / RunFiles.TENSORBOARD).glob("events.out.tfevents.*")
        logged = list(EventFileLoader(str(events)).Load())
        # The callback that logs the learning rate does so when an epoch starts.
        first = next(e.wall_time for e in logged for v in e.summary.value if v.tag.startswith("lr-"))
        files = [(folder / name).stat().st_mtime for name in (RunFiles.CONFIG, RunFiles.ENVIRONMENT)]
        ended = (folder / RunFiles.METRICS).stat().st_mtime
        in_epochs = pd.read_csv(folder / RunFiles.METRICS)["seconds"].sum()
        return cls(int(events.name.split(".")[-2]), [*files, logged[0].wall_time, first], ended, in_epochs)


def by_worker(result: SweepResult) -> dict[int, list[TrialTimes]]:
    """Return every worker's trials in the order in which it ran them."""
    workers = defaultdict(list)
    for record in result.records:
        times = TrialTimes.read(result.folder.trial(record).path)
        workers[times.pid].append(times)
    return {pid: sorted(trials, key=lambda t: t.ended) for pid, trials in workers.items()}


def run(
    options: argparse.Namespace, folder: Path, *, rows: int, trials: int, epochs: int
) -> tuple[SweepResult, Memory]:
    n_val = max(4, options.rows * N_VAL // N_TRAIN)  # fixed: one validation batch, whatever the number of rows
    asha = {"tuning.asha.grace_period": max(1, epochs // 3), "tuning.max_concurrent": 2}
    values: dict[str, Any] = {"tuning.n_trials": trials, "tuning.max_epochs": epochs, "tuning.keep_weights": 1, **asha}
    config = sweep_config(settings(rows, n_val, values))
    features = {"a": options.features_a, "b": options.features_b}
    held = [synthetic_data(config, rows + n_val, features)]  # so that nothing here keeps the data

    def take() -> Folds:
        return [held.pop()]

    with sampled(held[0]) as memory:
        space = make_space(SPACE, config, "benchmark")
        result = run_sweep(config, space, take, SweepFolder(folder), study_name="benchmark", say=lambda _: None)
    return result, memory


def report_times(result: SweepResult, seconds: float) -> None:
    workers = by_worker(result)
    states = pd.Series([r.state for r in result.records]).value_counts().to_dict()
    print(f"{len(result.records)} trials in {seconds:.0f} s: {states}")
    print(f"worker processes: {len(workers)} for {len(result.records)} trials (target: at most 2)")
    following = [(a, b) for trials in workers.values() for a, b in pairwise(trials)]
    points = [[before.ended, *after.marks] for before, after in following]
    gaps = [p[-1] - p[0] for p in points]
    print(f"gap between trials: median {statistics.median(gaps):.3f} s, max {max(gaps):.3f} s (target: 0.5 s)")
    for i, part in enumerate(PARTS):
        print(f"    {part:<28} median {statistics.median(p[i + 1] - p[i] for p in points):.3f} s")
    inside = sum(t.in_epochs for trials in workers.values() for t in trials)
    whole = sum(trials[-1].ended - trials[0].marks[-1] for trials in workers.values())
    print(f"share of the workers' time spent in epochs: {inside / whole:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=N_TRAIN, help="training rows")
    parser.add_argument("--features_a", type=int, default=FEATURES_A)
    parser.add_argument("--features_b", type=int, default=FEATURES_B)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=9, help="of a trial, at most; ASHA's grace is a third")
    parser.add_argument("--quick", action="store_true", help="few short trials on fewer rows, under a minute")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.trials, options.epochs = 400, 8, 2
    print(machine())
    print(f"{options.rows} training rows x {options.features_a} / {options.features_b} features, 2 trials at a time")
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        sizes = {"trials": options.trials, "epochs": options.epochs}
        result, memory = run(options, Path(name) / "sweep", rows=options.rows, **sizes)
        report_times(result, time.perf_counter() - started)
        report_memory(memory)
        if not options.quick:
            pair = [run(options, Path(name) / str(n), rows=n * options.rows, trials=2, epochs=1)[1] for n in (1, 4)]
            report_growth(*pair)


if __name__ == "__main__":
    main()
