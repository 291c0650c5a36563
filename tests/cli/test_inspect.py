"""``cpivae inspect``, and the options on reading, as a user meets them."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import ROOT, commands_of
from vendors import as_text, explore_rows, grid, manager_rows, real_adat, write_h5ad, write_workbook

from cpivae.cli.main import main
from cpivae.config.load import load_config
from cpivae.data.readers import read_table

LAB_DATA = ROOT.parent / "shared" / "data"


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert ended.value.code == status, said
    assert "Traceback" not in said.err + said.out
    return said.out + said.err


def facts(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, str]:
    lines = run(capsys, "inspect", *words).splitlines()[1:]
    width = min(len(line) - len(line[2:].split("  ", 1)[1].lstrip()) for line in lines)
    return {line[:width].strip(): line[width:] for line in lines}


def test_a_long_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "SampleID": "s08 " if row["SampleID"] == "S01" else row["SampleID"]} for row in explore_rows()]
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(as_text([*rows[1:], rows[2]]).encode()))
    assert facts(capsys, tmp_path / "x.csv.gz") | {"note": ""} == {
        "what": "Olink NPX in long form, compressed",
        "shape": "8 samples x 4 features",
        "missing": "1 of 32 cells (3.12%)",
        "units": "NPX (log2)",
        "transform": "none, values are as in the file",
        "values": "smallest 1.02, median 5.01, largest 8.04",
        "QC warnings": "2 of 32 cells (6.25%), in 1 samples: S02",
        "below LOD": "7 of 31 cells (22.58%)",
        "plate Plate1": "median 5.01 (4 samples)",
        "plate Plate2": "median 5.025 (4 samples)",
        "duplicates": "1 proteins have several features: P05231 (IL6|OID20563, IL6|OID20101)",
        "blanks": "1 sample ids begin or end with a blank: 's08 '; data.strip_ids removes it",
        "note": "",
    }
    said = run(capsys, "inspect", tmp_path / "x.csv.gz")
    assert "1 sample ids differ only by case or blanks: 's08 ' = 'S08'" in said
    assert "1 control samples left out (PLATE_CONTROL 1)" in said
    assert "1 rows that repeat another with the same value left out" in said


def test_what_the_filters_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text(as_text(explore_rows()))
    told = facts(capsys, tmp_path / "x.csv", "--drop_qc_warnings", "--min-detected", "0.9")
    assert told["note"] == "2 cells under a QC warning dropped"
    assert told["missing"] == "2 of 32 cells (6.25%)"
    assert told["min_detected"] == "0 of 4 features in at least 90% of samples"


def test_the_help_speaks_of_what_inspect_does(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(re.sub(r"[│\n]", " ", run(capsys, "inspect", "--help")).split())
    assert "Also count the features detected in at least this share of the samples. [default: (not counted)]" in said
    assert "training rows" not in said
    assert "of the config" not in said


def make(folder: Path) -> dict[Path, str]:
    """Write a file of every kind under a name that says nothing; return what each is."""
    found = {folder / name: "" for name in "abcdefgh"}
    paths = list(found)
    paths[0].write_text(as_text(explore_rows()))
    pd.DataFrame(explore_rows()).astype({"NPX": float, "LOD": float}).to_parquet(paths[1])
    write_workbook(paths[2].with_suffix(".xlsx"), manager_rows())
    paths[2].with_suffix(".xlsx").rename(paths[2])
    paths[3].write_text(real_adat())
    write_h5ad(paths[4], grid())
    grid().to_csv(paths[5], sep="\t")
    grid().reset_index().to_parquet(paths[6])
    paths[7].write_text("SampleID,sex,plate\nS1,F,P1\nS2,M,P1\n")
    kinds = (
        *("Olink NPX in long form", "Olink NPX in long form", "Olink NPX Manager's wide form"),
        *("SomaScan ADAT, ANML-normalised", "AnnData", "wide tab-separated text", "wide parquet"),
        "a table of text, such as annotation (comma-separated); not measurements",
    )
    return dict(zip(paths, kinds, strict=True))


def test_every_kind_is_told_by_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, kind in make(tmp_path).items():
        assert facts(capsys, path)["what"] == kind


def test_linear_values_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.exp2(grid() + 8).to_csv(tmp_path / "x.csv")
    assert "the values look linear" in facts(capsys, tmp_path / "x.csv")["units"]
    grid().to_csv(tmp_path / "x.csv")
    assert "by the names of the features NPX" in facts(capsys, tmp_path / "x.csv")["units"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,a,b\nS1,1,2\nS2,1,x\nS3,1,3\n", "line 3 (sample 'S2'), column 'b': 'x' is not a number"),
        ("id,a,a\nS1,1,2\n", "1 feature name occurs more than once: a"),
        ("id,a,b\nS1,1,2\nS2,1\nS3,1,2\n", "line 3 (sample 'S2'): the header has 3 cells, this line 2"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, expected: str
) -> None:
    (tmp_path / "x.csv").write_text(content)
    said = run(capsys, "inspect", tmp_path / "x.csv", status=2)
    assert said.startswith("error: ")
    assert expected in said


def test_a_missing_file_and_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in run(capsys, "inspect", tmp_path / "nothing.csv", status=2)
    assert "is a folder" in run(capsys, "inspect", tmp_path, status=2)


def test_every_file_of_the_lab(capsys: pytest.CaptureFixture[str]) -> None:
    if not LAB_DATA.is_dir():
        pytest.skip("no lab data beside this checkout")
    paths = [path for path in sorted(LAB_DATA.rglob("*")) if path.is_file()]
    assert len(paths) >= 16
    for path in paths:
        told = facts(capsys, path)
        tables = "platform_" in path.name or "npx" in path.name
        assert ("samples x" in told.get("shape", "")) == tables, path
        assert ("no table" in told["what"]) == (path.name == "README.txt"), path


def vendor_pair(folder: Path, n: int = 60) -> tuple[Path, Path]:
    """A long export with controls and warnings, and an AnnData of the same samples."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(n):
        rows += [{**r, "SampleID": f"S{i:02d}", "NPX": f"{random.normal(6, 1):.4f}"} for r in explore_rows()[:4]]
    rows[12]["QC_Warning"] = "WARN"
    (folder / "npx.csv").write_text(as_text(rows + explore_rows()[-4:]))
    frame = pd.DataFrame(random.normal(size=(n, 5)), [f"S{i:02d}" for i in range(n)], list("abcde"))
    write_h5ad(folder / "b.h5ad", frame)
    return folder / "npx.csv", folder / "b.h5ad"


