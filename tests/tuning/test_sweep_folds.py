"""A sweep that judges its trials by folds: real Ray processes, replicas in lockstep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.config.load import load_config, make_config, with_values
from cpivae.config.space import make_space
from cpivae.data.prepare import Folds, prepare_folds
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.export import export_run
from cpivae.impute import load_imputer
from cpivae.training.run import fit
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.sweep import SweepResult, run_sweep, sweep_config

pytestmark = pytest.mark.slow

METRIC = "val_cross_a_corr_mean"


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Path]:
    """Two samples of each of 45 persons, much like one another, and the table that says whose they are."""
    random = np.random.default_rng(0)
    factors = np.repeat(random.normal(size=(45, 3)), 2, axis=0)
    ids = [f"S{i}" for i in range(90)]
    frames = {
        p: pd.DataFrame(
            factors @ random.normal(size=(3, d)) + 0.3 * random.normal(size=(90, d)), ids, [f"{p}{i}" for i in range(d)]
        )
        for p, d in (("a", 12), ("b", 15))
    }
    table = tmp_path_factory.mktemp("samples") / "samples.csv"
    pd.DataFrame({"sample": ids, "person": np.repeat(np.arange(45), 2)}).to_csv(table, index=False)
    return pair_from_frames(frames), table


@pytest.fixture(scope="module")
def swept(serial: tuple[Pair, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepResult, Folds]:
    pair, table = serial
    settings = {
        "tuning": {"n_trials": 7, "max_epochs": 5, "startup_trials": 2, "asha": {"grace_period": 2}, "folds": 4},
        "model": {"latent_dim": 4},
        "training": {"batch_size": 16},
        "data": {"groups": "person", "samples_table": str(table)},
    }
    config = sweep_config(make_config(settings, "test"))
    assert config.data.folds == 4
    folds = prepare_folds(pair, config.data)
    space = make_space(
        {
            "training.learning_rate": {"loguniform": [1e-4, 1e-1]},
            "model.linear_skip": {"choice": ["none", "ridge"]},
        },
        config,
        "space",
    )
    path = tmp_path_factory.mktemp("sweeps") / "study"
    return run_sweep(config, space, lambda: folds, SweepFolder(path), study_name="study", say=lambda _: None), folds


def test_a_trials_score_is_the_mean_over_its_folds_with_their_sd(swept: tuple[SweepResult, Folds]) -> None:
    folder = swept[0].folder
    for record in folder.records():
        replicas = folder.trial(record).replicas()
        at_best = replicas[replicas["epoch"] == record.best_epoch][METRIC]
        assert len(at_best) == 4
        assert record.score == pytest.approx(at_best.mean(), abs=1e-6)
        assert record.score_sd == pytest.approx(at_best.std(), abs=1e-6)
    epochs = [e for e in read_journal(folder.journal) if e["event"] == "epoch"]
    assert all(e["score_sd"] > 0 for e in epochs), "every epoch is reported with its sd"
    assert any(r.state == "stopped" for r in folder.records())


def test_persons_stay_together_and_the_test_samples_unread(swept: tuple[SweepResult, Folds]) -> None:
    result, folds = swept
    for data in folds:
        person = data.splits.index.str[1:].astype(int) // 2
        assert data.splits.groupby(person).nunique().max() == 1
    assert not list(result.folder.path.rglob("test_metrics.json"))


def test_every_fold_of_every_trial_has_a_seed_on_record(swept: tuple[SweepResult, Folds]) -> None:
    folder = swept[0].folder
    seeds = [
        replica["seed"]
        for record in folder.records()
        for replica in json.loads((folder.trial(record).path / "environment.json").read_text())["replicas"]
    ]
    assert len(seeds) == len(set(seeds)) == 7 * 4


def test_the_best_settings_trained_alone_give_the_score(swept: tuple[SweepResult, Folds], tmp_path: Path) -> None:
    result, folds = swept
    config = load_config(result.folder.best_config, ["hardware.threads=1"])
    again = fit(config, folds, tmp_path / "again", name="again")
    assert again.score == pytest.approx(result.best.score, abs=1e-6)
    other = fit(with_values(config, {"training.seed": 1}), folds, tmp_path / "other", name="again")
    assert abs(other.score - again.score) > 1e-6


def test_its_bundle_imputes_with_all_folds(
    swept: tuple[SweepResult, Folds], serial: tuple[Pair, Path], tmp_path: Path
) -> None:
    result, table = swept[0], serial[0].frames["b"]
    export_run(result.folder.trial(result.best).path, tmp_path / "bundle")
    imputer = load_imputer(tmp_path / "bundle")
    assert len(imputer.replicas) == 4
    imputed = imputer.impute(table, "b", "a").values
    assert np.corrcoef(imputed["a0"], serial[0].frames["a"]["a0"])[0, 1] > 0.5
