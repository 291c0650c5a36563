"""The opening story through the command line: an Olink export and a SomaScan .adat, each imputed from the other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors import as_text, explore_rows, real_adat

from cpivae.baselines.folder import SUMMARY
from cpivae.cli.main import main
from cpivae.data.adat import read_adat
from cpivae.data.readers import read_table

pytestmark = pytest.mark.slow

N_SHARED = 12
"""Proteins that both platforms measure."""


def cpivae(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert ended.value.code == 0, said
    return said.out


def write_pair(folder: Path) -> None:
    """Write ``b.adat``, the first lines of the vendor's example, and ``npx.csv``, an Olink export of the same samples.

    Its NPX are the log2 RFU of a dozen proteins, each on a scale of its own and with noise; it has one more sample.
    """
    (folder / "b.adat").write_text(real_adat(n_somamers=40, n_samples=150))
    adat = read_adat(folder / "b.adat")
    rng = np.random.default_rng(2)
    control, rows = explore_rows()[-1], []
    for j, seq_id in enumerate(adat.features.index[:N_SHARED]):
        log = adat.values[seq_id]
        npx = 4 + j / 3 + (log - log.mean()) / log.std() + 0.4 * rng.normal(size=len(log))
        assay = {
            "OlinkID": f"OID{20000 + j}",
            "UniProt": adat.features.loc[seq_id, "UniProt"],
            "Assay": adat.features.loc[seq_id, "EntrezGeneSymbol"],
            "Panel": "Inflammation",
        }
        for sample, value in [*npx.items(), ("only here", 5.0)]:
            of_sample = {"SampleID": str(sample), "Sample_Type": "SAMPLE", "NPX": f"{value:.4f}"}
            rows.append({**control, **assay, **of_sample})
        rows.append({**control, **assay})
    (folder / "npx.csv").write_text(as_text(rows))


def test_an_olink_export_and_an_adat_are_imputed_from_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pair(tmp_path)
    measured = {"a": read_table(Path("npx.csv")), "b": read_table(Path("b.adat"))}
    n = len(measured["b"])
    assert measured["a"].shape == (n + 1, N_SHARED)
    assert all(re.fullmatch(r"\S+\|OID200\d\d", name) for name in measured["a"])
    tables = ("--platform_a", "npx.csv", "--platform_b", "b.adat")

    said = cpivae(capsys, "baseline", *tables, "--method", "copy", "--method", "mean")
    assert f"{N_SHARED} features of a and {N_SHARED} of b have a match on the other platform" in said
    scores = pd.read_csv(Path("outputs_baseline") / SUMMARY).set_index(["method", "target"])["corr_mean_matched"]
    assert (scores["copy"] > 0.8).all()

    small = ("training.max_epochs=40", "model.latent_dim=8", "model.encoder_layers=[32]", "model.decoder_layers=[32]")
    settings = [
        word
        for one in (*small, "training.batch_size=16", "logging.tensorboard=false", "hardware.threads=1")
        for word in ("--set", one)
    ]
    said = cpivae(capsys, "train", "--config", "default", *tables, "--version", "one", *settings)
    assert f"{n} shared samples" in said
    assert "1 without a partner dropped: only here" in said
    assert "1 control samples left out" in said
    run = Path("outputs") / "joint_vae_experiment" / "one"
    cpivae(capsys, "export", "--experiment_dir", run, "--output", "bundle")
    splits = pd.read_csv(run / "splits.csv", index_col=0, dtype={0: str})["split"]
    unseen = splits.index[splits != "train"]
    found = {}
    for source, target, table in (("a", "b", "npx.csv"), ("b", "a", "b.adat")):
        output = Path(f"imputed_{target}.csv")
        words = ("--source_platform", source, "--target_platform", target, "--output", output)
        said = cpivae(capsys, "impute", "--experiment_dir", "bundle", "--input_data", table, *words)
        assert "warning" not in said
        imputed = read_table(output)
        assert imputed.index.tolist() == measured[source].index.tolist()
        assert imputed.columns.tolist() == measured[target].columns.tolist()
        assert np.isfinite(imputed.to_numpy()).all()
        shared = list(imputed.columns[:N_SHARED])
        correlations = imputed.loc[unseen, shared].corrwith(measured[target].loc[unseen, shared])
        found[target] = correlations.mean()
        middle = (imputed.mean() - measured[target].mean()).abs()
        assert (middle < measured[target].std()).all(), "in the units of the target's file"
    assert min(found.values()) > 0.4, f"{found}: of {len(unseen)} samples, chance is 0 and rarely reaches 0.2"
