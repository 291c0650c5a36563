"""Estimates of a preflight: sizes of models, epochs under ASHA, and probes in a process of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cpivae.config.draws import Dice
from cpivae.config.load import load_config, make_config, with_values
from cpivae.config.schema import Config
from cpivae.config.shipped import shipped_folder
from cpivae.config.space import load_space
from cpivae.config.variants import variant_names
from cpivae.data.prepare import PreparedData, prepare_folds
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.models.build import build_model
from cpivae.training.probe import probe
from cpivae.tuning.extremes import sizes_of
from cpivae.tuning.place import Node, Place, this_machine
from cpivae.tuning.preflight import Preflight, _estimate_memory, expected_epochs, preflight
from cpivae.tuning.sweep import grace_warning, sweep_config

TinyConfig = Callable[..., Config]
WIDTHS = {"a": 30, "b": 40}
SPACES = sorted(p.stem for p in shipped_folder("search_spaces").glob("*.yaml") if p.stem != "common")


def numbers(config: Config) -> int:
    return sum(t.numel() for t in build_model(config, WIDTHS).state_dict().values())


@pytest.mark.parametrize("variant", variant_names())
def test_a_model_is_counted_as_it_is_built(variant: str) -> None:
    config = make_config({"model": {"model_type": variant, "latent_dim": 8, "encoder_layers": [16]}}, "test")
    sizes = sizes_of(None, config, WIDTHS)
    assert sizes.smallest.numbers == sizes.largest.numbers == sizes.typical == numbers(config)
    many = with_values(config, {"training.replicas": 3, "data.folds": 2})
    assert sizes_of(None, many, WIDTHS).largest.numbers == 6 * numbers(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_no_suggestion_is_smaller_than_the_smallest_or_larger_than_the_largest(name: str) -> None:
    base = name if name in variant_names() else "default"
    config = load_config(base, [])
    space = load_space(name, config)
    sizes = sizes_of(space, config, WIDTHS)
    assert sizes.smallest.numbers < sizes.typical < sizes.largest.numbers
    dice = Dice(5)
    drawn = [with_values(config, space.suggest(dice) | {"model.linear_skip": "none"}) for _ in range(25)]
    for counted in map(numbers, drawn):
        assert sizes.smallest.numbers <= counted <= sizes.largest.numbers


def test_epochs_under_asha_are_those_of_its_rungs() -> None:
    def of(**tuning: object) -> float:
        return expected_epochs(make_config({"tuning": tuning}, "test"))

    assert of(max_epochs=50, asha={"grace_period": 8, "reduction_factor": 3}) == pytest.approx(8 + 16 / 3 + 26 / 9)
    assert of(max_epochs=6, asha={"grace_period": 8}) == 6
    assert of(max_epochs=16, asha={"grace_period": 4, "reduction_factor": 2}) == pytest.approx(4 + 4 / 2 + 8 / 4)


@pytest.mark.slow
def test_a_probe_leaves_nothing_of_itself_and_measures_every_fold(
    simulated_pair: Pair, tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_config(data__folds=3, model__linear_skip="ridge", model__model_type="JointVAEVampPrior")
    folds = prepare_folds(simulated_pair, config.data)
    found = probe([config, with_values(config, {"model.latent_dim": 3})], folds)
    assert [p.problem for p in found] == ["", ""]
    assert all(0 < p.seconds_per_epoch < 60 for p in found)
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_every_problem_of_a_sweep_is_told_and_what_fits_is_estimated(
    prepared: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    config = sweep_config(tiny_config(tuning__n_trials=20, tuning__max_concurrent=1))
    space = load_space("smoke", config)
    found = preflight(config, space, [prepared], tmp_path / "sweeps" / "new", this_machine())
    assert found.problems == []
    told = "\n".join(found.lines)
    for expected in (
        "the smallest configuration (joint_vae, ",
        "the largest configuration (joint_vae, ",
        "disk: about ",
    ):
        assert expected in told
    epochs = 20 * expected_epochs(config)
    assert f"time: about {epochs:.0f} trial-epochs with ASHA (at most 1000), 1 trial at a time" in told
    assert not (tmp_path / "sweeps").exists()
    too_many = with_values(config, {"tuning.n_trials": 10**9})
    (problem,) = preflight(too_many, space, [prepared], tmp_path / "new", this_machine()).problems
    assert "disk: about" in problem
    assert "keep fewer weights" in problem


def test_few_rows_are_those_of_the_data(prepared: PreparedData) -> None:
    few = prepared.few({"train": 10, "val": 3})
    assert [len(few.rows(s)) for s in ("train", "val", "test")] == [10, 3, 0]
    assert few.preprocessors is prepared.preprocessors
    for split, n in (("train", 10), ("val", 3)):
        rows = prepared.rows(split)[:n]  # type: ignore[arg-type]
        np.testing.assert_array_equal(few.values["b"][few.rows(split)], prepared.values["b"][rows])  # type: ignore[arg-type]
        assert list(few.splits.index[few.rows(split)]) == list(prepared.splits.index[rows])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("memory", "told", "refused"),
    [
        (None, "once for all trials", False),
        (2.0**40, "in a node of the job", False),
        (2.0**10, "in a node of the job", True),
    ],
)
def test_memory_is_that_of_the_nodes(memory: float | None, told: str, refused: bool) -> None:
    config = make_config({"data": {"splits": {"train": 0.6, "val": 0.2, "test": 0.2}}}, "test")
    frames = {
        p: pd.DataFrame(np.random.default_rng(0).normal(size=(40, 30)), map(str, range(40)), map(str, range(30)))
        for p in ("a", "b")
    }
    place = Place((Node(4), Node(8, memory=memory)), "the job", here=False)
    found = Preflight()
    _estimate_memory(found, prepare_folds(pair_from_frames(frames), config.data), place)
    (line,) = found.problems if refused else found.lines
    assert told in line


RAMP = {"loss_weights.kl_divergence_ramp.shape": "linear", "loss_weights.kl_divergence_ramp.epochs": 20}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tuning.asha.grace_period": 1}, ""),
        (RAMP, ""),
        (
            RAMP | {"tuning.asha.grace_period": 22},
            "warning: tuning.asha.grace_period is 22, but a weight rises over 20 epochs",
        ),
        (RAMP | {"tuning.asha.grace_period": 23}, ""),
    ],
    ids=["no ramp", "by default", "too soon", "just late enough"],
)
def test_comparing_trials_before_a_weight_has_risen_is_warned_of(settings: dict[str, Any], told: str) -> None:
    warning = grace_warning(with_values(load_config("default"), settings))
    assert warning.startswith(told)
    assert bool(warning) == bool(told)
