"""What is a good number of GPUs or of CPUs for a trial, and does ``auto`` find it?

The same sweep (``run_sweep``: random settings of joint_vae on synthetic data; every trial runs to its end) is run with
fixed numbers and with ``auto``.  Trials per hour are the epochs of all trials, divided by the epochs of one, in the
time from the first epoch's end to the last one's: without the start of Ray.  What ``auto`` takes to measure is told
apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from common import FEATURES_A, FEATURES_B, N_TRAIN, N_VAL, machine, settings, synthetic_data

from cpivae.config.space import make_space
from cpivae.config.tuning import AUTO
from cpivae.data.prepare import PreparedData
from cpivae.training.hardware import cpus, gpus
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.packing import measured, threads_to_try, with_numbers
from cpivae.tuning.place import this_machine
from cpivae.tuning.sweep import run_sweep, sweep_config

SPACE = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "model.latent_dim": {"choice": [32, 64, 128]},
    "model.encoder_layers": {"layers": {"depth": [0, 2], "width": [256, 512, 1024]}},
}
"""Small models and large ones, as a sweep has them; ``auto`` measures the largest."""


def report(options: argparse.Namespace, data: PreparedData, n_trials: int, tuning: dict[str, Any]) -> None:
    """Run a sweep with these numbers and print its line."""
    values = {
        "tuning.n_trials": n_trials,
        "tuning.max_epochs": options.epochs,
        "tuning.asha.grace_period": options.epochs,
        "tuning.sampler": "random",
        "tuning.keep_weights": 1,
        "training.early_stopping_patience": options.epochs,
        "hardware.accelerator": "gpu" if tuning["gpus_per_trial"] else "cpu",
        **{f"tuning.{name}": value for name, value in tuning.items()},
    }
    asked, place = settings(options.rows, n_val(options.rows), values), this_machine()
    config, lines = sweep_config(with_numbers(asked, place, None), place), []
    space = make_space(SPACE, config, "benchmark")
    if AUTO in tuning.values():
        started = time.perf_counter()
        packing = measured(asked, config, space, [data], place)
        config = sweep_config(packing.config, place)
        lines = [f"    {line}" for line in [*packing.lines, f"measured in {time.perf_counter() - started:.0f} s"]]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sweep"
        result = run_sweep(config, space, lambda: [data], SweepFolder(path), study_name="benchmark", say=lambda _: None)
        ends = [event["time"] for event in read_journal(SweepFolder(path).journal) if event["event"] == "epoch"]
    per_hour = 3600 * (len(ends) - 1) / (max(ends) - min(ends)) / options.epochs
    failed = sum(record.state != "complete" for record in result.records)
    named = ", ".join(f"{key} {value}" for key, value in tuning.items())
    told = f"{place.trials(config.tuning)} at a time, {failed} of {n_trials} failed"
    print("\n".join([f"{named:<42} {per_hour:7.0f} trials per hour, {told}", *lines]), flush=True)


def n_val(n_train: int) -> int:
    return max(4, n_train * N_VAL // N_TRAIN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=N_TRAIN, help="training rows")
    parser.add_argument("--features_a", type=int, default=FEATURES_A)
    parser.add_argument("--features_b", type=int, default=FEATURES_B)
    parser.add_argument("--trials", type=int, default=8, help="for each trial that runs at a time with one CPU or GPU")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial")
    parser.add_argument("--quick", action="store_true", help="few short trials on fewer rows and features")
    parser.add_argument("--only", choices=["gpu", "cpu"], help="leave the other part out")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.features_a, options.features_b, options.trials, options.epochs = 400, 500, 600, 2, 3
    print(machine())
    print(f"{options.rows} training rows x {options.features_a} / {options.features_b} features", flush=True)
    features = {"a": options.features_a, "b": options.features_b}
    rows = options.rows + n_val(options.rows)
    data = synthetic_data(settings(options.rows, n_val(options.rows), {}), rows, features)
    if options.only != "cpu":
        for share in [1, 0.5, 0.25, AUTO] if gpus() else []:
            tuning = {"gpus_per_trial": share, "cpus_per_trial": 1}
            report(options, data, 4 * options.trials * gpus(), tuning)
        if not gpus():
            print("gpus_per_trial: needs a GPU")
    if options.only != "gpu":
        for threads in [*threads_to_try(cpus()), AUTO]:
            report(options, data, options.trials * cpus(), {"gpus_per_trial": 0, "cpus_per_trial": threads})


if __name__ == "__main__":
    main()
