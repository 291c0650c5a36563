"""What does an epoch cost inside a trial, compared with a bare PyTorch loop that computes the same?

The trial is the program's own: ``fit(..., is_trial=True)`` with Lightning, validation metrics, metrics.csv,
TensorBoard, a checkpoint at every improvement, and the reporter of a trial; first without Ray, then as a real
trial of Ray Tune (``--skip_ray`` leaves that out).  The bare loop, :class:`BareLoop`, takes the same batches, noise,
draws, optimiser, schedule, clipping and validation, and scores every feature, without Lightning and without a file.

Both run in one process with equal threads, alternating: at the end of each epoch of the trial the last reporter runs
two bare epochs.  A trial's epoch is timed from that reporter's return to its next call, so that it holds everything
from batches to reporting.  The ratio is taken within each round (trial's epoch / mean of its two bare epochs) and its
median reported with its quartiles, by the wall clock and by CPU seconds; the second bare epoch over the first shows
what the machine's noise alone does.  All start from the same weights and seeds, and the benchmark fails unless their
scores at the end are equal: they did the same work.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import FEATURES_A, FEATURES_B, N_TRAIN, N_VAL, machine, settings, spread, synthetic_data

from cpivae.batch import Batch
from cpivae.config.schema import Config
from cpivae.data.module import BatchRows, PairedRows
from cpivae.data.prepare import PreparedData
from cpivae.names import DIRECTIONS
from cpivae.training.callbacks import EpochReport, Reporter
from cpivae.training.run import build_module, fit
from cpivae.tuning.reporting import ScoreKeeper

WARM_UP = 2
"""Rounds left out at the start: first imports, first allocations."""

ROUND = ("trial", "bare", "bare_again")
"""Whose epochs alternate."""


class BareLoop:
    """The training that a person would write by hand for one variant."""

    def __init__(self, config: Config, data: PreparedData) -> None:
        self.settings, self.weights = config.training, config.term_weights()
        self.device = torch.device("cuda" if config.hardware.accelerator == "gpu" else "cpu")
        (self.replica,) = build_module(config, [data]).each()  # for its seeds: both loops draw the same numbers
        self.model = self.replica.model.to(self.device)
        self.std = {p: torch.from_numpy(q.affine().scale).to(self.device) for p, q in data.preprocessors.items()}
        self.dataset = PairedRows(data)
        size, seed = self.settings.batch_size, self.settings.seed
        self.train_rows = BatchRows(data.rows("train"), size, shuffle=True, seed=seed)
        self.val_rows = BatchRows(data.rows("val"), size, shuffle=False, seed=seed)
        s = self.settings
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=s.max_epochs)

    def epoch(self, number: int) -> dict[str, float]:
        """Train on every row once, then score the validation rows."""
        self.train_rows.set_epoch(number)
        self.model.train()
        for index, rows in enumerate(self.train_rows):
            self.replica.draw_afresh(number + 1, index, 0)
            batch = self._fetched(rows)
            std = self.settings.data_augmentation.gaussian_noise_std
            batch = batch._replace(inputs={p: x + std * torch.randn_like(x) for p, x in batch.inputs.items()})
            self.optimizer.zero_grad()
            self._loss(self.model.terms(batch)).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip_val)
            self.optimizer.step()
        self.schedule.step()
        return self._validate()

    def _fetched(self, rows: npt.NDArray[np.int64]) -> Batch:
        batch = self.dataset[rows]
        return Batch(*({p: table.to(self.device) for p, table in tables.items()} for tables in batch))

    def _loss(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum(self.weights[name] * value for name, value in terms.items())

    def _evaluated(self, batch: Batch, index: int) -> torch.Tensor:
        torch.manual_seed(index)
        return self._loss(self.model.terms(batch))

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        self.model.eval()
        batches = [self._fetched(rows) for rows in self.val_rows]
        losses = torch.stack([self._evaluated(batch, index) for index, batch in enumerate(batches)])
        sizes = torch.tensor([len(batch.targets["a"]) for batch in batches], device=self.device)
        scores = {"val_total_loss": float((losses * sizes).sum() / sizes.sum())}
        for source, target in DIRECTIONS:
            predicted = torch.cat([self.model.impute(batch.inputs[source], source, target) for batch in batches])
            measured = torch.cat([batch.targets[target] for batch in batches])
            observed = torch.cat([batch.observed[target] for batch in batches])
            corr, r2, rmse = feature_scores(predicted, measured, observed, self.std[target])
            scores[f"val_{source}_to_{target}"] = float(corr)
            scores[f"val_{source}_to_{target}_r2"], scores[f"val_{source}_to_{target}_rmse"] = float(r2), float(rmse)
        return scores


def feature_scores(
    x: torch.Tensor, y: torch.Tensor, observed: torch.Tensor, std: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return correlation and R², means over features, and the RMSE in original units, of (B, D) values."""
    n = observed.sum(0)
    error = ((x - y) * observed).square().sum(0)
    x = (x - (x * observed).sum(0) / n) * observed
    y = (y - (y * observed).sum(0) / n) * observed
    total = y.square().sum(0)
    corr = (x * y).sum(0) / (x.square().sum(0) * total).sqrt()
    return corr.mean(), (1 - error / total).mean(), ((error * std.square()).sum() / n.sum()).sqrt()


