"""A run that was interrupted and continued is the run that never was."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.errors import CheckpointError
from cpivae.training.callbacks import EpochReport
from cpivae.training.folder import RunFolder, read_checkpoint
from cpivae.training.run import RunResult, fit

TinyConfig = Callable[..., Config]
Train = Callable[..., RunResult]

LAST = Path("checkpoints") / "last.ckpt"

#: The KL term rises from the first epoch on.
FIRST_IS_BEST = {
    "callbacks__model_checkpoint": {"monitor": "val_kl_divergence_loss", "mode": "min"},
    "training__learning_rate": 0.01,
}


@pytest.fixture
def train(tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path) -> Train:
    def run(name: str, resume_from: Path | None = None, reporters: Any = None, **values: Any) -> RunResult:
        config = tiny_config(**{"training__max_epochs": 8} | values)
        return fit(config, [prepared], tmp_path / name, name="exp", resume_from=resume_from, reporters=reporters)

    return run


@pytest.fixture(scope="module")
def half(tiny_config: TinyConfig, prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The first four of eight epochs; read only."""
    config = tiny_config(training__max_epochs=8, training__stop_epoch=4)
    return fit(config, [prepared], tmp_path_factory.mktemp("outputs") / "half", name="exp").folder


def metrics(folder: RunFolder) -> pd.DataFrame:
    return folder.history().drop(columns="seconds")


