"""On a real GPU: every model trains there, and what it has learnt is the same on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.variants import variant_names
from cpivae.data import module
from cpivae.data.module import PairedRows
from cpivae.data.prepare import PreparedData
from cpivae.data.tables import Pair
from cpivae.impute import load_imputer
from cpivae.names import DIRECTIONS, sd_of
from cpivae.training.run import RunResult, evaluate_test, fit

TinyConfig = Callable[..., Config]
Train = Callable[..., RunResult]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def scores(metrics: dict[str, float]) -> dict[str, float]:
    """Return what a model is scored by; losses depend on random numbers, which every device draws its own way."""
    return {k: v for k, v in metrics.items() if k.startswith(("test_recon_", "test_cross_")) and "_loss" not in k}


@pytest.mark.filterwarnings("ignore:GPU available but not used")
@pytest.mark.parametrize("variant", variant_names())
def test_what_a_model_learnt_on_a_gpu_it_knows_on_a_cpu(train: Train, prepared: PreparedData, variant: str) -> None:
    torch.cuda.reset_peak_memory_stats()
    run = train(hardware__accelerator="gpu", model__model_type=variant)
    assert torch.cuda.max_memory_allocated() > 0
    assert run.folder.config().hardware.accelerator == "gpu"
    on_gpu = scores(run.test_metrics)
    on_cpu = evaluate_test(with_values(run.folder.config(), {"hardware.accelerator": "cpu"}), [prepared], run.folder)
    assert scores(on_cpu) == pytest.approx(on_gpu, rel=1e-4, abs=1e-4)
    assert "test_cross_a_corr_mean" in on_gpu


def test_a_machine_without_a_gpu_imputes_with_a_model_from_one(
    train: Train, simulated_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(hardware__accelerator="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    imputer = load_imputer(run.folder.path)
    for source, target in DIRECTIONS:
        imputed = imputer.impute(simulated_pair.frames[source], source, target, uncertainty=True)
        assert np.isfinite(imputed.values.to_numpy()).all()
        assert imputed.sd is not None
        assert (imputed.sd.to_numpy() > 0).all()


def test_a_run_on_a_gpu_repeats_itself(train: Train) -> None:
    first, second = (train(hardware__accelerator="gpu", training__max_epochs=4) for _ in range(2))
    assert second.score == pytest.approx(first.score, abs=1e-5)


def test_a_run_on_a_gpu_goes_on_where_it_stopped(
    tiny_config: TinyConfig, prepared: PreparedData, tmp_path: Path
) -> None:
    config = tiny_config(hardware__accelerator="gpu", training__max_epochs=6)
    whole = fit(config, [prepared], tmp_path / "whole", name="exp")
    half = fit(with_values(config, {"training.stop_epoch": 3}), [prepared], tmp_path / "half", name="exp")
    last = half.folder.path / "checkpoints" / "last.ckpt"
    resumed = fit(config, [prepared], tmp_path / "resumed", name="exp", resume_from=last)
    assert resumed.epochs == 6
    assert resumed.score == pytest.approx(whole.score, abs=1e-5)


def test_tables_on_the_gpu_are_the_tables_and_only_small_ones_go_there(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    taken = PairedRows.__getitem__
    monkeypatch.setattr(
        PairedRows, "__getitem__", lambda self, rows: seen.append(self.device.type) or taken(self, rows)
    )
    there = train(hardware__accelerator="gpu")
    assert set(seen) == {"cuda"}
    seen.clear()
    monkeypatch.setattr(module, "ON_GPU", 0)
    elsewhere = train(hardware__accelerator="gpu")
    assert set(seen) == {"cpu"}
    assert there.score == pytest.approx(elsewhere.score, abs=1e-5)


def test_replicas_train_side_by_side_on_a_gpu(train: Train) -> None:
    alone = train(hardware__accelerator="gpu")
    three = train(hardware__accelerator="gpu", training__replicas=3)
    history = three.folder.history()
    assert len(three.folder.weights()) == 3
    assert (history[sd_of("val_cross_a_corr_mean")] > 0).all()
    assert np.isfinite(alone.score)
    assert np.isfinite(three.score)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_lower_precision_learns_as_well(train: Train, precision: str) -> None:
    values = {"hardware__accelerator": "gpu", "training__max_epochs": 15}
    exact, lower = train(**values), train(**values, hardware__precision=precision)
    assert exact.score > 0.3
    assert lower.score == pytest.approx(exact.score, abs=0.05)
    weights = lower.folder.weights()[0]
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}
