"""A new table in other units than the training table is noticed, and one in the same units is not suspected."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors import real_adat

import cpivae
from cpivae import bundle as format_of
from cpivae.bundle import CARD, MANIFEST, verify
from cpivae.cli.main import main
from cpivae.config.load import load_config, with_values
from cpivae.data.measured import LOG2_RFU, NPX, Origin
from cpivae.data.preprocess import fit_preprocessor
from cpivae.data.readers import read_table
from cpivae.data.scale import samples_far_off
from cpivae.errors import BundleError, DataError
from cpivae.export import export_run
from cpivae.impute import load_imputer

SETTINGS = {"training.max_epochs": 2, "logging.tensorboard": False, "training.batch_size": 16}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return NPX-like values of platform a, an .adat of platform b, and the same RFU as a linear table."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "b.adat").write_text(real_adat(n_samples=60))
    log = read_table(folder / "b.adat")
    np.exp2(log).to_csv(folder / "rfu.csv")
    log.to_csv(folder / "log2.csv")
    a = 9.25 + (log.iloc[:, :6] - log.iloc[:, :6].mean())
    a.set_axis([f"P{i}" for i in range(6)], axis="columns").to_csv(folder / "a.csv")
    return {
        name: folder / f"{name}.{kind}" for name, kind in (("a", "csv"), ("b", "adat"), ("rfu", "csv"), ("log2", "csv"))
    }


@pytest.fixture(scope="module")
def run(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cpivae.train(tables["a"], tables["b"], tmp_path_factory.mktemp("runs") / "r", settings=SETTINGS).folder.path


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    export_run(run, path := tmp_path_factory.mktemp("bundles") / "bundle")
    return path


def impute(capsys: pytest.CaptureFixture[str], model: Path, table: Path, output: Path, status: int = 0) -> str:
    words = ("--source_platform", "b", "--target_platform", "a", "--output", str(output))
    with pytest.raises(SystemExit) as ended:
        main(["impute", "--experiment_dir", str(model), "--input_data", str(table), *words])
    said = capsys.readouterr()
    assert ended.value.code == status, said
    return said.out + said.err


def test_a_bundle_and_its_card_know_what_the_tables_were(bundle: Path) -> None:
    form = "SomaScan ADAT, ANML-normalised"
    assert verify(bundle) == {"a": Origin("wide comma-separated text"), "b": Origin(form, LOG2_RFU, "log2 of RFU")}
    card = (bundle / CARD).read_text()
    assert f"\n| b | {form} | log2 RFU | log2 of RFU |\n" in card
    assert "\n| a | wide comma-separated text | not said by the file | none, values are as in the file |\n" in card


def test_linear_rfu_for_a_model_of_an_adat_is_refused(
    run: Path, bundle: Path, tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (run, bundle):
        said = impute(capsys, model, tables["rfu"], tmp_path / "out.csv", status=2)
        assert "has values that are too large to be logarithms (median" in said
        assert "the model was trained on platform b in log2 RFU (SomaScan ADAT, ANML-normalised" in said
        assert "Give the file as the vendor wrote it" in said
        with pytest.raises(DataError, match="too large to be logarithms"):
            cpivae.load_bundle(model).impute(cpivae.read_table(tables["rfu"]))
    assert not (tmp_path / "out.csv").exists()


def test_the_same_units_raise_no_doubt(
    bundle: Path, tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b", "log2"):
        said = impute(capsys, bundle, tables[name], tmp_path / f"{name}.csv")
        assert "warning" not in said, said
        assert read_table(tmp_path / f"{name}.csv").median().between(8, 10.5).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cpivae.load_bundle(bundle).impute(cpivae.read_table(tables["log2"]))
    shifted = read_table(tables["log2"]) + 2.0  # another laboratory
    assert load_imputer(bundle).impute(shifted, "b", "a").notes == []


def test_units_that_both_files_say_must_be_the_same(bundle: Path, tables: dict[str, Path]) -> None:
    table, imputer = read_table(tables["log2"]), load_imputer(bundle)
    with pytest.raises(DataError, match=r"is in NPX \(log2\), and the model was trained on platform b in log2 RFU"):
        imputer.impute(table, "b", "a", origin=Origin("x", NPX))
    assert imputer.impute(table, "b", "a", origin=Origin("x", LOG2_RFU)).notes == []


def test_a_bundle_of_an_older_version_still_doubts_values_far_off(
    bundle: Path, tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = Path(shutil.copytree(bundle, tmp_path / "older"))
    manifest = json.loads((older / MANIFEST).read_text())
    del manifest["tables"], manifest["sha256"]
    (older / MANIFEST).write_text(format_of._render(manifest))
    assert verify(older) == {}
    said = impute(capsys, older, tables["rfu"], tmp_path / "linear.csv")
    n = len(read_table(tables["b"]))
    assert f"warning: in {n} of {n} samples most values lie more than 10 times the training spread away" in said
    assert "must be in the units of the training table of platform b; is one linear and the other log2?" in said
    assert "warning" not in impute(capsys, older, tables["b"], tmp_path / "log2.csv")
    one = read_table(tables["log2"]).iloc[:5].copy()
    one.iloc[2] = np.exp2(one.iloc[2])
    (note,) = load_imputer(older).impute(one, "b", "a").notes
    assert note.startswith("warning: in 1 of 5 samples") and f" {one.index[2]}. " in note


@pytest.mark.parametrize("tables_are", [[], {"a": {}}, {"b": {"form": 1, "units": "x", "transform": "y"}}, "x"])
def test_what_a_manifest_says_of_its_tables_must_be_that(bundle: Path, tmp_path: Path, tables_are: object) -> None:
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    manifest = json.loads((damaged / MANIFEST).read_text()) | {"tables": tables_are}
    del manifest["sha256"]
    (damaged / MANIFEST).write_text(format_of._render(manifest))
    with pytest.raises(BundleError, match=r"MANIFEST\.json was changed"):
        load_imputer(damaged)


def test_a_logarithm_that_is_taken_twice_is_doubted(tables: dict[str, Path], tmp_path: Path) -> None:
    logged = SETTINGS | {"data.log_transform.platform_b.enabled": True}
    trained = cpivae.train(tables["a"], tables["rfu"], tmp_path / "run", settings=logged)
    imputer = load_imputer(trained.folder.path)
    assert imputer.impute(read_table(tables["rfu"]), "b", "a", origin=Origin("wide text")).notes == []
    first, *_ = imputer.impute(read_table(tables["b"]), "b", "a", origin=Origin("ADAT", LOG2_RFU)).notes
    assert first.startswith(
        "warning: the table is in log2 RFU already, and the model takes the logarithm of platform b"
    )


@pytest.mark.parametrize("method", ["zscore", "minmax", "robust"])
@pytest.mark.parametrize("log", [False, True])
def test_samples_like_the_training_samples_are_never_far_off(method: str, log: bool) -> None:
    """Heavy tails, gaps, few proteins and values that are mostly equal included."""
    rng = np.random.default_rng(3)
    values = np.exp2(rng.uniform(3, 14, 12) + rng.uniform(0.2, 1.5, 12) * rng.standard_t(4, size=(400, 12)))
    values[rng.random(values.shape) < 0.5] = np.nan
    values[:, :4] = np.maximum(np.nan_to_num(values[:, :4]), 3.0)  # at a limit of detection
    frame = pd.DataFrame(values, [f"S{i}" for i in range(400)], [f"p{j}" for j in range(12)])
    plain = {"data.normalization_method": method, "data.log_transform.platform_a.enabled": log}
    settings = with_values(load_config("default"), plain).data
    fitted = fit_preprocessor(frame[:200], "a", settings)
    assert samples_far_off(fitted, frame[200:].to_numpy(), list(frame.index[200:])) == []


@pytest.mark.parametrize("method", ["zscore", "minmax", "robust"])
def test_linear_values_for_logarithms_are_far_off_however_they_are_scaled(method: str) -> None:
    rng = np.random.default_rng(4)
    log = pd.DataFrame(rng.uniform(7, 14, 30) + 0.5 * rng.normal(size=(300, 30))).rename(str, axis=1)
    settings = with_values(load_config("default"), {"data.normalization_method": method}).data
    fitted = fit_preprocessor(log, "a", settings)
    ids = [f"S{i}" for i in range(300)]
    assert samples_far_off(fitted, np.exp2(log.to_numpy()), ids) == ids
    assert samples_far_off(fitted, log.to_numpy() + 1, ids) == []