def last_state(folder: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(folder.path / LAST)["state_dict"]
    return state


def assert_same_run(resumed: RunResult, whole: RunResult) -> None:
    pd.testing.assert_frame_equal(metrics(resumed.folder), metrics(whole.folder), rtol=0, atol=1e-6)
    for state in (lambda folder: folder.weights()[0], last_state):
        mine, other = state(resumed.folder), state(whole.folder)
        assert mine.keys() == other.keys()
        assert all(torch.allclose(mine[name], other[name], rtol=0, atol=1e-6) for name in mine)
    assert (resumed.score, resumed.best_epoch, resumed.epochs) == (whole.score, whole.best_epoch, whole.epochs)
    assert resumed.test_metrics == pytest.approx(whole.test_metrics, abs=1e-6)


SETTINGS: dict[str, dict[str, Any]] = {
    "cosine": {"model__dropout_rate": 0.2, "training__data_augmentation__gaussian_noise_std": 0.1},
    "constant": {"training__scheduler": "none", "training__optimizer": "adam"},
    "plateau": {  # halves the rate after every epoch that is not better
        "training__scheduler": "reduce_on_plateau",
        "training__early_stopping_patience": 1,
        "callbacks__early_stopping__patience": 50,
        "model__batch_norm": False,
        "training__learning_rate": 1e-7,
    },
    "accumulated": {"training__accumulate_grad_batches": 4, "training__learning_rate": 0.05},
    "logged": {"logging__tensorboard": True},
    "first is best": FIRST_IS_BEST,
    "three kept": {"callbacks__model_checkpoint": {"save_top_k": 3}, "training__learning_rate": 0.02},
    "impatient": FIRST_IS_BEST | {"training__early_stopping_patience": 6},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_resumed_run_is_the_run_in_one_go(settings: dict[str, Any], train: Train) -> None:
    whole = train("whole", **settings)
    assert whole.epochs == (7 if settings is SETTINGS["impatient"] else 8)
    half = train("half", **settings, training__stop_epoch=4)
    assert half.epochs == 4
    resumed = train("resumed", **settings, training__stop_epoch=8, resume_from=half.folder.path / LAST)
    assert_same_run(resumed, whole)
    assert {p.name for p in resumed.folder.checkpoints.iterdir()} == {
        p.name for p in whole.folder.checkpoints.iterdir()
    }


def test_the_plateau_case_does_lower_the_rate(train: Train) -> None:
    rates = train("whole", **SETTINGS["plateau"]).folder.history()["learning_rate"]
    assert rates[4] < rates[3] < rates[2]


def test_an_earlier_best_epoch_stays_best(train: Train) -> None:
    half = train("half", **FIRST_IS_BEST, training__stop_epoch=4)
    resumed = train("resumed", **FIRST_IS_BEST, resume_from=half.folder.path / LAST)
    assert resumed.best_epoch == half.best_epoch == 0
    assert resumed.score == half.score
    before, after = half.folder.weights()[0], resumed.folder.weights()[0]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p.name for p in resumed.folder.checkpoints.glob("exp-*")] == [
        p.name for p in half.folder.checkpoints.glob("exp-*")
    ]


def test_reports_go_on_where_they_ended(train: Train, half: RunFolder) -> None:
    reports: list[EpochReport] = []
    train("resumed", resume_from=half.path / LAST, reporters=[reports.append])
    assert [report.epoch for report in reports] == [4, 5, 6, 7]
    assert [report.last for report in reports] == [False, False, False, True]


def test_the_earlier_run_stays_as_it_was(train: Train, half: RunFolder) -> None:
    def contents() -> dict[Path, str]:
        found = sorted(path for path in half.path.rglob("*") if path.is_file())
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    before = contents()
    train("resumed", resume_from=half.path / LAST)
    assert contents() == before


def test_a_moved_run_can_be_resumed(train: Train, tmp_path: Path) -> None:
    whole = train("whole", **FIRST_IS_BEST)
    train("half", **FIRST_IS_BEST, training__stop_epoch=4)
    moved = (tmp_path / "half").rename(tmp_path / "archive")
    assert_same_run(train("resumed", **FIRST_IS_BEST, resume_from=moved / LAST), whole)


def test_without_the_best_weights_the_race_starts_anew(train: Train, half: RunFolder, tmp_path: Path) -> None:
    """A checkpoint copied away from its run knows neither the weights nor the metrics of earlier epochs."""
    alone = tmp_path / "alone.ckpt"
    shutil.copy(half.path / LAST, alone)
    resumed = train("resumed", resume_from=alone)
    assert list(resumed.folder.history()["epoch"]) == [4, 5, 6, 7]
    assert read_checkpoint(resumed.folder.final_model)["epoch"] == resumed.best_epoch


def test_under_another_metric_the_race_starts_anew(train: Train) -> None:
    patient = {"callbacks__early_stopping__monitor": "val_total_loss"}
    half = train("half", **FIRST_IS_BEST, **patient, training__stop_epoch=4)
    last_is_best = FIRST_IS_BEST | {"callbacks__model_checkpoint": {"monitor": "val_kl_divergence_loss", "mode": "max"}}
    resumed = train("resumed", **last_is_best, **patient, resume_from=half.folder.path / LAST)
    assert list(resumed.folder.history()["epoch"]) == [4, 5, 6, 7]
    assert read_checkpoint(resumed.folder.final_model)["epoch"] == resumed.best_epoch == 7


def test_a_finished_run_can_be_prolonged(train: Train) -> None:
    short = train("short", training__max_epochs=4)
    longer = train("longer", resume_from=short.folder.path / LAST).folder.history()
    np.testing.assert_allclose(
        longer["learning_rate"][5:], [5e-4 * (1 + np.cos(np.pi * epoch / 8)) for epoch in (5, 6, 7)]
    )


# What cannot be resumed


def assert_refused(train: Train, checkpoint: Path, tmp_path: Path, message: str, **settings: Any) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=message) as refusal:
        train("refused", resume_from=checkpoint, **settings)
    assert str(checkpoint) in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def test_another_architecture_is_refused(train: Train, half: RunFolder, tmp_path: Path) -> None:
    message = r"of another model: \d+ of \d+ weights differ.*24x20 in the checkpoint, 16x20.*config\.yaml"
    assert_refused(train, half.path / LAST, tmp_path, message, model__encoder_layers=[16])


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("model__activation", "tanh", "model.activation=gelu, not model.activation=tanh"),
        ("model__linear_skip", "ridge", "of another model"),
        ("data__normalization_method", "minmax", "data.normalization_method=zscore, not data.normalization_method=min"),
        ("training__weight_decay", 0.5, "training.weight_decay=0.01, not training.weight_decay=0.5"),
    ],
)
def test_what_comes_back_with_a_checkpoint_cannot_be_changed(
    path: str, value: Any, told: str, train: Train, half: RunFolder, tmp_path: Path
) -> None:
    assert_refused(train, half.path / LAST, tmp_path, told, **{path: value})


def test_a_network_that_becomes_an_addition_to_ridge_is_another_model(train: Train, tmp_path: Path) -> None:
    """Its weights have the same names and shapes; its optimiser has not."""
    first = train("first", model__model_type="res_unet", training__stop_epoch=1).folder
    message = r"model\.linear_skip=none, not model\.linear_skip=ridge"
    changed = {"model__model_type": "res_unet", "model__linear_skip": "ridge"}
    assert_refused(train, first.path / LAST, tmp_path, message, **changed)


