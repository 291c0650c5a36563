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
  a worker's unique memory (USS).  A second, short sweep on four times the rows shows by how much a worker's private
  memory, and this process's, grow with the data: 0 for data held once, 1 for a copy of its own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from common import FEATURES_A, FEATURES_B, N_TRAIN, N_VAL, data_bytes, machine, settings, synthetic_data
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from cpivae.config.space import make_space
from cpivae.data.prepare import PreparedData
from cpivae.names import RunFiles
from cpivae.tuning.sweep import SweepResult, run_sweep, sweep_config

SPACE = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "model.dropout_rate": {"uniform": [0.1, 0.5]},
    "loss_weights.kl_divergence": {"loguniform": [1e-4, 1e-2]},
}
"""Nothing that changes the size of a model, so that trials and their memory compare."""

MB = 1e6
PARTS = ("stop, propose, build model", "write run folder", "Trainer to TensorBoard", "to the first epoch")


@dataclass
class Memory:
    """What the sampling thread saw, in bytes."""

    data: int
    driver: int = 0
    """Peak private memory of this process while trials ran."""
    shared: int = 0
    """Peak of the object store's pages in use, each counted once."""
    mapped: int = 0
    """Most processes that had the object store's data mapped at a time."""
    workers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Private memory of every worker, over time."""

    def worker_peak(self) -> float:
        return statistics.median(max(seen) for seen in self.workers.values())


@contextmanager
def sampled(data: int) -> Iterator[Memory]:
    """Watch memory while the block runs."""
    memory, over = Memory(data), threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            sample(memory)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def sample(memory: Memory) -> None:
    """Add one look at this process and the Ray processes below it."""
    me, shared, mapped = psutil.Process(), 0, 0
    for process in [me, *me.children(recursive=True)]:
        try:
            is_trial = process.cmdline()[:1] in (["ray::ImplicitFunc"], ["ray::ImplicitFunc.train"])
            maps = [m for m in process.memory_maps(grouped=True) if "plasma" in m.path]
            shared += sum(m.pss for m in maps)
            mapped += any(m.rss > memory.data / 2 for m in maps)
            if is_trial:
                memory.workers[process.pid].append(process.memory_full_info().uss)
        except psutil.Error:
            continue
    memory.shared, memory.mapped = max(memory.shared, shared), max(memory.mapped, mapped)
    if memory.workers:
        memory.driver = max(memory.driver, me.memory_full_info().uss)


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
    n_val = max(4, rows * N_VAL // N_TRAIN)
    asha = {"tuning.asha.grace_period": max(1, epochs // 3), "tuning.max_concurrent": 2}
    values: dict[str, Any] = {"tuning.n_trials": trials, "tuning.max_epochs": epochs, "tuning.keep_weights": 1, **asha}
    config = sweep_config(settings(rows, n_val, values))
    features = {"a": options.features_a, "b": options.features_b}
    held = [synthetic_data(config, rows + n_val, features)]  # so that nothing here keeps the data

    def take() -> PreparedData:
        return held.pop()

    with sampled(data_bytes(held[0])) as memory:
        space = make_space(SPACE, config, "benchmark")
        result = run_sweep(config, space, take, folder, study_name="benchmark", say=lambda _: None)
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


def report_memory(seen: Memory) -> None:
    print(f"data {seen.data / MB:.0f} MB, mapped by up to {seen.mapped} processes at a time;")
    print(f"    shared memory in use: {seen.shared / seen.data:.2f} x data (target: about 1)")
    traces = [trace for trace in seen.workers.values() if len(trace) >= 8]
    halves = [max(trace[len(trace) // 2 :]) / max(trace[: len(trace) // 2]) for trace in traces]
    if halves:
        print(f"    a worker's private peak, second half of the sweep over the first: {max(halves):.2f} x")


def report_growth(small: Memory, large: Memory) -> None:
    more = large.data - small.data
    print(f"with data of {large.data / MB:.0f} MB instead, private memory grows by")
    print(f"    {(large.worker_peak() - small.worker_peak()) / more:+.2f} x data in a worker (target: about 0)")
    print(f"    {(large.driver - small.driver) / more:+.2f} x data in the sweep's own process")


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
        result, small = run(options, Path(name) / "sweep", rows=options.rows, **sizes)
        report_times(result, time.perf_counter() - started)
        report_memory(small)
        if not options.quick:
            _, large = run(options, Path(name) / "large", rows=4 * options.rows, trials=2, epochs=2)
            report_growth(small, large)


if __name__ == "__main__":
    main()
