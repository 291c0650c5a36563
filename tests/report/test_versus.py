"""The model beside the baselines: the same data or a refusal, and a plain word on who wins."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.baselines.evaluate import Scores
from cpivae.baselines.folder import DESCRIPTION, read_baselines, write_baselines
from cpivae.cli.main import main
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import FolderError
from cpivae.report import versus
from cpivae.report.write import make_report, write_report
from cpivae.tuning.folder import SweepFolder


def features(corr: float, n: int = 40, split: str = "val") -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "source": "b", "target": "a", "split": split, "fold": 0, "feature": [f"P{i}" for i in range(n)], "n": 20,
            "corr": corr + random.normal(scale=0.05, size=n), "r2": 0.1, "rmse": 1.0,
        }
    )  # fmt: skip


def scores(**corr: float) -> Scores:
    return Scores(pd.DataFrame(), pd.concat([features(value).assign(method=name) for name, value in corr.items()]))


@pytest.mark.parametrize(
    ("model", "split", "said", "kind"),
    [
        # Trial and epoch were chosen on validation samples.
        (0.9, "val", "The model is ahead of every baseline on A from B, validation samples.", "info"),
        (0.9, "test", "The model beats every baseline on A from B, test samples.", "good"),
        (0.6, "val", "A baseline wins: ridge on A from B, validation samples.", "bad"),
        (0.7003, "val", "A baseline is as good: ridge", "warn"),
        (0.6997, "val", "A baseline is as good: ridge", "warn"),
    ],
)
def test_it_is_said_plainly_who_wins(model: float, split: str, said: str, kind: str) -> None:
    given = pd.concat([features(value, split=split).assign(method=m) for m, value in (("ridge", 0.7), ("knn", 0.5))])
    found = versus.compare(features(model, split=split), Scores(pd.DataFrame(), given))
    assert found is not None
    assert (said in found.told[0].head, found.told[0].kind) == (True, kind)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (0.7, "They are level in mean r over 40 proteins"),
        (0.7003, "The model is ahead by 0.0003 in mean r over 40 proteins"),
        (0.6997, "It is ahead by 0.0003 in mean r over 40 proteins"),
    ],
)
def test_next_to_nothing_is_told_from_nothing(model: float, said: str) -> None:
    found = versus.compare(features(model), scores(ridge=0.7))
    assert found is not None
    assert found.told[0].text.startswith(said)


def test_differences_are_of_the_same_protein() -> None:
    found = versus.compare(features(0.6), scores(ridge=0.7, knn=0.65))
    assert found is not None
    assert len(found.wide) == 40
    assert (found.wide["model"] - found.wide["ridge"]).to_numpy() == pytest.approx(np.full(40, -0.1))
    assert "0.1000 in mean r over 40 proteins" in found.told[0].text
    assert "knn also wins." in found.told[0].text
    assert found.figure["data"][0]["median"] == pytest.approx([-0.1, -0.05])


def test_scores_of_other_samples_are_not_compared() -> None:
    assert (
        versus.compare(
            features(0.6, split="val"), Scores(pd.DataFrame(), features(0.5, split="test").assign(method="knn"))
        )
        is None
    )


@pytest.fixture
def copied(finished: SweepFolder, tmp_path: Path) -> SweepFolder:
    """A copy of the sweep that may be changed, of which no baselines are known."""
    copy = shutil.copytree(finished.path, tmp_path / "copy", ignore=shutil.ignore_patterns("report*"))
    return SweepFolder(Path(copy))


def test_the_report_names_the_winner(copied: SweepFolder, baselines: Path) -> None:
    without = make_report(copied)
    assert "No baselines were given" in without
    assert f"cpivae baseline --config {copied.best_config}" in without
    page = write_report(copied, baselines).read_text()
    assert "ridge on A from B, validation samples." in page or "ahead of every baseline on A from B" in page
    assert "No baselines were given" not in page


def methods(page: str) -> list[str]:
    """The baselines that the overview tells of."""
    return re.findall(r"(?:A baseline (?:wins|is as good): |The nearest is )(\w+)", page)


def test_baselines_are_given_once(copied: SweepFolder, baselines: Path, tmp_path: Path) -> None:
    given = Path(shutil.copytree(baselines, tmp_path / "given"))
    (given / "other.txt").write_text("of no interest")
    first = methods(write_report(copied, given).read_text())
    assert first
    shutil.rmtree(given)
    moved = SweepFolder(copied.path.rename(tmp_path / "moved"))
    assert methods(write_report(moved).read_text()) == first
    assert {p.name for p in moved.report_baselines.iterdir()} == {"summary.csv", "features.csv", "baseline.yaml"}
    assert [p.name for p in moved.path.glob(".report_baselines*")] == []


def test_the_baselines_given_last_are_those_that_count(copied: SweepFolder, baselines: Path, tmp_path: Path) -> None:
    write_report(copied, baselines)
    write_report(copied, copied.report_baselines)  # its own, given once more
    known = read_baselines(baselines)
    only = Scores(*(table[table["method"] == "mean"] for table in known))
    description = read_yaml_mapping(baselines / DESCRIPTION)
    write_baselines(tmp_path / "only", only, pd.DataFrame(index=["S0"]), description)
    assert set(methods(write_report(copied, tmp_path / "only").read_text())) == {"mean"}
    assert set(methods(write_report(copied).read_text())) == {"mean"}
    write_baselines(tmp_path / "other", known, pd.DataFrame(index=["S0"]), {"fingerprint": "0" * 64})
    with pytest.raises(FolderError, match="other data than the sweep's"):
        write_report(copied, tmp_path / "other")
    assert set(methods(write_report(copied).read_text())) == {"mean"}, "what was refused is not remembered"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["report", *map(str, arguments)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" not in said
    return said


def test_baselines_of_other_data_are_refused(
    finished: SweepFolder, baselines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = read_baselines(baselines)
    write_baselines(tmp_path / "other", scores, pd.DataFrame(index=["S0"]), {"fingerprint": "0" * 64})
    before = finished.report.stat().st_mtime_ns if finished.report.exists() else None
    said = refused(capsys, "--sweep", finished.path, "--baseline", tmp_path / "other")
    assert "were measured on other data than the sweep's" in said
    assert "000000000000" in said
    assert "Nothing was compared" in said
    assert (finished.report.stat().st_mtime_ns if finished.report.exists() else None) == before


def test_mistakes_in_paths_are_one_line(
    finished: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a sweep folder: it lacks sweep.yaml, trials.csv" in refused(capsys, "--sweep", tmp_path)
    assert "is not a folder of cpivae baseline" in refused(capsys, "--sweep", finished.path, "--baseline", tmp_path)
