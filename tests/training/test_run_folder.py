"""The run folder: every file of the contract, and nothing else."""

from __future__ import annotations

import json
import os
import pickle
import platform
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cpivae
from cpivae.config.load import load_config
from cpivae.config.schema import Config
from cpivae.config.yaml import read_yaml_mapping
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.preprocess import Preprocessor
from cpivae.data.tables import Pair
from cpivae.errors import CheckpointError, FolderError
from cpivae.names import PLATFORMS
from cpivae.training.folder import RunFolder, read_checkpoint, read_preprocessors
from cpivae.training.run import RunResult, build_module, fit

TinyConfig = Callable[..., Config]

BEFORE_TRAINING = {
    "config.yaml",
    "environment.json",
    "feature_names_a.txt",
    "feature_names_b.txt",
    "log_params.yaml",
    "preprocess_a.skops",
    "preprocess_b.skops",
    "scaler_a.pkl",
    "scaler_b.pkl",
    "splits.csv",
}
AFTER_TRAINING = BEFORE_TRAINING | {"checkpoints/last.ckpt", "final_model.ckpt", "metrics.csv"}

CHECKPOINT = re.compile(r"checkpoints/exp-epoch=(\d\d)-val_total_loss=(\d+\.\d{3})\.ckpt")
LOGS = re.compile(r"tensorboard_logs/(events\.out\.tfevents\..+|hparams\.yaml)")

SETTINGS = {
    "logging__tensorboard": True,
    "data__log_transform__platform_b__enabled": True,
    "training__learning_rate": 0.01,
}


@pytest.fixture(scope="module")
def data(simulated_pair: Pair, tiny_config: TinyConfig) -> PreparedData:
    return prepare(simulated_pair, tiny_config(**SETTINGS).data)