class Alternation:
    """The last reporter of a trial: times the trial's epoch, then runs and times two bare ones."""

    def __init__(self, config: Config, data: PreparedData) -> None:
        self.loops = [BareLoop(config, data), BareLoop(config, data)]
        self.rounds: list[dict[str, Any]] = []
        self.left = clocks()

    def __call__(self, report: EpochReport) -> None:
        times = [self.left, clocks()]
        for loop in self.loops:
            scores = loop.epoch(report.epoch)
            times.append(clocks())
        spent = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(times)]
        pairs = {"val_total_loss": "val_total_loss", "val_cross_a_corr_mean": "val_b_to_a"}
        same = {key: (report.metrics[key], scores[bare]) for key, bare in pairs.items()}
        self.rounds.append({**dict(zip(ROUND, spent, strict=True)), "same": same})
        self.left = clocks()


def clocks() -> tuple[float, float]:
    """Read the wall clock and this process's CPU clock, which other programs on the machine disturb less."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what a GPU still has to do belongs to the one who asked for it
    return time.perf_counter(), time.process_time()


def run_rounds(config: Config, data: PreparedData, folder: Path, report: Callable[[dict[str, Any]], None]) -> None:
    """Run a trial whose epochs alternate with bare ones, and leave the times in ``rounds.json``."""
    torch.set_num_threads(config.hardware.threads or 1)
    alternation, keeper = Alternation(config, data), ScoreKeeper(config.tuning.goal())
    reporters: list[Reporter] = [lambda epoch: report(keeper.result(epoch)), alternation]
    fit(config, [data], folder / "trial", name="benchmark", reporters=reporters, is_trial=True)
    (folder / "rounds.json").write_text(json.dumps(alternation.rounds))


def in_ray_trial(config: Config, data: PreparedData, folder: Path) -> None:
    """The same inside a worker process of Ray Tune, every epoch reported to it as a sweep's trials do."""
    from cpivae.tuning.ray_environment import set_ray_environment

    set_ray_environment(loopback=True)  # before Ray is imported, which reads it once
    from ray import tune

    from cpivae.tuning.clusters import local_ray

    def trainable(proposed: dict[str, Any], data: PreparedData) -> None:  # noqa: ARG001
        run_rounds(config, data, folder, tune.report)

    run_config = tune.RunConfig(name="ray", storage_path=str(folder), verbose=0)
    resources = {"cpu": 1, "gpu": int(config.hardware.accelerator == "gpu")}
    with local_ray(data.nbytes):
        trial = tune.with_resources(tune.with_parameters(trainable, data=data), resources)
        results = tune.Tuner(trial, run_config=run_config).fit()
        if results.errors:
            raise results.errors[0]


def table_rows(title: str, folder: Path) -> str:
    """Sum the rounds up in two lines."""
    rounds = json.loads((folder / "rounds.json").read_text())
    for name, (ours, bare) in rounds[-1]["same"].items():
        if abs(ours - bare) > 1e-3:
            raise SystemExit(f"{title}: the two loops did different work: {name} is {ours:.5f} and {bare:.5f}")
    lines = []
    for clock, kind in enumerate(("wall", "CPU")):
        trial, first, second = (np.array([r[key][clock] for r in rounds[WARM_UP:]]) for key in ROUND)
        ratios = spread(2 * trial / (first + second))
        medians = f"{np.median(trial):7.3f} s {np.median(first):7.3f} s"
        lines.append(f"{title:<20} {kind:<4} {medians}   {ratios:<24} {spread(second / first)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="rounds, of which the first few are left out")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of either loop; a trial has one by default")
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--skip_ray", action="store_true", help="only the trial without Ray")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    options = parser.parse_args()
    epochs = WARM_UP + 3 if options.quick else options.epochs
    values = {
        "training.max_epochs": epochs,
        "hardware.threads": options.threads,
        "hardware.accelerator": options.accelerator,
    }
    config = settings(N_TRAIN, N_VAL, values)
    data = synthetic_data(config, N_TRAIN + N_VAL, {"a": FEATURES_A, "b": FEATURES_B})
    print(machine())
    size = f"{N_TRAIN} + {N_VAL} rows x {FEATURES_A} / {FEATURES_B} features"
    print(f"{size}, {options.threads} thread(s), {options.accelerator}")
    print(f"{'median epoch':<25} {'trial':>9} {'bare':>9}   {'trial / bare':<24} bare / bare (noise)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plain").mkdir()
        run_rounds(config, data, folder / "plain", lambda _: None)
        print(table_rows("trial without Ray", folder / "plain"), flush=True)
        if not (options.skip_ray or options.quick):
            (folder / "ray").mkdir()
            in_ray_trial(config, data, folder / "ray")
            print(table_rows("trial of Ray Tune", folder / "ray"))


if __name__ == "__main__":
    main()
