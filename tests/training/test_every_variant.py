"""What a run owes its user whatever the model: metrics, resuming, a bundle, mixed precision.  For every variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch

from cpivae.bundle import verify
from cpivae.config.base import ModelSettings
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant, variant_names
from cpivae.data.prepare import PreparedData
from cpivae.data.tables import Pair
from cpivae.errors import FolderError
from cpivae.export import export_run
from cpivae.impute import load_imputer
from cpivae.names import DIRECTIONS, RunFiles
from cpivae.training.folder import read_checkpoint
from cpivae.training.run import RunResult, evaluate_test, fit

TinyConfig = Callable[..., Config]


def kinds() -> list[dict[str, Any]]:
    """Every variant as it is, with a linear skip, and with everything that a choice of its own puts in its place."""
    found = []
    for name in variant_names():
        own = {"model__model_type": name}
        found += [own, own | {"model__linear_skip": "ridge"}]
        for setting, field in load_variant(name).settings.model_fields.items():
            if setting not in ModelSettings.model_fields and get_origin(field.annotation) is Literal:
                found += [own | {f"model__{setting}": o} for o in get_args(field.annotation) if o != field.default]
    return found


every_kind = pytest.mark.parametrize("values", kinds(), ids=["-".join(values.values()) for values in kinds()])


@pytest.fixture
def train(tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path) -> Callable[..., RunResult]:
    def run(folder: str, *, resume_from: Path | None = None, **values: Any) -> RunResult:
        config = tiny_config(**{"model__latent_dim": 32, "training__max_epochs": 4} | values)
        return fit(config, [prepared], tmp_path / folder, name="exp", resume_from=resume_from)

    return run


@every_kind
def test_it_reports_the_same_metrics_as_all_others(train: Callable[..., RunResult], values: dict[str, Any]) -> None:
    run = train("run", training__max_epochs=1, **values)
    history, config = run.folder.history(), run.folder.config()
    assert set(config.metric_keys()) == {name for name in history if name.startswith("val_")}
    assert np.isfinite(history.drop(columns="learning_rate").to_numpy()).all()
    assert set(run.test_metrics) == {name.replace("val_", "test_", 1) for name in config.metric_keys()}


@every_kind
def test_a_resumed_run_is_the_run_that_never_stopped(train: Callable[..., RunResult], values: dict[str, Any]) -> None:
    whole = train("whole", **values)
    half = train("half", training__stop_epoch=2, **values)
    rest = train("rest", resume_from=half.folder.checkpoints / RunFiles.LAST, **values)
    pd.testing.assert_frame_equal(
        rest.folder.history().drop(columns="seconds"), whole.folder.history().drop(columns="seconds"), atol=1e-6
    )
    mine, other = (read_checkpoint(run.folder.checkpoints / RunFiles.LAST)["state_dict"] for run in (rest, whole))
    assert mine.keys() == other.keys()
    assert [name for name in mine if not torch.allclose(mine[name], other[name], rtol=0, atol=1e-6)] == []


@every_kind
def test_a_bundle_imputes_what_the_run_imputed(
    train: Callable[..., RunResult],
    values: dict[str, Any],
    simulated_pair: Pair,
    prepared: PreparedData,
    tmp_path: Path,
) -> None:
    run = train("run", training__max_epochs=2, **values)
    export_run(run.folder.path, tmp_path / "bundle")
    verify(tmp_path / "bundle")
    before, after = load_imputer(run.folder.path), load_imputer(tmp_path / "bundle")
    for source, target in DIRECTIONS:
        table = simulated_pair.frames[source].iloc[:15]
        here, there = (imputer.impute(table, source, target) for imputer in (before, after))
        np.testing.assert_allclose(there.values, here.values, rtol=1e-6)
        np.testing.assert_allclose(there.latent, here.latent, rtol=1e-6)
        assert there.values.notna().all().all()
    assert evaluate_test(run.folder.config(), [prepared], run.folder) == pytest.approx(run.test_metrics, abs=1e-9)


@every_kind
@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_without_nan(
    train: Callable[..., RunResult], values: dict[str, Any], precision: str
) -> None:
    run = train("run", training__max_epochs=2, hardware__precision=precision, **values)
    assert np.isfinite(run.folder.history().to_numpy(dtype=float)).all()
    weights = run.folder.weights()[0]
    assert all(torch.isfinite(w).all() for w in weights.values())
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {
        torch.float64 if precision == "64-true" else torch.float32
    }


def test_a_bundle_without_its_linear_maps_says_so(train: Callable[..., RunResult], tmp_path: Path) -> None:
    run = train("run", training__max_epochs=1, model__linear_skip="ridge")
    (run.folder.path / RunFiles.LINEAR_SKIP).rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=r"lacks linear_skip\.safetensors"):
        load_imputer(run.folder.path)
    (run.folder.path / RunFiles.LINEAR_SKIP).write_bytes(b"something else")
    with pytest.raises(FolderError, match="is damaged"):
        load_imputer(run.folder.path)


def test_pseudo_inputs_move_and_their_origin_is_disclosed(
    train: Callable[..., RunResult], prepared: PreparedData, tmp_path: Path
) -> None:
    run = train("run", model__model_type="JointVAEVampPrior", training__learning_rate=0.01)
    rows = torch.from_numpy(prepared.values["a"][prepared.rows("train")])
    learnt = run.folder.weights()[0]["prior.pseudo_inputs.a"]
    nearest = torch.cdist(learnt, rows).min(dim=1).values
    assert nearest.min() > 0.1  # the noise they start with is of size 0.01 * sqrt(20)
    unlearnt = train("still", model__model_type="JointVAEVampPrior", training__learning_rate=1e-9).folder.weights()[0]
    assert torch.cdist(unlearnt["prior.pseudo_inputs.a"], rows).min(dim=1).values.max() < 0.1  # they began as rows
    (note,) = export_run(run.folder.path, tmp_path / "bundle")
    assert "began as scaled rows of training samples" in note
    assert note.removeprefix("note: ") in (tmp_path / "bundle" / "README.md").read_text()


def test_what_a_model_draws_is_repeated_by_its_seed(train: Callable[..., RunResult], simulated_pair: Pair) -> None:
    run = train("run", training__max_epochs=1, model__model_type="generative_vae", model__sampling_noise=1.0)
    imputer, table = load_imputer(run.folder.path), simulated_pair.frames["a"].iloc[:9]
    first, again, other = (imputer.impute(table, "a", "b", seed=seed).values for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first - other).abs().to_numpy().max() > 1e-3