def test_other_tables_are_refused(
    half: RunFolder, tiny_config: TinyConfig, simulated_pair: Pair, tmp_path: Path
) -> None:
    frames = {"a": simulated_pair.frames["a"].iloc[:, 1:], "b": simulated_pair.frames["b"]}
    config = tiny_config(training__max_epochs=8)
    fewer = prepare(pair_from_frames(frames), config.data)
    with pytest.raises(CheckpointError, match=r"20 in the checkpoint, 19 in the settings.*the same tables"):
        fit(config, [fewer], tmp_path / "refused", name="exp", resume_from=half.path / LAST)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_a_trial_are_refused(
    train: Train, tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    trial = fit(tiny_config(), [prepared], tmp_path / "trial", name="exp", is_trial=True)
    assert_refused(train, trial.folder.path / LAST, tmp_path, r"weights only.*Use a run's checkpoints/last\.ckpt")


def test_a_run_without_an_epoch_to_go_is_refused(train: Train, half: RunFolder, tmp_path: Path) -> None:
    message = r"has 4 epochs behind it.*ask for 4.*max_epochs"
    assert_refused(train, half.path / LAST, tmp_path, message, training__max_epochs=4)
    assert_refused(train, half.path / LAST, tmp_path, r"ask for 3", training__stop_epoch=3)


def test_a_missing_file_is_refused(train: Train, tmp_path: Path) -> None:
    assert_refused(train, tmp_path / "nowhere.ckpt", tmp_path, "there is no checkpoint")
    assert_refused(train, tmp_path, tmp_path, "there is no checkpoint")


@pytest.mark.parametrize("contents", [b"", b"epoch,loss\n0,1\n", b"PK\x03\x04 torn off"], ids=["empty", "text", "zip"])
def test_garbage_is_refused(contents: bytes, train: Train, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.ckpt"
    garbage.write_bytes(contents)
    assert_refused(train, garbage, tmp_path, "is not a checkpoint, or is damaged")


def test_a_torn_checkpoint_is_refused(train: Train, half: RunFolder, tmp_path: Path) -> None:
    torn = tmp_path / "torn.ckpt"
    torn.write_bytes((half.path / LAST).read_bytes()[:-2000])
    assert_refused(train, torn, tmp_path, "is not a checkpoint, or is damaged")


class Malice:
    """Pickles as a call that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_hostile_checkpoint_executes_nothing(writer: str, train: Train, half: RunFolder, tmp_path: Path) -> None:
    mark, hostile = tmp_path / "mark", tmp_path / "hostile.ckpt"
    contents = torch.load(half.path / LAST, weights_only=True) | {"hyper_parameters": Malice(mark)}
    if writer == "pickle":
        hostile.write_bytes(pickle.dumps({"state_dict": Malice(mark)}))
    else:
        torch.save(contents, hostile)
    assert_refused(train, hostile, tmp_path, "is not a checkpoint, or is damaged")
    assert not mark.exists()
    torch.load(hostile, weights_only=False) if writer == "torch" else pickle.loads(hostile.read_bytes())
    assert mark.exists()  # the trap was armed


# Trials


@pytest.fixture
def cut_off(tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path) -> RunFolder:
    """A trial whose process ended in its sixth epoch's report."""

    def end(report: EpochReport) -> None:
        if report.epoch == 5:
            raise SystemExit

    config = tiny_config(training__max_epochs=9, tuning__checkpoint_seconds=0)
    with pytest.raises(SystemExit):
        fit(config, [prepared], tmp_path / "cut_off", name="exp", reporters=[end], is_trial=True)
    return RunFolder(tmp_path / "cut_off")


def test_a_trial_goes_on_from_its_state_to_what_it_would_have_been(
    cut_off: RunFolder, tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    config = tiny_config(training__max_epochs=9, tuning__checkpoint_seconds=0)
    whole = fit(config, [prepared], tmp_path / "whole", name="exp", is_trial=True)
    replayed: list[pd.DataFrame] = []
    rest = fit(
        config,
        [prepared],
        tmp_path / "rest",
        name="exp",
        is_trial=True,
        resume_from=cut_off.state,
        replay=replayed.append,
    )
    assert list(replayed[0]["epoch"]) == [0, 1, 2, 3, 4, 5]
    pd.testing.assert_frame_equal(
        rest.folder.history().drop(columns="seconds"), whole.folder.history().drop(columns="seconds"), atol=1e-6
    )
    assert (rest.score, rest.best_epoch) == (pytest.approx(whole.score, abs=1e-6), whole.best_epoch)
    ours, theirs = rest.folder.weights()[0], whole.folder.weights()[0]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)
    assert "test_metrics.json" not in {p.name for p in rest.folder.path.iterdir()}


def test_a_trial_that_is_stopped_while_it_is_replayed_leaves_a_whole_run_folder(
    cut_off: RunFolder, tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    def stop(_history: pd.DataFrame) -> None:
        raise SystemExit

    config = tiny_config(training__max_epochs=9, tuning__checkpoint_seconds=0)
    with pytest.raises(SystemExit):
        fit(config, [prepared], tmp_path / "new", name="exp", is_trial=True, resume_from=cut_off.state, replay=stop)
    shutil.rmtree(cut_off.path)
    folder = RunFolder.open(tmp_path / "new")
    assert list(folder.history()["epoch"]) == [0, 1, 2, 3, 4, 5]
    assert folder.weights()[0]