@pytest.fixture(scope="module")
def run(data: PreparedData, tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Train once; the tests of this file only look."""
    histograms = {"logging__weight_histograms": True, "logging__gradient_histograms": True}
    path = tmp_path_factory.mktemp("outputs") / "exp" / "version_1"
    return fit(tiny_config(**SETTINGS, **histograms), [data], path, name="exp")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def split_by_pattern(names: set[str]) -> tuple[set[str], set[str], set[str]]:
    """Return plain names, checkpoints of best epochs, and TensorBoard's files."""
    best = {name for name in names if CHECKPOINT.fullmatch(name)}
    logs = {name for name in names if LOGS.fullmatch(name)}
    return names - best - logs, best, logs


def test_a_run_leaves_exactly_the_files_of_the_contract(run: RunResult) -> None:
    plain, best, logs = split_by_pattern(files(run.folder.path))
    assert plain == AFTER_TRAINING | {"test_metrics.json", "features.csv", "calibration.json"}
    assert len(best) == 1
    assert len(logs) == 2


def test_a_trial_leaves_the_same_but_for_what_is_measured_at_the_end(
    data: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    fit(tiny_config(**SETTINGS), [data], tmp_path / "run", name="exp", is_trial=True)
    plain, best, logs = split_by_pattern(files(tmp_path / "run"))
    assert plain == AFTER_TRAINING
    assert len(best) == 1
    assert len(logs) == 2
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert "optimizer_states" not in checkpoint
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_logs_can_be_switched_off(data: PreparedData, tiny_config: TinyConfig, tmp_path: Path) -> None:
    fit(tiny_config(**SETTINGS | {"logging__tensorboard": False}), [data], tmp_path / "run", name="exp")
    assert not (tmp_path / "run" / "tensorboard_logs").exists()


def test_the_best_checkpoint_is_named_by_epoch_and_validation_loss(run: RunResult) -> None:
    (name,) = split_by_pattern(files(run.folder.path))[1]
    match = CHECKPOINT.fullmatch(name)
    assert match is not None
    assert int(match[1]) == run.best_epoch
    assert match[2] == f"{run.folder.selected_epoch()['val_total_loss']:.3f}"
    kept = read_checkpoint(run.folder.path / name)
    assert kept["epoch"] == run.best_epoch
    final = read_checkpoint(run.folder.final_model)
    assert all(torch.equal(value, final["state_dict"][key]) for key, value in kept["state_dict"].items())


def test_as_many_checkpoints_are_kept_as_asked_for(data: PreparedData, tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(
        **SETTINGS,
        callbacks__model_checkpoint={"monitor": "val_kl_divergence_loss", "mode": "max", "save_top_k": 2},
        training__max_epochs=4,
    )
    result = fit(config, [data], tmp_path / "run", name="exp")
    names = split_by_pattern(files(result.folder.path))[1]
    scores = result.folder.history()["val_kl_divergence_loss"]
    kept = sorted(int(match[1]) for match in map(CHECKPOINT.fullmatch, names) if match)
    assert kept == sorted(scores.nlargest(2).index)
    assert read_checkpoint(result.folder.final_model)["epoch"] == scores.idxmax()


def test_metrics_hold_a_row_per_epoch(run: RunResult) -> None:
    history = run.folder.history()
    assert list(history["epoch"]) == [0, 1, 2]
    assert (history["seconds"] > 0).all()
    assert run.score == history["val_cross_a_corr_mean"].max()
    assert run.best_epoch == history["val_cross_a_corr_mean"].idxmax()


def test_test_metrics_are_on_file(run: RunResult) -> None:
    assert json.loads((run.folder.path / "test_metrics.json").read_text()) == run.test_metrics


def test_the_config_is_complete_and_resolved(run: RunResult) -> None:
    config = load_config(run.folder.path / "config.yaml")
    assert config == run.folder.config()
    assert (config.hardware.accelerator, config.hardware.threads) == ("cpu", 1)
    written = read_yaml_mapping(run.folder.path / "config.yaml")
    assert written == config.model_dump(mode="json")


def test_splits_name_every_sample(run: RunResult, data: PreparedData) -> None:
    splits = pd.read_csv(run.folder.path / "splits.csv", index_col="sample")["split"]
    assert splits.to_dict() == data.splits.to_dict()
    assert splits.value_counts().to_dict() == {"train": 168, "val": 36, "test": 36}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_preprocessing_can_be_read_back(
    platform: str, run: RunResult, data: PreparedData, simulated_pair: Pair
) -> None:
    table = simulated_pair.frames[platform]
    preprocessor = read_preprocessors(run.folder.path)[platform]
    assert preprocessor.features == list(table.columns)
    np.testing.assert_array_equal(preprocessor.transform(table.to_numpy()), data.values[platform])


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_scaler_is_there_for_people_who_look_inside(
    platform: str, run: RunResult, data: PreparedData, simulated_pair: Pair
) -> None:
    pipeline = pickle.loads((run.folder.path / f"scaler_{platform}.pkl").read_bytes())
    names = (run.folder.path / f"feature_names_{platform}.txt").read_text().splitlines()
    again = Preprocessor(names, pipeline).transform(simulated_pair.frames[platform][names].to_numpy())
    np.testing.assert_array_equal(again, data.values[platform])


def test_log_parameters_name_the_shift_of_every_feature(run: RunResult, data: PreparedData) -> None:
    described = read_yaml_mapping(run.folder.path / "log_params.yaml")
    assert described["platform_a"] == {"enabled": False}
    assert described["platform_b"]["enabled"] is True
    assert described["platform_b"]["base"] == 2
    assert list(described["platform_b"]["shift"]) == data.preprocessors["b"].features


def test_the_environment_says_what_ran_on_what(run: RunResult) -> None:
    described = json.loads((run.folder.path / "environment.json").read_text())
    assert described["cpivae"] == cpivae.__version__
    packages = described["packages"]
    assert packages["torch"] == torch.__version__
    assert all(packages[name] == version(name) for name in ("ray", "optuna", "pytorch-lightning"))
    ask = ["git", "-C", Path(cpivae.__file__).parent, "rev-parse", "HEAD"]
    commit = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    assert described["git_commit"] == (commit or None)
    assert described["machine"]["cpus"] == os.cpu_count()
    assert len(described["machine"]["gpus"]) == torch.cuda.device_count()
    assert described["python"] == platform.python_version()
    assert described["features"] == {"a": 20, "b": 30}
    assert described["data"]["platform_a"]["samples"] == 240


def test_weights_fit_the_model(run: RunResult, data: PreparedData) -> None:
    model = build_module(run.folder.config(), [data]).each()[0].model
    assert set(run.folder.weights()[0]) == set(model.state_dict())
    model.load_state_dict(run.folder.weights()[0])


# TensorBoard


def read_events(folder: Path) -> EventAccumulator:
    everything = {"scalars": 0, "histograms": 0}
    accumulator = EventAccumulator(str(folder / "tensorboard_logs"), size_guidance=everything)
    accumulator.Reload()
    return accumulator


@pytest.fixture(scope="module")
def events(run: RunResult) -> EventAccumulator:
    return read_events(run.folder.path)


def test_tensorboard_shows_what_metrics_hold(run: RunResult, events: EventAccumulator) -> None:
    history = run.folder.history().drop(columns=["epoch", "seconds", "learning_rate"])
    for name in history.columns:
        shown = [event.value for event in events.Scalars(name)]
        np.testing.assert_allclose(shown, history[name], rtol=1e-6, atol=1e-12, err_msg=name)


def test_tensorboard_shows_the_learning_rate(run: RunResult, events: EventAccumulator) -> None:
    shown = [event.value for event in events.Scalars("lr-AdamW")]
    np.testing.assert_allclose(shown, run.folder.history()["learning_rate"], rtol=1e-6)


def test_tensorboard_shows_histograms_on_request(
    run: RunResult, events: EventAccumulator, data: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    shown = set(events.Tags()["histograms"])
    parameters = {name for name, _ in build_module(run.folder.config(), [data]).named_parameters()}
    assert shown == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in parameters}
    assert all(len(events.Histograms(name)) == 3 for name in shown)

    fit(tiny_config(**SETTINGS, logging__weight_histograms=True), [data], tmp_path / "run", name="exp")
    assert set(read_events(tmp_path / "run").Tags()["histograms"]) == {f"weights/{name}" for name in parameters}


# Opening


@pytest.mark.parametrize("lost", ["config.yaml", "final_model.ckpt", "preprocess_b.skops", "feature_names_a.txt"])
def test_an_unfinished_folder_says_what_it_lacks(
    lost: str, data: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "run", tiny_config(), [data])
    assert files(folder.path) == BEFORE_TRAINING
    folder.final_model.touch()
    assert RunFolder.open(folder.path) == folder
    (folder.path / lost).unlink()
    with pytest.raises(FolderError, match=f"lacks {re.escape(lost)}"):
        RunFolder.open(folder.path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="not a finished run folder"):
        RunFolder.open(tmp_path / "nowhere")


def test_a_file_of_numbers_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "numbers.ckpt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(tmp_path / "numbers.ckpt")
