"""Replicas in lockstep: each is the run that it would be alone, and together they impute their mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from cpivae.config.schema import Config
from cpivae.config.variants import variant_names
from cpivae.data.prepare import Folds, PreparedData, prepare_folds
from cpivae.data.tables import Pair
from cpivae.errors import BundleError
from cpivae.export import export_run
from cpivae.impute import load_imputer
from cpivae.names import DIRECTIONS, prediction
from cpivae.training.folder import RunFolder
from cpivae.training.replica import Replica, replica_seed
from cpivae.training.run import RunResult, build_module, fit

TinyConfig = Callable[..., Config]
Scores = Callable[[np.ndarray, np.ndarray], dict[str, float]]

FOLDS = {"data__folds": 4, "training__max_epochs": 4, "training__learning_rate": 5e-3}


@pytest.fixture(scope="module")
def folds(simulated_pair: Pair, tiny_config: TinyConfig) -> Folds:
    return prepare_folds(simulated_pair, tiny_config(**FOLDS).data)


@pytest.fixture(scope="module")
def run(folds: Folds, tiny_config: TinyConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return fit(tiny_config(**FOLDS), folds, tmp_path_factory.mktemp("outputs") / "run", name="exp")


@pytest.fixture(scope="module")
def bundle(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    export_run(run.folder.path, path)
    return path


def of_replica(folder: RunFolder, number: int) -> pd.DataFrame:
    rows = folder.replicas()
    return rows[rows["replica"] == number].set_index("epoch").drop(columns="replica")


@pytest.mark.parametrize("variant", variant_names())
def test_a_replica_is_the_run_that_it_would_be_alone(
    variant: str, prepared: PreparedData, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    """Same initial weights, batches, noise, clipping and scores: to the last digit but for rounding in sums."""
    settings: dict[str, Any] = {
        "model__model_type": variant, "model__dropout_rate": 0.2, "training__gradient_clip_val": 0.3,
        "training__max_epochs": 2, "callbacks__model_checkpoint__monitor": "val_total_loss",
    }  # fmt: skip
    together = fit(tiny_config(**settings, training__replicas=2), [prepared], tmp_path / "both", name="exp").folder
    for number in range(2):
        config = tiny_config(**settings, training__seed=replica_seed(42, number))
        alone = fit(config, [prepared], tmp_path / f"alone{number}", name="exp").folder
        expected = alone.history().set_index("epoch")
        both = of_replica(together, number)
        assert_allclose(both.to_numpy(), expected[both.columns].to_numpy(), rtol=1e-5, atol=1e-6)
    scores = [of_replica(together, n)["val_cross_a_corr_mean"].to_numpy() for n in range(2)]
    assert np.abs(scores[0] - scores[1]).max() > 1e-4, "replicas differ by their seeds"


def test_the_metrics_of_a_run_are_means_over_its_replicas_with_their_sd(run: RunResult) -> None:
    history = run.folder.history().set_index("epoch")
    by_epoch = run.folder.replicas().drop(columns="replica").groupby("epoch")
    assert list(by_epoch.size()) == [4] * len(history)
    for key in by_epoch.mean().columns:
        assert_allclose(history[key], by_epoch[key].mean(), rtol=1e-6, atol=1e-7)
        assert_allclose(history[f"{key}_sd"], by_epoch[key].std(), rtol=1e-5, atol=1e-6)
    assert history["val_cross_a_corr_mean_sd"].min() > 0
    assert run.score == history["val_cross_a_corr_mean"].max()


def test_every_sample_validates_one_fold_and_no_fold_learns_from_it(folds: Folds, run: RunResult) -> None:
    splits = pd.concat([data.splits.rename(i) for i, data in enumerate(folds)], axis=1)
    is_test = (splits == "test").all(axis=1)
    assert ((splits == "test").any(axis=1) == is_test).all(), "test samples are the same in all folds"
    assert ((splits[~is_test] == "val").sum(axis=1) == 1).all()
    assert ((splits[~is_test] == "train").sum(axis=1) == 3).all()
    for i, fold in enumerate(run.folder.folds()):
        written = pd.read_csv(fold / "splits.csv", index_col=0)["split"]
        pd.testing.assert_series_equal(written, folds[i].splits, check_dtype=False, check_index_type=False)
        # The scaler has seen the training rows of its own fold and no others.
        rows = folds[i].values["a"][folds[i].rows("train")][:, 0]
        seen = folds[i].observed["a"][folds[i].rows("train")][:, 0]
        assert rows[seen].mean() == pytest.approx(0, abs=1e-5)
        assert rows[seen].std() == pytest.approx(1, abs=1e-5)


def test_seeds_and_folds_of_replicas_are_on_record(run: RunResult) -> None:
    described = json.loads((run.folder.path / "environment.json").read_text())["replicas"]
    assert [r["fold"] for r in described] == [0, 1, 2, 3]
    assert len({r["seed"] for r in described}) == 4
    assert described[0]["seed"] == run.folder.config().training.seed


def test_gradients_of_replicas_are_clipped_one_by_one(prepared: PreparedData, tiny_config: TinyConfig) -> None:
    module = build_module(tiny_config(training__replicas=2), [prepared])
    first, second = module.each()
    for replica, size in ((first, 1000.0), (second, 1e-3)):
        for parameter in replica.parameters():
            parameter.grad = torch.full_like(parameter, size)
    quiet = [p.grad.clone() for p in second.parameters() if p.grad is not None]
    module.configure_gradient_clipping(torch.optim.SGD(module.parameters(), 0.1), 1.0, "norm")
    norms = [
        torch.cat([p.grad.flatten() for p in r.parameters() if p.grad is not None]).norm() for r in (first, second)
    ]
    assert norms[0] == pytest.approx(1.0, rel=1e-3)
    assert norms[1] < 1.0
    assert all(torch.equal(p.grad, old) for p, old in zip(second.parameters(), quiet, strict=True))  # type: ignore[arg-type]


def test_a_bundle_of_replicas_imputes_their_mean(
    bundle: Path, folds: Folds, run: RunResult, simulated_pair: Pair
) -> None:
    table = simulated_pair.frames["a"].iloc[:17]
    imputer = load_imputer(bundle)
    imputed = imputer.impute(table, "a", "b")
    single = []
    for data, replica in zip(folds, imputer.replicas, strict=True):
        scaled = torch.from_numpy(data.preprocessors["a"].transform(table.to_numpy()))
        with torch.no_grad():
            single.append(data.preprocessors["b"].inverse(replica.model.impute(scaled, "a", "b").numpy()))
    assert_allclose(imputed.values, np.mean(single, axis=0), rtol=1e-6)
    assert np.std(single, axis=0).max() > 1e-2, "the models differ"
    assert imputed.latent.shape == (17, 4 * 6)
    of_run = load_imputer(run.folder.path).impute(table, "a", "b").values
    pd.testing.assert_frame_equal(of_run, imputed.values)
    assert "4 models" in (bundle / "README.md").read_text()


def test_test_metrics_are_those_of_the_mean_prediction(
    run: RunResult, folds: Folds, simulated_pair: Pair, scores_by_hand: Scores
) -> None:
    rows = folds[0].rows("test")
    imputer = load_imputer(run.folder.path)
    for source, target in DIRECTIONS:
        imputed = imputer.impute(simulated_pair.frames[source].iloc[rows], source, target).values
        measured = simulated_pair.frames[target][imputed.columns].iloc[rows]
        for name, value in scores_by_hand(imputed.to_numpy(), measured.to_numpy()).items():
            assert run.test_metrics[f"test_{prediction(source, target)}_{name}"] == pytest.approx(value, abs=1e-5)


def test_a_bundle_without_a_fold_is_incomplete(bundle: Path) -> None:
    lost = bundle / "fold_2" / "preprocess_b.skops"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(BundleError, match=r"fold_2/preprocess_b\.skops is missing"):
        load_imputer(bundle)
    lost.write_bytes(content)


def test_a_run_of_replicas_goes_on_from_its_checkpoint(
    folds: Folds, run: RunResult, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    half = fit(tiny_config(**FOLDS, training__stop_epoch=2), folds, tmp_path / "half", name="exp")
    last = half.folder.checkpoints / "last.ckpt"
    rest = fit(tiny_config(**FOLDS), folds, tmp_path / "rest", name="exp", resume_from=last).folder
    pd.testing.assert_frame_equal(rest.replicas(), run.folder.replicas(), atol=1e-6)
    pd.testing.assert_frame_equal(
        rest.history().drop(columns="seconds"), run.folder.history().drop(columns="seconds"), atol=1e-6
    )


def test_seeds_and_folds_multiply(folds: Folds, tiny_config: TinyConfig, tmp_path: Path) -> None:
    config = tiny_config(**FOLDS | {"training__max_epochs": 1}, training__replicas=2, model__linear_skip="ridge")
    folder = fit(config, folds, tmp_path / "run", name="exp").folder
    assert folder.replicas()["replica"].tolist() == list(range(8))
    assert len(folder.weights()) == 8
    described = json.loads((folder.path / "environment.json").read_text())["replicas"]
    assert [r["fold"] for r in described] == [0, 1, 2, 3] * 2
    assert len(load_imputer(folder.path).replicas) == 8


def test_draws_depend_on_seed_and_moment_alone(prepared: PreparedData, tiny_config: TinyConfig) -> None:
    first, second = build_module(tiny_config(training__replicas=2), [prepared]).each()

    def draw(replica: Replica, *moment: int) -> float:
        torch.manual_seed(int(torch.randint(1000, ())))
        replica.draw_afresh(*moment)
        return float(torch.rand(()))

    moments = [(epoch, step, rank) for epoch in range(3) for step in range(3) for rank in range(2)]
    drawn = [draw(replica, *moment) for replica in (first, second) for moment in moments]
    assert len(set(drawn)) == len(drawn)
    assert [draw(replica, *moment) for replica in (first, second) for moment in moments] == drawn
