"""Training runs for real: what an epoch does, which epoch is kept, and what a trial may not see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from cpivae.config.load import load_config
from cpivae.config.schema import Config
from cpivae.data.module import PairModule
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import Pair
from cpivae.errors import FolderError, MetricError, TrainingDivergedError
from cpivae.names import metric_keys
from cpivae.training.callbacks import EpochReport, StopWhenDiverged
from cpivae.training.folder import RunFolder, read_checkpoint
from cpivae.training.run import RunResult, build_module, count_parameters, fit, try_one_batch

TinyConfig = Callable[..., Config]
Evaluate = Callable[..., dict[str, float]]

#: While a fresh model begins to use its latent space, the KL term rises with every epoch: min keeps the first epoch,
#: max the last.
RISING = {"callbacks__model_checkpoint__monitor": "val_kl_divergence_loss", "training__learning_rate": 0.01}
FIRST_IS_BEST = RISING | {"callbacks__model_checkpoint__mode": "min"}
LAST_IS_BEST = RISING | {"callbacks__model_checkpoint__mode": "max"}


def metrics(folder: RunFolder) -> pd.DataFrame:
    return folder.history().drop(columns="seconds")


# The selected epoch


def test_the_kept_weights_are_those_of_the_best_epoch(
    train: Callable[..., RunResult], evaluated_by_hand: Evaluate, prepared: PreparedData, simulated_pair: Pair
) -> None:
    result = train(**FIRST_IS_BEST)
    history = result.folder.history()
    assert history["val_kl_divergence_loss"].is_monotonic_increasing
    assert (result.best_epoch, result.epochs) == (0, 3)
    assert result.score == history["val_kl_divergence_loss"][0]
    assert read_checkpoint(result.folder.final_model)["epoch"] == 0
    recorded = result.folder.selected_epoch()
    for key, value in evaluated_by_hand(result.folder, prepared, simulated_pair, "val").items():
        assert value == pytest.approx(recorded[key], abs=1e-6), key
    assert recorded["val_cross_a_corr_mean"] != pytest.approx(history["val_cross_a_corr_mean"].iloc[-1], abs=1e-3)


def test_the_last_epoch_is_kept_when_it_is_best(train: Callable[..., RunResult]) -> None:
    result = train(**LAST_IS_BEST)
    assert result.best_epoch == 2
    final, last = (
        read_checkpoint(path)["state_dict"]
        for path in (result.folder.final_model, result.folder.checkpoints / "last.ckpt")
    )
    assert all(torch.equal(final[name], last[name]) for name in last)


@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
@pytest.mark.parametrize("method", ["zscore", "minmax", "robust"])
def test_metrics_are_on_the_original_scale(
    method: str,
    log: bool,
    train: Callable[..., RunResult],
    tiny_config: TinyConfig,
    simulated_pair: Pair,
    evaluated_by_hand: Evaluate,
) -> None:
    overrides = {
        "data__normalization_method": method,
        "data__log_transform__platform_a__enabled": log,
        "training__learning_rate": 0.01,
    }
    data = prepare(simulated_pair, tiny_config(**overrides).data)
    result = train(data=data, **overrides)
    for split, recorded in (("val", result.folder.selected_epoch()), ("test", pd.Series(result.test_metrics))):
        for key, value in evaluated_by_hand(result.folder, data, simulated_pair, split).items():
            assert value == pytest.approx(recorded[key], abs=1e-6, rel=1e-6), key
    # Values lie between 50 and 100 with standard deviations of a few units; scaled ones would err by about 1.
    assert 2 < recorded["test_cross_a_rmse"] < 15


@pytest.mark.parametrize("strategy", ["mean", "median", "knn", "drop"])
def test_each_way_to_fill_gaps_trains(
    strategy: str, train: Callable[..., RunResult], tiny_config: TinyConfig, simulated_pair: Pair
) -> None:
    overrides = {"data__missing_value_strategy": strategy, "data__random_seed": 1}
    pair = simulated_pair
    if strategy == "drop":  # every feature of the pair has a gap; close those of the first ten
        frames = {p: f.fillna({name: f[name].mean() for name in f.columns[:10]}) for p, f in pair.frames.items()}
        pair = replace(pair, frames=frames)
    result = train(data=prepare(pair, tiny_config(**overrides).data), **overrides)
    assert np.isfinite(metrics(result.folder).to_numpy()).all()


# How long a run lasts


def test_early_stopping_ends_a_run_that_gets_no_better(train: Callable[..., RunResult]) -> None:
    reports: list[EpochReport] = []
    result = train(
        **FIRST_IS_BEST, training__max_epochs=8, training__early_stopping_patience=2, reporters=[reports.append]
    )
    assert (result.epochs, result.best_epoch) == (3, 0)
    assert [report.last for report in reports] == [False, False, True]


def test_early_stopping_lets_a_run_go_on_that_gets_better(train: Callable[..., RunResult]) -> None:
    assert train(**LAST_IS_BEST, training__max_epochs=5, training__early_stopping_patience=1).epochs == 5


def test_early_stopping_has_a_metric_of_its_own(train: Callable[..., RunResult]) -> None:
    overrides = {
        "callbacks__early_stopping__monitor": "val_kl_divergence_loss",
        "callbacks__early_stopping__patience": 1,
        "training__learning_rate": 0.01,
    }
    result = train(training__max_epochs=8, **overrides)
    assert result.epochs == 2
    assert result.score == result.folder.history()["val_cross_a_corr_mean"].max()


def test_stop_epoch_ends_a_run_whose_schedule_is_laid_out_for_more(train: Callable[..., RunResult]) -> None:
    reports: list[EpochReport] = []
    whole = train(training__max_epochs=5)
    part = train(training__max_epochs=5, training__stop_epoch=2, reporters=[reports.append])
    pd.testing.assert_frame_equal(metrics(part.folder), metrics(whole.folder).head(2))
    assert [report.last for report in reports] == [False, True]
    shorter = train(training__max_epochs=2)
    assert shorter.folder.history()["learning_rate"][1] < part.folder.history()["learning_rate"][1]


# Repeating a run


def test_the_settings_of_a_run_repeat_it(
    train: Callable[..., RunResult], prepared: PreparedData, tmp_path: Path
) -> None:
    first = train(model__dropout_rate=0.3, training__seed=5)
    torch.rand(10)  # whatever happened in this process since
    config = load_config(first.folder.path / "config.yaml")
    again = fit(config, [prepared], tmp_path / "again", name="exp")
    pd.testing.assert_frame_equal(metrics(again.folder), metrics(first.folder), rtol=0, atol=1e-6)
    assert again.test_metrics == pytest.approx(first.test_metrics, abs=1e-6)


def test_another_seed_is_another_run(train: Callable[..., RunResult]) -> None:
    first, other = train(training__seed=1), train(training__seed=2)
    assert not np.allclose(first.folder.history()["train_total_loss"], other.folder.history()["train_total_loss"])


# Reporting


class Witness:
    """Notes at each report what a reader of the run folder would find."""

    def __init__(self, path: Path) -> None:
        self.folder = RunFolder(path)
        self.seen: list[tuple[int, int, int, bool]] = []
        self.metrics: list[dict[str, float]] = []

    def __call__(self, report: EpochReport) -> None:
        folder = RunFolder.open(self.folder.path)
        kept = read_checkpoint(folder.final_model)
        recorded = folder.history()
        assert int(folder.selected_epoch()["epoch"]) == kept["epoch"]
        best = [p.name for p in folder.checkpoints.iterdir() if f"epoch={kept['epoch']:02d}" in p.name]
        assert len(best) == 1
        on_disk = recorded.iloc[-1]
        assert report.metrics == {k: on_disk[k] for k in report.metrics}
        self.seen.append((report.epoch, len(recorded), kept["epoch"], report.last))
        self.metrics.append(report.metrics)


@pytest.mark.parametrize("is_trial", [False, True])
def test_reports_come_when_everything_is_on_disk(
    is_trial: bool, train: Callable[..., RunResult], tmp_path: Path, tiny_config: TinyConfig
) -> None:
    witness = Witness(tmp_path / "run")
    train(**LAST_IS_BEST, reporters=[witness], is_trial=is_trial)
    assert witness.seen == [(0, 1, 0, False), (1, 2, 1, False), (2, 3, 2, True)]
    terms = list(tiny_config().term_weights())
    train_losses = {"train_total_loss", *(f"train_{term}_loss" for term in terms)}
    assert all(set(m) == train_losses | set(metric_keys("val", terms)) for m in witness.metrics)


def test_reported_metrics_do_not_depend_on_what_is_logged(train: Callable[..., RunResult]) -> None:
    with_logs = train(logging__tensorboard=True)
    pd.testing.assert_frame_equal(metrics(with_logs.folder), metrics(train(logging__tensorboard=False).folder))


def test_a_run_ended_inside_a_report_leaves_the_weights_so_far(train: Callable[..., RunResult], tmp_path: Path) -> None:
    def end(report: EpochReport) -> None:
        if report.epoch == 1:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(**LAST_IS_BEST, reporters=[end], is_trial=True)
    folder = RunFolder.open(tmp_path / "run")
    assert read_checkpoint(folder.final_model)["epoch"] == 1
    assert len(folder.history()) == 2


# What can go wrong


@pytest.mark.parametrize(
    "overrides",
    [
        {
            "training__learning_rate": 10.0,
            "training__max_epochs": 12,
            "model__activation": "relu",
            "training__gradient_clip_val": None,
            "model__batch_norm": False,
            "data__log_transform__platform_a__enabled": True,  # 2 to the power of a wild number is infinite
        },
        {"loss_weights__reconstruction": 1e39},
    ],
    ids=["learning rate", "infinite loss"],
)
def test_a_diverging_run_is_an_error(
    overrides: dict[str, Any], train: Callable[..., RunResult], tiny_config: TinyConfig, simulated_pair: Pair
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"diverged in epoch \d+: val_.* is (nan|inf).*learning_rate"):
        train(data=prepare(simulated_pair, tiny_config(**overrides).data), **overrides)


@pytest.mark.parametrize("occupant", ["folder", "file"])
def test_an_occupied_folder_is_refused_and_untouched(
    occupant: str, train: Callable[..., RunResult], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    if occupant == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("all of it")
    else:
        path.write_text("all of it")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FolderError, match="run"):
        train()
    assert sorted(tmp_path.rglob("*")) == before


def test_trying_one_batch_leaves_nothing_behind(
    tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = build_module(tiny_config(), [prepared])
    module = try_one_batch(tiny_config(logging__tensorboard=True), [prepared])
    assert list(tmp_path.iterdir()) == []
    pairs = zip(before.each()[0].model.parameters(), module.each()[0].model.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)


def test_parameters_are_counted() -> None:
    model = torch.nn.Linear(3, 4)
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 12


# The test split


def test_test_metrics_are_those_of_the_selected_epoch(
    train: Callable[..., RunResult], evaluated_by_hand: Evaluate, prepared: PreparedData, simulated_pair: Pair
) -> None:
    result = train(**FIRST_IS_BEST)
    for key, value in evaluated_by_hand(result.folder, prepared, simulated_pair, "test").items():
        assert value == pytest.approx(result.test_metrics[key], abs=1e-6), key


def test_a_trial_never_reads_the_test_rows(
    train: Callable[..., RunResult], tiny_config: TinyConfig, simulated_pair: Pair, prepared: PreparedData
) -> None:
    frames = {p: frame.copy() for p, frame in simulated_pair.frames.items()}
    for frame in frames.values():
        frame.iloc[prepared.rows("test")] = 1e6
    perturbed = prepare(replace(simulated_pair, frames=frames), tiny_config().data)
    assert perturbed.splits.equals(prepared.splits)
    assert not np.array_equal(perturbed.values["a"], prepared.values["a"])
    trial, other = train(is_trial=True), train(is_trial=True, data=perturbed)
    assert trial.test_metrics == {}
    assert not (trial.folder.path / "test_metrics.json").exists()
    pd.testing.assert_frame_equal(metrics(other.folder), metrics(trial.folder))
    weights, others = trial.folder.weights()[0], other.folder.weights()[0]
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_trial_learns_what_a_run_learns(train: Callable[..., RunResult]) -> None:
    run, trial = train(), train(is_trial=True)
    pd.testing.assert_frame_equal(metrics(trial.folder), metrics(run.folder))
    assert (trial.score, trial.best_epoch) == (run.score, run.best_epoch)


def test_without_test_rows_nothing_is_tested(
    train: Callable[..., RunResult], tiny_config: TinyConfig, simulated_pair: Pair
) -> None:
    overrides = {"data__splits": {"train": 0.8, "val": 0.2, "test": 0.0}}
    result = train(data=prepare(simulated_pair, tiny_config(**overrides).data), **overrides)
    assert result.test_metrics == {}
    assert not (result.folder.path / "test_metrics.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_metric_that_no_epoch_reports_is_an_error_that_names_the_nearest(
    prepared: PreparedData, tiny_config: TinyConfig
) -> None:
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[StopWhenDiverged("val_cross_a_cor_mean")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    module = build_module(tiny_config(), [prepared])
    with pytest.raises(MetricError, match=r"Did you mean 'val_cross_a_corr_mean'\? Reported: .*val_total_loss"):
        trainer.fit(module, datamodule=PairModule([prepared], 32, [0]))
