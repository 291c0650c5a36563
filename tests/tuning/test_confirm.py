"""A second look at a sweep's best trials: real sweeps, confirmed on folds and seeds that they have not used."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cpivae.config.load import with_values
from cpivae.config.yaml import read_yaml_mapping
from cpivae.data.prepare import prepare_folds
from cpivae.data.tables import pair_from_frames
from cpivae.impute import load_imputer
from cpivae.training.folder import RunFolder
from cpivae.tuning.candidates import compared
from cpivae.tuning.confirm import confirming
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.statistics import resampled_interval

WriteTables = Callable[..., None]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

METRIC = "val_cross_a_corr_mean"
TOP, SEEDS, FOLDS = 3, 2, 3
WITH_REPORT = ("confirm", "--sweep", "sweep", "--top", TOP, "--seeds", SEEDS, "--folds", FOLDS)
ASKED = (*WITH_REPORT, "--no_report")
LEAST = ("confirm", "--no_report", "--sweep", "sweep", "--top", 1, "--seeds", 1, "--folds", 2)
TUNED = (
    *(
        "tune",
        "--no_report",
        "--config",
        "default",
        "--search_space",
        "smoke",
        "--platform_a",
        "a.csv",
        "--platform_b",
        "b.csv",
    ),
    *("--output_dir", ".", "--study_name", "sweep", "--n_trials", 6, "--max_epochs", 5, "--no_check"),
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "cpivae", *map(str, words)]


def run(folder: Path, *words: object, status: int = 0) -> str:
    done = subprocess.run(command(*words), cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, write_tables: WriteTables) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    write_tables(folder, n=120)
    run(folder, *TUNED)
    return folder


@pytest.fixture
def before(swept: Path, tmp_path: Path) -> Path:
    """A copy of the sweep, not confirmed yet; its tables are where it read them."""
    copied = tmp_path / "copied"
    shutil.copytree(swept, copied)
    return copied


@pytest.fixture(scope="module")
def confirmed(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("confirmed") / "copied"
    shutil.copytree(swept, folder)
    return folder, run(folder, *WITH_REPORT)


def candidates_of(sweep: SweepFolder) -> list[TrialRecord]:
    ended = [r for r in sweep.records() if r.state == "complete"]
    return sorted(ended, key=lambda r: -(r.score or 0))[:TOP]


def found(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "sweep" / "confirmed.json").read_text())
    return read


def test_the_best_trials_are_trained_again_where_the_search_has_not_been(confirmed: tuple[Path, str]) -> None:
    sweep = SweepFolder(confirmed[0] / "sweep")
    again = SweepFolder(sweep.confirming)
    best = candidates_of(sweep)
    assert len(again.records()) == TOP * SEEDS
    searched_seeds = {sweep.trial(r).config().training.seed for r in sweep.records()}
    seeds: set[int] = set()
    for i, record in enumerate(again.records()):
        config = again.trial(record).config()
        assert record.state == "complete", "no trial is stopped by comparison with others"
        assert record.values == best[i % TOP].values
        assert config.data.folds == FOLDS
        seeds.add(config.training.seed)
        splits = [pd.read_csv(f / "splits.csv", index_col=0)["split"] for f in again.trial(record).folds()]
        searched = pd.read_csv(sweep.trial(best[0]).path / "splits.csv", index_col=0)["split"]
        for split in splits:
            pd.testing.assert_series_equal(split == "test", searched == "test")
            assert set(split[split == "val"].index) != set(searched[searched == "val"].index)
    assert len(seeds) == SEEDS
    assert not seeds & searched_seeds


def test_a_sweep_over_folds_is_confirmed_on_others_with_the_same_test_samples(swept: Path) -> None:
    searched = with_values(SweepFolder(swept / "sweep").config(), {"data.folds": FOLDS, "tuning.folds": FOLDS})
    again = confirming(searched, folds=FOLDS, n_trials=1)
    tables = {p: pd.read_csv(swept / f"{p}.csv", index_col=0) for p in ("a", "b")}
    before, after = (prepare_folds(pair_from_frames(tables), c.data) for c in (searched, again))
    for data in after:
        pd.testing.assert_series_equal(data.splits == "test", before[0].splits == "test")
        held_out = set(data.splits.index[data.splits == "val"])
        assert all(held_out != set(other.splits.index[other.splits == "val"]) for other in before)


def test_scores_intervals_and_the_choice_follow_from_the_replicas(confirmed: tuple[Path, str]) -> None:
    sweep, told = SweepFolder(confirmed[0] / "sweep"), found(confirmed[0])
    again = SweepFolder(sweep.confirming)
    best = candidates_of(sweep)
    scores: dict[int, list[Any]] = {r.number: [] for r in best}
    for i, record in enumerate(again.records()):
        history, replicas = again.trial(record).history(), again.trial(record).replicas()
        epoch = history["epoch"][history[METRIC].idxmax()]
        scores[best[i % TOP].number].append(replicas[replicas["epoch"] == epoch][METRIC].to_numpy())
    assert {np.shape(s) for s in scores.values()} == {(SEEDS, FOLDS)}
    by_fold = {number: np.mean(s, axis=0) for number, s in scores.items()}
    means = {number: s.mean() for number, s in by_fold.items()}
    first = max(means, key=lambda n: means[n])
    assert [c["trial"] for c in told["candidates"]] == sorted(means, key=lambda n: -means[n])
    for candidate in told["candidates"]:
        own = by_fold[candidate["trial"]]
        assert candidate["score"] == pytest.approx(resampled_interval(own)._asdict(), abs=1e-9)
        difference = resampled_interval(own - by_fold[first])
        assert candidate["against_best"] == pytest.approx(difference._asdict(), abs=1e-9)
        assert candidate["ties"] == (difference.low <= 0 <= difference.high)
    tied = [c for c in told["candidates"] if c["ties"]]
    assert told["winner"] == min(tied, key=lambda c: c["parameters"])["trial"]
    assert told["selection_bias"] == pytest.approx(best[0].score - means[best[0].number])


def test_the_test_samples_are_read_for_the_winner_alone(confirmed: tuple[Path, str], scores_by_hand: Any) -> None:
    folder, told = confirmed[0], found(confirmed[0])
    sweep = SweepFolder(folder / "sweep")
    read = [p.parent.name for p in folder.rglob("test_metrics.json")]
    assert read == [f"trial_{told['winner']:05d}"]
    run_folder = sweep.trial(TrialRecord(told["winner"]))
    splits = pd.read_csv(run_folder.path / "splits.csv", index_col=0)["split"]
    tables = {p: pd.read_csv(folder / f"{p}.csv", index_col=0) for p in ("a", "b")}
    rows = splits.index[splits == "test"]
    imputed = load_imputer(run_folder.path).impute(tables["b"].loc[rows], "b", "a").values
    by_hand = scores_by_hand(imputed.to_numpy(), tables["a"].loc[rows].to_numpy())
    assert told["test_metrics"]["test_cross_a_corr_mean"] == pytest.approx(by_hand["corr_mean"], abs=1e-5)


def test_the_winner_is_exported_and_its_bundle_says_what_it_is_worth(confirmed: tuple[Path, str]) -> None:
    folder, said = confirmed
    told = found(folder)
    sweep = SweepFolder(folder / "sweep")
    run(folder, "export", "--sweep", "sweep", "--output", "bundle")
    winner = RunFolder(sweep.trials / f"trial_{told['winner']:05d}").config()
    for bundle in (folder / "bundle", sweep.best_bundle):
        metrics = json.loads((bundle / "metrics.json").read_text())
        assert metrics["confirmed"] == told
        assert metrics["test"] == told["test_metrics"]
        card = (bundle / "README.md").read_text()
        assert "Confirmed: val_cross_a_corr_mean" in card
        assert "looked at once" in card
        assert read_yaml_mapping(bundle / "config.yaml")["model"]["latent_dim"] == winner.model.latent_dim
    assert read_yaml_mapping(sweep.best_config)["training"]["seed"] == winner.training.seed
    much = f"trial {told['favourite']} was {told['selection_bias']:.4f} better than"
    assert much in said or told["selection_bias"] <= 0
    assert re.search(rf"^ +{told['winner']} .* <- chosen$", said, re.MULTILINE)


def test_the_report_tells_of_the_winner_and_of_its_test_samples(confirmed: tuple[Path, str], before: Path) -> None:
    folder, said = confirmed
    told, report = found(folder), SweepFolder(folder / "sweep").report
    assert f"  report    {report}" in said.splitlines()
    own = next(c for c in told["candidates"] if c["trial"] == told["winner"])
    page = report.read_text()
    assert f"Confirmed: {own['score']['mean']:.4f}" in page
    assert f"Trial {told['winner']} on " in page
    assert f"A {told['test_metrics']['test_cross_a_corr_mean']:.4f}" in page
    card = json.loads((folder / "sweep" / "best" / "calibration.json").read_text())["cross_a"]
    assert f"A from B: intervals of 90% hold {card['test_coverage']:.1%} of the test values" in page
    run(before, *LEAST)
    assert not (before / "sweep" / "report.html").exists()


def test_tables_that_have_moved_are_at_hand_for_the_bundle_and_the_report(before: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(before, moved)
    settings = moved / "sweep" / "sweep.yaml"
    text = settings.read_text()
    gone = str(Path(read_yaml_mapping(settings)["data"]["platform_a"]["path"]).parent)
    settings.write_text(text.replace(gone, "/nowhere"))
    asked = [word for word in LEAST if word != "--no_report"]
    said = run(moved, *asked, "--platform_a", moved / "a.csv", "--platform_b", moved / "b.csv")
    assert "cannot say how uncertain" not in said
    assert (moved / "sweep" / "best" / "calibration.json").is_file()
    assert "of the test values" in (moved / "sweep" / "report.html").read_text()


def test_another_winner_than_the_searchs_is_exported(before: Path) -> None:
    """The record decides, as long as no trial has ended since."""
    sweep = SweepFolder(before / "sweep")
    by_score = sorted(sweep.records(), key=lambda r: -(r.score or 0))
    record = {"winner": by_score[1].number, "n_trials": len(by_score)}
    sweep.confirmation_file.write_text(json.dumps(record))
    assert sweep.best().number == by_score[1].number
    sweep.confirmation_file.write_text(json.dumps(record | {"n_trials": len(by_score) - 1}))
    assert sweep.best().number == by_score[0].number


def test_a_confirmation_is_repeated_only_as_far_as_it_was_cut_off(before: Path) -> None:
    again = SweepFolder(before / "sweep" / "confirm")
    process = subprocess.Popen(command(*ASKED), cwd=before, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ended: list[Any] = []
    end = time.monotonic() + 120
    while len(ended) < 2 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
        if again.journal.is_file():
            ended = [e for e in read_journal(again.journal) if e["event"] == "ended"]
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (before / "sweep" / "confirmed.json").exists()
    assert not list(before.rglob("test_metrics.json"))
    assert "--resume continues it" in run(before, *ASKED, status=2)
    run(before, *ASKED, "--resume")
    ends = Counter(e["trial"] for e in read_journal(again.journal) if e["event"] == "ended")
    assert ends == Counter(range(TOP * SEEDS))
    told, read_at = found(before), next(before.rglob("test_metrics.json")).stat().st_mtime_ns
    run(before, *ASKED, "--resume")
    assert found(before) == told
    assert next(before.rglob("test_metrics.json")).stat().st_mtime_ns == read_at, "the test samples are read once"
    said = run(before, *ASKED, "--seeds", SEEDS + 1, "--folds", FOLDS + 1, "--resume", status=2)
    assert "tuning.folds: 3 then, 4 now" in said
    assert "the trials to be looked at again are others" in said


def test_what_cannot_be_confirmed_is_told_before_anything_runs(before: Path) -> None:
    table = pd.read_csv(before / "a.csv", index_col=0)
    (table + 1).to_csv(before / "other.csv")
    assert "these tables are not those of the sweep" in run(before, *ASKED, "--platform_a", "other.csv", status=2)
    for weights in (before / "sweep" / "trials").glob("*/final_model.ckpt"):
        weights.unlink()
    assert "were not kept" in run(before, *ASKED, status=2)
    assert "is not a sweep folder" in run(before, "confirm", "--sweep", "nowhere", status=2)
    assert not (before / "sweep" / "confirm").exists()


def test_a_trial_that_was_stopped_is_no_candidate(before: Path) -> None:
    """Its weights are those of a few epochs: trained to its end it would not be what is exported."""
    sweep = SweepFolder(before / "sweep")
    records = sweep.records()
    best = max(records, key=lambda r: r.score or 0)
    best.state = "stopped"
    sweep.write_trials(records)
    run(before, *LEAST)
    assert found(before)["winner"] != best.number


def test_a_sweep_that_has_not_ended_is_not_confirmed(before: Path) -> None:
    sweep = SweepFolder(before / "sweep")
    records = sweep.records()
    records[-1].state = "interrupted"
    sweep.write_trials(records)
    assert "has not ended: 1 trials are unfinished" in run(before, *ASKED, status=2)
    with closing(Journal(sweep.journal)):
        assert "another process is running the sweep" in run(before, *ASKED, status=2)
    summary = json.loads(sweep.summary.read_text()) | {"ended_early": "the time budget of 1 h is spent"}
    sweep.summary.write_text(json.dumps(summary))
    run(before, *LEAST)


def test_more_than_this_machine_has_is_refused(before: Path) -> None:
    sweep = SweepFolder(before / "sweep")
    settings = read_yaml_mapping(sweep.settings_file)
    settings["config"]["tuning"]["cpus_per_trial"] = 1000
    sweep.settings_file.write_text(json.dumps(settings))
    assert "a trial asks for 1000 CPU(s)" in run(before, *ASKED, status=2)


def test_candidates_are_ordered_by_what_is_sought(before: Path) -> None:
    """Of a loss less is better, and a candidate that failed somewhere takes no part."""
    sweep = SweepFolder(before / "sweep")
    settings = read_yaml_mapping(sweep.settings_file)
    settings["config"]["tuning"]["metric"] = "val_total_loss"
    sweep.settings_file.write_text(json.dumps(settings))
    chosen = sorted(sweep.records(), key=lambda r: r.number)[:3]
    scores = {chosen[0].number: np.full((2, 3), 2.0), chosen[2].number: np.full((2, 3), 1.0)}
    candidates = compared(scores, chosen, sweep)
    assert [c.trial for c in candidates] == [chosen[2].number, chosen[0].number]
    assert [c.ties for c in candidates] == [True, False]
