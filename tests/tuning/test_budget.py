"""What ends a sweep before all its trials are done, however many processes it took."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cpivae.config.load import make_config
from cpivae.errors import ResourceError
from cpivae.names import Goal
from cpivae.tuning.budget import Stopper
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.sweep import sweep_config


def ledger_of(path: Path, *events: dict[str, Any]) -> Ledger:
    path.mkdir()
    folder = SweepFolder(path)
    folder.journal.write_text("".join(json.dumps(e) + "\n" for e in events))
    with closing(Journal(folder.journal)) as journal:
        ledger = Ledger(folder, Goal("val_cross_a_corr_mean", "max"), None, journal)
        ledger.replay(read_journal(folder.journal))
        ledger.start()
    return ledger


def events(*starts_and_ends: tuple[float, float]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for number, (start, end) in enumerate(starts_and_ends):
        told += [
            {"time": start, "event": "started"},
            {"time": start + 1, "event": "proposed", "trial": number, "values": {}, "seed": 1, "origin": "tpe"},
            {"time": end, "event": "ended", "trial": number, "state": "complete", "failure": "", "error": ""},
        ]
    return told


def test_the_time_budget_is_of_all_processes_of_a_sweep_and_not_of_the_time_between_them(tmp_path: Path) -> None:
    now = time.time()
    ledger = ledger_of(tmp_path / "sweep", *events((now - 90_000, now - 89_000), (now - 5000, now - 4000)))
    assert 2000 <= ledger.seconds < 2010
    spent = 2000 / 3600
    for budget, ends in ((spent - 0.01, True), (spent + 0.01, False)):
        tuning = make_config({"tuning": {"time_budget": budget}}, "test").tuning
        assert bool(Stopper(tuning, ledger).reason()) is ends


def test_a_journal_without_starts_counts_from_its_first_event(tmp_path: Path) -> None:
    told = [e for e in events((1000.0, 1060.0)) if e["event"] != "started"]
    assert ledger_of(tmp_path / "sweep", *told).seconds == 59


def test_gpu_hours_are_those_of_what_a_trial_had_of_a_gpu_while_it_had_it(tmp_path: Path) -> None:
    trial = {"trial": 0}
    told = [
        {"time": 0, "event": "started", "gpus": [0.25, 1]},
        {"time": 0, "event": "proposed", **trial, "values": {}, "seed": 1, "origin": "tpe"},
        {"time": 100, "event": "began", **trial},
        {"time": 1900, "event": "out_of_memory", **trial, "error": "no room"},
        {"time": 2500, "event": "began", **trial},
        {"time": 6100, "event": "ended", **trial, "state": "complete", "failure": "", "error": ""},
    ]
    ledger = ledger_of(tmp_path / "sweep", *told)
    hours = 0.25 * 0.5 + 1  # half an hour on a quarter, then one on the whole
    assert ledger.gpu_hours == hours
    for budget, ends in ((hours - 0.01, True), (hours + 0.01, False)):
        asked = make_config({"tuning": {"gpus_per_trial": 0.25, "gpu_hours": budget}}, "test").tuning
        assert bool(Stopper(asked, ledger).reason()) is ends


def test_a_sweep_that_goes_on_with_other_gpus_has_spent_what_it_has(tmp_path: Path) -> None:
    trial = {"trial": 0}
    told = [
        {"time": 0, "event": "started", "gpus": [0.5, 1]},
        {"time": 0, "event": "proposed", **trial, "values": {}, "seed": 1, "origin": "tpe"},
        {"time": 0, "event": "began", **trial},
        {"time": 3600, "event": "epoch", **trial, "epoch": 0, "score": 0.5, "best_epoch": 0},
        {"time": 9000, "event": "started", "gpus": [0, 0]},
        {"time": 9000, "event": "began", **trial},
        {"time": 12_600, "event": "epoch", **trial, "epoch": 1, "score": 0.5, "best_epoch": 0},
        {"time": 20_000, "event": "started", "gpus": [1, 1]},
        {"time": 20_000, "event": "began", **trial},
        {"time": 27_200, "event": "ended", **trial, "state": "complete", "failure": "", "error": ""},
    ]
    assert ledger_of(tmp_path / "sweep", *told).gpu_hours == 0.5 + 0 + 2


def test_what_nobody_computed_is_not_spent(tmp_path: Path) -> None:
    trial, lost = {"trial": 0}, {"event": "lost_worker", "trial": 0, "error": "gone"}
    told = [
        {"time": 0, "event": "started", "gpus": [0.5, 1]},
        {"time": 0, "event": "proposed", **trial, "values": {}, "seed": 1, "origin": "tpe"},
        {"time": 0, "event": "began", **trial},
        {"time": 1800, "event": "epoch", **trial, "epoch": 0, "score": 0.5, "best_epoch": 0},
        {"time": 600_000, "event": "started", "gpus": [0.5, 1]},  # a week later
        {"time": 600_010, **lost},  # before it had begun
        {"time": 603_610, **lost},
        {"time": 603_610, "event": "began", **trial},
        {"time": 605_410, "event": "out_of_memory", **trial, "error": "no room"},
        {"time": 700_000, "event": "began", **trial},
        {"time": 701_800, "event": "ended", **trial, "state": "complete", "failure": "", "error": ""},
    ]
    ledger = ledger_of(tmp_path / "sweep", *told)
    assert ledger.records[0].seconds == 3 * 1800
    assert ledger.gpu_hours == 0.25 + 0.25 + 0.5


def test_gpu_hours_of_trials_without_a_gpu_are_refused() -> None:
    with pytest.raises(ResourceError, match=r"gpu_hours is 10, but trials get no GPU.*--time_budget instead"):
        sweep_config(make_config({"tuning": {"gpu_hours": 10, "gpus_per_trial": 0}}, "test"))
