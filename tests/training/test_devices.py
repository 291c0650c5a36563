"""One run on two devices: two real processes on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData
from cpivae.data.tables import Pair
from cpivae.errors import TrainingDivergedError
from cpivae.training.run import RunResult, fit

TinyConfig = Callable[..., Config]
Evaluate = Callable[..., dict[str, float]]

pytestmark = pytest.mark.slow

SETTINGS = {"training__learning_rate": 0.01, "logging__tensorboard": True}


@pytest.fixture(scope="module")
def run(prepared: PreparedData, tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    config = tiny_config(hardware__devices=2, **SETTINGS)
    return fit(config, [prepared], tmp_path_factory.mktemp("outputs") / "run", name="exp")


def kinds_of_files(result: RunResult) -> set[str]:
    names = {str(path.relative_to(result.folder.path)) for path in result.folder.path.rglob("*")}
    return {name.split("exp-epoch=")[0].split("tfevents")[0] for name in names}


def test_the_run_folder_is_that_of_one_device(
    run: RunResult, prepared: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    alone = fit(tiny_config(**SETTINGS), [prepared], tmp_path / "alone", name="exp")
    assert kinds_of_files(run) == kinds_of_files(alone)
    assert list(run.folder.history().columns) == list(alone.folder.history().columns)
    assert set(run.test_metrics) == set(alone.test_metrics)


def test_the_processes_train_one_model(run: RunResult) -> None:
    history = run.folder.history()
    assert list(history["epoch"]) == [0, 1, 2]
    assert np.isfinite(history.to_numpy()).all()
    assert history["train_total_loss"].is_monotonic_decreasing
    assert history["val_cross_a_corr_mean"].iloc[-1] > history["val_cross_a_corr_mean"][0] + 0.1


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_all_rows(
    split: str, run: RunResult, prepared: PreparedData, simulated_pair: Pair, evaluated_by_hand: Evaluate
) -> None:
    recorded = run.folder.selected_epoch() if split == "val" else run.test_metrics
    for key, value in evaluated_by_hand(run.folder, prepared, simulated_pair, split).items():
        assert value == pytest.approx(recorded[key], abs=1e-5), key


def test_a_diverged_run_says_so_in_one_sentence(
    prepared: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    config = tiny_config(hardware__devices=2, loss_weights__reconstruction=1e39)
    one_sentence = r"^training diverged in epoch 0: val_total_loss is (inf|nan)\. Try .*$"
    with pytest.raises(TrainingDivergedError, match=one_sentence):
        fit(config, [prepared], tmp_path / "run", name="exp")
