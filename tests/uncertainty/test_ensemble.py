"""The best trials of a sweep impute together."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cpivae.cli.main import main
from cpivae.config.schema import Config
from cpivae.data.prepare import read_and_prepare
from cpivae.data.readers import read_table
from cpivae.data.tables import Pair
from cpivae.errors import FolderError
from cpivae.impute import load_imputer
from cpivae.training.run import fit
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import TrialRecord, trial_name

KINDS: list[tuple[float | None, dict[str, Any]]] = [
    (0.2, {"model__model_type": "res_unet"}),
    (0.5, {"model__latent_dim": 4}),
    (None, {}),
    (0.4, {"model__model_type": "JointVQ"}),
]
"""Score and settings of trials; the third has failed."""


@pytest.fixture(scope="module")
def sweep(
    simulated_pair: Pair, tiny_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> SweepFolder:
    """Return a sweep's folder with trials of several architectures, without the search that makes one."""
    tables = tmp_path_factory.mktemp("tables")
    for platform, frame in simulated_pair.frames.items():
        frame.to_csv(tables / f"{platform}.csv")
    folder = SweepFolder(tmp_path_factory.mktemp("sweeps") / "sweep")
    folder.create()
    folder.describe(tiny_config(), {})
    records = []
    for number, (score, kind) in enumerate(KINDS):
        config = tiny_config(**kind)
        records.append(TrialRecord(number, state="failed" if score is None else "complete", score=score))
        if score is not None:
            folds, _ = read_and_prepare({p: tables / f"{p}.csv" for p in "ab"}, config.data)
            fit(config, folds, folder.trials / trial_name(number), name="x", is_trial=True)
    folder.write_trials(records)
    return folder


def test_the_best_trials_impute_their_mean(sweep: SweepFolder, simulated_pair: Pair) -> None:
    table = simulated_pair.frames["a"].iloc[:20]
    one, other, worst = (load_imputer(sweep.trials / trial_name(i)).impute(table, "a", "b") for i in (1, 3, 0))
    two = load_imputer(sweep.path, ensemble=2).impute(table, "a", "b")
    pd.testing.assert_frame_equal(two.values, (one.values + other.values) / 2)
    three = load_imputer(sweep.path, ensemble=3).impute(table, "a", "b")
    pd.testing.assert_frame_equal(three.values, (one.values + other.values + worst.values) / 3)
    assert [sum(str(name).startswith(f"replica_{r}_") for name in three.latent) for r in range(3)] == [4, 6, 6]


def test_the_command_writes_what_the_ensemble_imputes(
    sweep: SweepFolder, simulated_pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = simulated_pair.frames["a"].iloc[:20]
    table.to_csv(tmp_path / "a.csv")
    words = ("impute", "--experiment_dir", sweep.path, "--ensemble", 3, "--input_data", tmp_path / "a.csv")
    outputs = ("--output", tmp_path / "b.csv", "--uncertainty", tmp_path / "sd.csv")
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in (*words, "--source_platform", "a", "--target_platform", "b", *outputs)])
    assert ended.value.code == 0, capsys.readouterr()
    expected = load_imputer(sweep.path, ensemble=3).impute(table, "a", "b", uncertainty=True)
    assert expected.sd is not None
    pd.testing.assert_frame_equal(read_table(tmp_path / "b.csv"), expected.values, rtol=1e-6)
    pd.testing.assert_frame_equal(read_table(tmp_path / "sd.csv"), expected.sd, rtol=1e-6)
    one = load_imputer(sweep.trials / trial_name(1)).impute(table, "a", "b", uncertainty=True)
    for of_one, of_three in ((one.values, expected.values), (one.sd, expected.sd)):
        assert of_one is not None
        assert not np.allclose(of_one, of_three, rtol=1e-3), "one trial alone would have passed"


def test_their_uncertainty_is_that_of_the_mean(sweep: SweepFolder, simulated_pair: Pair) -> None:
    imputer = load_imputer(sweep.path, ensemble=3)
    calibration = imputer.calibration("a", "b")
    assert calibration.test_coverage is None
    assert calibration.validation_coverage == pytest.approx(0.9, abs=0.03)
    assert (calibration.spread > 0).all()
    splits = pd.read_csv(sweep.trials / trial_name(1) / "splits.csv", index_col=0)["split"]
    held_out = splits.index[splits != "train"]
    found = imputer.impute(simulated_pair.frames["a"].loc[held_out], "a", "b", uncertainty=True)
    assert found.sd is not None
    truth = simulated_pair.frames["b"].loc[held_out, found.values.columns].to_numpy()
    seen = ~np.isnan(truth)
    inside = np.abs(truth - found.values.to_numpy())[seen] <= 1.6449 * found.sd.to_numpy()[seen]
    assert inside.mean() == pytest.approx(0.9, abs=0.04)


def test_models_that_draw_nothing_disagree(sweep: SweepFolder, tmp_path: Path) -> None:
    records = [r for r in sweep.records() if r.number in (0, 3)]  # a residual network and a codebook
    copied = SweepFolder(Path(shutil.copytree(sweep.path, tmp_path / "sweep")))
    copied.write_trials(records)
    assert (load_imputer(copied.path, ensemble=2).calibration("b", "a").spread > 0).all()
    alone = load_imputer(copied.trials / trial_name(0))
    assert (alone.calibration("b", "a").spread == 0).all()


def test_more_trials_than_there_are(sweep: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"--ensemble 4 needs the weights of 4 trials, and .* has 3 .* --ensemble 3"):
        load_imputer(sweep.path, ensemble=4)
    with pytest.raises(FolderError, match=r"is a sweep folder.*--ensemble"):
        load_imputer(sweep.path)
    bare = SweepFolder(Path(shutil.copytree(sweep.path, tmp_path / "bare")))
    for weights in bare.trials.glob("*/final_model.ckpt"):
        weights.unlink()
    with pytest.raises(FolderError, match="has no trial with a score and weights"):
        load_imputer(bare.path, ensemble=2)
