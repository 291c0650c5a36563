"""Two real tables in, a tuned model out, new samples imputed: through the command line, as a user would."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.config.load import load_config
from cpivae.data.example import write_somascan_example
from cpivae.data.readers import read_table
from cpivae.tuning.folder import SweepFolder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
TCGA = ROOT.parent / "shared" / "data" / "tcga_brca_array_vs_rnaseq"


def cpivae(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "cpivae", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def example(folder):
    written = write_somascan_example(folder / "example")
    return written["a"], written["b"]


def tcga(_folder):
    if not TCGA.is_dir():
        pytest.skip("the TCGA pair is not on this machine")
    return TCGA / "platform_a.csv", TCGA / "platform_b.csv"


@pytest.fixture(scope="module", params=[example, tcga])
def tuned(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.__name__)
    a, b = request.param(folder)
    said = cpivae(
        *("tune", "--config", "default", "--search_space", "joint_vae", "--platform_a", a, "--platform_b", b),
        *("--n_trials", 4, "--max_epochs", 10, "--set", "tuning.asha.grace_period=3"),
        cwd=folder,
    )
    return folder, a, b, said


def test_the_sweep_says_what_it_did_and_where_things_are(tuned):
    folder, _, _, said = tuned
    assert "[4/4" in said
    assert "best of 4 trials" in said
    for name in ("trials.csv", "best_config.yaml", "best"):
        assert (folder / "outputs_tune" / "joint_vae_study" / name).exists()
        assert name in said


def test_retraining_the_best_settings_gives_the_trials_score(tuned):
    folder, a, b, _ = tuned
    sweep = SweepFolder.open(folder / "outputs_tune" / "joint_vae_study")
    cpivae(
        *("train", "--config", sweep.best_config, "--platform_a", a, "--platform_b", b, "--version", "again"),
        cwd=folder,
    )
    history = pd.read_csv(folder / "outputs" / "joint_vae_experiment" / "again" / "metrics.csv")
    best = sweep.best()
    assert len(history) == best.epochs
    assert history["val_cross_a_corr_mean"].max() == pytest.approx(best.score, abs=1e-6)


def test_the_exported_bundle_imputes_as_well_as_the_trial_scored(tuned):
    folder, a, b, _ = tuned
    study = folder / "outputs_tune" / "joint_vae_study"
    cpivae("export", "--sweep", study, "--output", "bundle", cwd=folder)
    cpivae(
        *("impute", "--experiment_dir", "bundle", "--input_data", b, "--source_platform", "b"),
        *("--target_platform", "a", "--output", "imputed_a.csv.gz", "--output_latent", "latent.parquet"),
        cwd=folder,
    )
    measured = pd.read_csv(a, index_col=0, dtype={0: str})
    imputed = pd.read_csv(folder / "imputed_a.csv.gz", index_col=0, dtype={0: str})
    assert list(imputed.index) == list(pd.read_csv(b, usecols=[0], dtype=str).iloc[:, 0])
    sweep = SweepFolder.open(study)
    splits = pd.read_csv(sweep.trial(sweep.best()).path / "splits.csv", index_col=0, dtype={"sample": str})["split"]
    held_out = splits.index[splits == "val"]
    correlations = imputed.loc[held_out].corrwith(measured.loc[held_out, imputed.columns])
    assert correlations.mean() == pytest.approx(sweep.best().score, abs=1e-4)
    latent = read_table(folder / "latent.parquet")
    assert latent.shape == (len(imputed), load_config(folder / "bundle" / "config.yaml").model.latent_dim)
    assert np.isfinite(latent.to_numpy()).all()
