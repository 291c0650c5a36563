"""The program in notebooks: what the commands do, with tables in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cpivae
from cpivae.errors import DataError, FolderError

SETTINGS = {"training.max_epochs": 4, "logging.tensorboard": False, "training.batch_size": 16}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(80, 2))
    ids = [f"S{i}" for i in range(80)]
    return {
        p: pd.DataFrame(
            factors @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(80, d)), ids, [f"{p}{i}" for i in range(d)]
        )
        for p, d in (("a", 6), ("b", 8))
    }


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, cpivae; print([m for m in ('torch', 'ray', 'pandas', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_all_that_is_offered_is_there() -> None:
    assert set(cpivae.__all__) >= {"read_table", "train", "tune", "load_bundle", "CrossPlatformImputer"}
    assert all(getattr(cpivae, name).__doc__ for name in cpivae.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tain'"):
        cpivae.tain  # noqa: B018


def test_a_run_from_tables_in_memory_is_that_from_files(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    for platform, table in tables.items():
        table.to_csv(tmp_path / f"{platform}.csv", index_label="sample")
    of_files = cpivae.train(tmp_path / "a.csv", str(tmp_path / "b.csv"), tmp_path / "files", settings=SETTINGS)
    mixed = cpivae.train(tables["a"], tmp_path / "b.csv", tmp_path / "mixed", settings=SETTINGS)
    in_memory = cpivae.train(tables["a"], tables["b"], tmp_path / "memory", settings=SETTINGS)
    assert of_files.score == pytest.approx(in_memory.score, abs=1e-6)
    assert mixed.score == pytest.approx(in_memory.score, abs=1e-6)
    assert in_memory.test_metrics
    with pytest.raises(FolderError, match="already exists"):
        cpivae.train(tables["a"], tables["b"], tmp_path / "memory", settings=SETTINGS)


def test_a_bundle_imputes_a_frame_and_tells_its_platform(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    run = cpivae.train(tables["a"], tables["b"], tmp_path / "run", settings=SETTINGS)
    bundle = cpivae.load_bundle(run.folder.path)
    assert bundle.features == {p: list(table.columns) for p, table in tables.items()}
    predicted = bundle.impute(tables["a"][:5])
    assert list(predicted.columns) == list(tables["b"].columns)
    assert list(predicted.index) == list(tables["a"].index[:5])
    pd.testing.assert_frame_equal(predicted, bundle.impute(tables["a"][:5], "a", "b"))
    assert list(bundle.impute(tables["b"][:5]).columns) == list(tables["a"].columns)
    assert list(bundle.impute(tables["b"][:5], target="b").columns) == list(tables["b"].columns)
    with pytest.warns(UserWarning) as warned:
        bundle.impute(tables["a"].drop(columns="a0"), allow_missing=True)
    assert "1 missing features filled" in str(warned[0].message)
    with pytest.raises(DataError, match="lacks 1 of the 6 features"):
        bundle.impute(tables["a"].drop(columns="a0"))
    with pytest.raises(DataError, match="0 features of platform a and 0 of platform b"):
        bundle.impute(tables["a"].add_prefix("?"))


@pytest.mark.slow
def test_a_sweep_from_tables_in_memory(
    tables: dict[str, pd.DataFrame], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    settings = {**SETTINGS, "tuning.max_epochs": 4}
    result = cpivae.tune(tables["a"], tables["b"], tmp_path / "sweep", n_trials=3, settings=settings, say=told.append)
    assert len(result.records) == 3
    assert told[-1] == f"  report    {tmp_path / 'sweep' / 'report.html'}"
    assert "of at most" in (tmp_path / "sweep" / "report.html").read_text()
    assert "trial    2" in capfd.readouterr().out
    predicted = cpivae.load_bundle(result.folder.best_bundle).impute(tables["a"])
    assert predicted.shape == tables["b"].shape
    how: dict[str, Any] = {"settings": settings, "resume": True, "quiet": True, "report": False, "say": told.append}
    more = cpivae.tune(tables["a"], tables["b"], tmp_path / "sweep", n_trials=4, **how)
    assert capfd.readouterr().out == ""
    assert len(more.records) == 4
    assert [r.score for r in more.records[:3]] == [r.score for r in result.records]


def test_a_table_is_read_as_the_settings_of_a_run_would_have_it(tmp_path: Path) -> None:
    """What is said to a DataFrame under ``data.strip_ids`` can be done."""
    (tmp_path / "x.csv").write_text("id,a ,b\nS1 ,1,2\nS2,3,4\n")
    plain, stripped = (cpivae.read_table(tmp_path / "x.csv", strip_ids=strip) for strip in (False, True))
    assert (list(plain.index), list(plain.columns)) == (["S1 ", "S2"], ["a ", "b"])
    assert (list(stripped.index), list(stripped.columns)) == (["S1", "S2"], ["a", "b"])
    pd.testing.assert_frame_equal(plain, cpivae.read_table(tmp_path / "x.csv"))


def test_what_a_notebook_may_get_wrong_is_a_sentence(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    bundle = cpivae.load_bundle(cpivae.train(*tables.values(), tmp_path / "run", settings=SETTINGS).folder.path)
    table = tables["a"]
    for given, how, said in (
        (table, {"source": "c"}, "no platform 'c'"),
        (table, {"target": "zz"}, "no platform 'zz'"),
        (tmp_path / "a.csv", {}, "a table is needed, got PosixPath"),
        (pd.concat([table, table], axis=1), {}, "a0"),
        (table.replace(table.iloc[0, 0], np.inf), {}, "infinite|finite"),
        (table.iloc[:0], {}, "sample"),
    ):
        with pytest.raises(DataError, match=said):
            bundle.impute(given, **how)
    with pytest.raises(DataError, match="platform a is a ndarray"):
        cpivae.train(table.to_numpy(), tables["b"], tmp_path / "x")
    with pytest.raises(DataError, match=r"data\.strip_ids says .* cpivae\.read_table\(path, strip_ids=True\)"):
        cpivae.train(*tables.values(), tmp_path / "x", settings={"data.strip_ids": True})
    with pytest.raises(FolderError, match=r"s3://\.\.\. is no folder of this machine"):
        cpivae.train(*tables.values(), "s3://lab/x", settings=SETTINGS)


def test_uncertainty_comes_in_the_same_shape(tables: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    for platform, table in tables.items():
        table.to_csv(tmp_path / f"{platform}.csv", index_label="sample")
    run = cpivae.train(tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "run", settings=SETTINGS)
    values, sd = cpivae.load_bundle(run.folder.path).impute_with_sd(tables["a"])
    pd.testing.assert_frame_equal(values, cpivae.load_bundle(run.folder.path).impute(tables["a"]))
    assert sd.shape == values.shape
    assert (sd.to_numpy() > 0).all()
