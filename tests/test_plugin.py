"""A model from another package: listed, trained, tuned, exported and imputing like one of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "plugin" / "toy_variant.py"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path that looks like an installed package with one entry point."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(TOY, site)
    described = site / "toy_plugin-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[cpivae.variants]\ntoy_variant = toy_variant\n")
    return site


def run(site: Path, folder: Path, *words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(path: Path, prefix: str, n_features: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    factors = np.random.default_rng(0).normal(size=(80, 3))
    values = factors @ random.normal(size=(3, n_features)) + random.normal(size=(80, n_features))
    frame = pd.DataFrame(values, [f"S{i}" for i in range(80)], [f"{prefix}{i}" for i in range(n_features)])
    frame.to_csv(path, index_label="sample")
    return path


def test_it_is_listed_after_ours_and_takes_its_own_settings(installed: Path, tmp_path: Path) -> None:
    listed = [line for line in run(installed, tmp_path, "cpivae", "models").splitlines() if not line.startswith(" ")]
    assert listed[0] == "joint_vae"
    assert listed[-1] == "toy_variant"
    assert len(listed) == 9
    a, b = table(tmp_path / "a.csv", "a", 6, 1), table(tmp_path / "b.csv", "b", 7, 2)
    wrong = subprocess.run(
        [
            *(sys.executable, "-m", "cpivae", "train", "--config", "default", "--set", "model.wobble=0.1"),
            *("--platform_a", a, "--platform_b", b),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 2
    assert "model.wobble: is a setting of toy_variant; the model here is joint_vae" in wrong.stderr


@pytest.mark.slow
def test_the_contract_suite_covers_it_the_day_it_is_there(installed: Path, tmp_path: Path) -> None:
    said = run(
        installed,
        ROOT,
        *("pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_contract.py", "-k", "toy_variant"),
        *("-m", "not slow", f"--basetemp={tmp_path / 'inner'}"),
    )
    passed = int(said.split(" passed")[0].split()[-1])
    assert passed >= 20
    assert "failed" not in said


@pytest.mark.slow
def test_it_is_tuned_exported_and_imputes(installed: Path, tmp_path: Path) -> None:
    a, b = table(tmp_path / "a.csv", "a", 6, 1), table(tmp_path / "b.csv", "b", 7, 2)
    (tmp_path / "toy.yaml").write_text("model: {model_type: ToyVariant, latent_dim: 4}\n")
    (tmp_path / "space.yaml").write_text(
        "model.wobble: {uniform: [0.0, 0.5]}\nmodel.linear_skip: {choice: [none, ridge]}\n"
    )
    pair = ("--platform_a", a, "--platform_b", b)
    said = run(
        installed,
        tmp_path,
        *("cpivae", "tune", "--config", "toy.yaml", "--search_space", "space.yaml", *pair),
        *("--n_trials", 3, "--max_epochs", 3, "--study_name", "toy"),
    )
    assert "best of 3 trials" in said
    run(installed, tmp_path, "cpivae", "export", "--sweep", "outputs_tune/toy", "--output", "bundle")
    run(
        installed,
        tmp_path,
        *("cpivae", "impute", "--experiment_dir", "bundle", "--input_data", a, "--source_platform", "a"),
        *("--target_platform", "b", "--output", "imputed.csv"),
    )
    imputed = pd.read_csv(tmp_path / "imputed.csv", index_col=0)
    assert imputed.shape == (80, 7)
    assert np.isfinite(imputed.to_numpy()).all()
