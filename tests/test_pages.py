"""What the pages tell to run is run, in the order in which a reader meets it."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from pages import ELSEWHERE, ONLY_READ, ROOT, WALKS, begins, commands_of, words_of, write_tables

from cpivae.cli.main import main

BUDGETS = {
    # The README's first commands, on tables that anybody has, are what they are, but for two trials more than are drawn
    # before the sampler has learnt anything.
    "cpivae tune --config configs/default.yaml": "--n_trials 12",
    "cpivae train --config outputs_tune/": "",
    "cpivae tune": "--n_trials 3 --max_epochs 2 --no_check --no_report"
    " --set hardware.threads=1 --set tuning.max_concurrent=1",
    "cpivae train": "--set training.max_epochs=2 --set hardware.threads=1",
    "cpivae confirm": "--top 2 --seeds 1 --folds 2",
    "cpivae simulate": "--n 300 --platform_a 60 --platform_b 70",
}
"""What is added to commands that begin so, the first that fits; of an option given twice the last one counts."""
TABLES = {
    "README.md": ("A.csv", "B.csv", "new_a.csv"),
    "docs/tuning.md": ("somascan/platform_a.csv", "somascan/platform_b.csv"),
    "docs/models/README.md": ("A.csv", "B.csv"),
    "docs/ckb.md": ("ckb/olink.csv", "ckb/somascan.csv"),
}
"""Small tables under the names of a page, beside those that its own commands make."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pages", WALKS, ids=lambda pages: pages[0])
def test_the_commands_of_pages_run(
    pages: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done: set[str] = set()
    for page in pages:
        write_tables(tmp_path, *TABLES.get(page, ()))
        for command in commands_of(page):
            # What a reader of the page before has done already is there.
            if command in done or begins(page, command, [*ELSEWHERE, *ONLY_READ]):
                continue
            done.add(command)
            added = next((more for beginning, more in BUDGETS.items() if command.startswith(beginning)), "")
            words = words_of(command.replace("ckb/FILE", "ckb/olink.csv"))[1:]
            with pytest.raises(SystemExit) as ended:
                main([*words, *added.split()])
            said = "".join(capsys.readouterr())
            assert ended.value.code in (None, 0), f"{page}: {command}\n{said}"
            assert "Traceback" not in said, f"{page}: {command}\n{said}"
    if pages[0] == "README.md":
        assert pd.read_csv("imputed_b.csv", index_col=0).shape == (60, 9)
        require_named_on_the_page_on_folders()


def require_named_on_the_page_on_folders() -> None:
    """Check that docs/run_folder.md names every file of the bundle, the runs and the sweeps here."""
    page = (ROOT / "docs" / "run_folder.md").read_text()
    folders = [Path("bundle"), *Path("outputs").glob("*/version_*"), *Path("outputs_tune").iterdir()]
    names = {re.sub(r"fold_\d+", "fold_0", path.name) for folder in folders for path in folder.iterdir()}
    assert {name for name in names if name not in page and re.sub("_[ab]", "_*", name) not in page} == set()


@pytest.mark.slow
def test_the_python_of_the_page_on_baselines_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cpivae.baselines.folder import read_baselines

    monkeypatch.chdir(tmp_path)
    write_tables(tmp_path, "A.csv", "B.csv")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["baseline", "--platform_a", "A.csv", "--platform_b", "B.csv", "--method", "mean", "--method", "ridge"])
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "baseline.md").read_text(), re.DOTALL)
    features = read_baselines(Path("outputs_baseline")).features
    capsys.readouterr()
    exec(code, {"model": features[features["method"] == "ridge"].drop(columns="method")})
    assert "baseline_wins" in capsys.readouterr().out