@pytest.mark.slow
def test_vendor_files_train_impute_and_are_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = vendor_pair(tmp_path)
    tables = ("--config", "default", "--platform_a", a, "--platform_b", b, "--set", "training.max_epochs=1")
    filters = ("--drop_qc_warnings", "--min_detected", "0.4")
    checked = run(capsys, "check", *tables, *filters)
    assert "1 cells under a QC warning dropped" in checked
    said = run(capsys, "train", *tables, *filters, "--version", "one")
    assert "Olink NPX in long form; units NPX (log2); transform: none" in said
    assert "1 control samples left out (PLATE_CONTROL 1)" in said
    folder = tmp_path / "outputs" / "joint_vae_experiment" / "one"
    settings = load_config(folder / "config.yaml").data
    assert (settings.drop_qc_warnings, settings.min_detected) == (True, 0.4)
    recorded = json.loads((folder / "environment.json").read_text())["data"]["platform_a"]
    assert (recorded["units"], recorded["transform"]) == ("NPX (log2)", "none, values are as in the file")
    assert "1 cells under a QC warning dropped" in recorded["notes"]
    options = ("--source_platform", "a", "--target_platform", "b", "--output", "out.csv")
    said = run(capsys, "impute", "--experiment_dir", folder, "--input_data", a, *options)
    assert "1 cells under a QC warning dropped" in said, "as the model was trained"
    assert pd.read_csv("out.csv", index_col=0).shape == (60, 5)


def test_a_sweep_takes_the_same_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = vendor_pair(tmp_path)
    words = ("--config", "default", "--search_space", "smoke", "--platform_a", a, "--platform_b", b)
    said = run(capsys, "check", *words, "--no_check", "--min_detected", "0.4", "--drop_qc_warnings")
    assert "1 cells under a QC warning dropped" in said
    assert "min_detected" in run(capsys, "check", *words, "--min_detected", "1.5", status=2)


@pytest.mark.slow
def test_every_command_of_the_page_runs_and_shows_what_the_page_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_workbook(tmp_path / "npx.xlsx", manager_rows())
    (tmp_path / "study.adat").write_text(real_adat())
    vendor_pair(tmp_path)[1].rename("study.h5ad")
    (tmp_path / "npx.csv").write_text(as_text(explore_rows()))
    page = (ROOT / "docs" / "data_formats.md").read_text()
    shown = re.findall(r"```text\n(npx\.csv\n.*?)```", page, re.DOTALL)
    commands = commands_of("docs/data_formats.md")
    assert len(commands) >= 7
    for command in commands:
        if " train " in command and not (tmp_path / "rfu.csv").exists():
            a, _ = vendor_pair(tmp_path)
            np.exp2(read_table(a) + 5).to_csv("rfu.csv")
        said = run(capsys, *shlex.split(command)[1:])
        if command.endswith("--min_detected 0.5"):
            assert [said] == shown
