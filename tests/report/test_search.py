"""What is said of a search: rungs, edges, importance, what was saved, what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_sweeps import SPACE, Made

from cpivae.names import Goal
from cpivae.report import edges, rungs, search
from cpivae.report.findings import cards
from cpivae.report.write import make_report
from cpivae.tuning import study as of_optuna
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.referee import Referee
from cpivae.tuning.study import Placed
from cpivae.tuning.summary import summarise

BEST = Goal("score", "max")


def values(i: int = 0, **more: Any) -> dict[str, Any]:
    return {"model.latent_dim": 2 + i % 15, "training.learning_rate": 0.001, "model.linear_skip": "none"} | more


def study_of(made: Made) -> of_optuna.Study:
    return of_optuna.study_of(made.ledger, made.config, SPACE)


@pytest.mark.parametrize("max_epochs", [5, 27, 50, 100])
@pytest.mark.parametrize("grace_period", [3, 5])
@pytest.mark.parametrize("reduction_factor", [2, 3])
def test_rungs_are_those_of_asha(
    max_epochs: int, grace_period: int, reduction_factor: int, make: Callable[..., Made]
) -> None:
    asha = {"tuning.asha.grace_period": grace_period, "tuning.asha.reduction_factor": reduction_factor}
    made = make(**{"tuning.max_epochs": max_epochs} | asha)
    judged = sorted(epochs for epochs in Referee(made.config, made.ledger).rungs[0] if epochs < max_epochs)
    assert rungs.rungs_of(made.config) == judged


def test_curves_that_cross_late_ask_for_a_longer_grace_period(make: Callable[..., Made]) -> None:
    made = make(**{"tuning.asha.grace_period": 2})
    for i in range(8):  # in reverse order for five epochs
        made.told(values(i), [0.1 - 0.01 * i] * 5 + [0.2 + 0.05 * i] * 4)
    found = rungs.agreements(list(made.ledger.courses.values()), 9)
    assert [round(a.correlation, 6) for a in found] == [-1.0] * 5 + [1.0] * 4
    said, figure, table = rungs.section(made.ledger, made.config, made.ledger.records[7])
    assert "Set tuning.asha.grace_period to 6" in said["advice"]
    assert "rests on 8 trials" in said["advice"]
    assert figure is not None
    assert table["rows"][0][:4] == [2, 8, 0, 8], "the best trial was the last of eight at the first rung"


def test_curves_that_never_cross_ask_for_a_shorter_one(make: Callable[..., Made]) -> None:
    made = make(**{"tuning.asha.grace_period": 6})
    for i in range(8):
        made.told(values(i), [0.1 * i + 0.001 * e for e in range(9)])
    assert "tuning.asha.grace_period=1 would save epochs" in rungs.section(made.ledger, made.config, None)[0]["advice"]


@pytest.mark.parametrize(
    ("n", "score", "said"), [(3, 0.1, "Only 3 trials ran to their end"), (7, 0.0, "have the same score")]
)
def test_too_little_to_advise_on(make: Callable[..., Made], n: int, score: float, said: str) -> None:
    made = make()
    for i in range(n):
        made.told(values(i), [score * i] * 9)
    made.told(values(), [0.3], "stopped")
    assert said in rungs.section(made.ledger, made.config, None)[0]["advice"]


def test_settings_that_nothing_orders_are_not_said_to_matter_most(make: Callable[..., Made]) -> None:
    made = make()
    for i in range(9):
        made.told(values(i), [0.1 * i] * 9)
        if i == 6:
            few = make_report(made.folder)
    assert "through the settings (of many the first eight by name)." in few
    assert "the grace period of 1 epoch the order" in few
    assert "matter most. Lines" in make_report(made.folder)
    assert "matter most. Lines" not in few


def test_a_trial_that_stopped_early_by_itself_keeps_its_score(make: Callable[..., Made]) -> None:
    made = make()
    for i in range(6):
        made.told(values(i), [0.1 * i] * (3 if i == 5 else 9))
    assert all(a.correlation == pytest.approx(1) for a in rungs.agreements(list(made.ledger.courses.values()), 9))


def placed(positions: list[float], low: float = 1e-4, high: float = 1e-1, log: bool = True) -> Placed:
    at = dict(enumerate(positions))
    return Placed("training.learning_rate", low, high, log, False, at, at)


def few(n: int) -> list[TrialRecord]:
    return [TrialRecord(i, state="complete", score=1 - i / 100) for i in range(n)]


@pytest.mark.parametrize(
    ("positions", "side"),
    [
        ([0.99, 0.97, 0.9], "high"),
        ([0.0, 0.02, 0.5], "low"),
        ([0.99, 0.5, 0.5], ""),  # the best alone is chance
        ([0.5, 0.99, 0.99], ""),  # the best is inside
        ([0.5, 0.4, 0.6], ""),
    ],
)
def test_settings_at_an_edge_are_those_where_the_best_trials_are(positions: list[float], side: str) -> None:
    found = edges.pressed([placed(positions)], few(3), n_scored=10)
    assert [p.side for p in found] == ([side] if side else [])
    assert edges.pressed([placed(positions)], few(3), n_scored=4) == []


def test_the_advice_at_an_edge_is_a_wider_range() -> None:
    (found,) = edges.pressed([placed([0.99, 0.99])], few(2), n_scored=10)
    assert "from 0.0001 to 3.2" in found.advice
    assert not found.at_limit
    (found,) = edges.pressed([placed([0, 0], low=0, high=3, log=False)], few(2), n_scored=10)
    assert found.at_limit
    assert "nothing to widen" in found.advice


def test_edges_of_any_size_can_be_read_in_one_table() -> None:
    trials = [TrialRecord(i, state="complete", score=1.0 - i / 10) for i in range(5)]
    wide = Placed("model.width", 16, 4096, True, False, dict.fromkeys(range(5), 4096.0), dict.fromkeys(range(5), 1.0))
    rate = Placed("training.learning_rate", 1e-4, 0.1, True, False, {0: 1.05e-4}, {0: 0.01})
    table = edges.section([wide, rate], trials, BEST)[2]
    assert [row[:4] for row in table["rows"]] == [
        ["model.width", "high", "4096", "4096"],
        ["training.learning_rate", "low", "0.000105", "0.0001"],
    ]


def test_positions_are_on_the_scale_of_the_range(make: Callable[..., Made]) -> None:
    made = make()
    made.told({}, [0.1])
    made.told(values(**{"training.learning_rate": 1e-4}), [0.1])
    made.told(values(7, **{"training.learning_rate": 10**-2.5}), [0.2])
    along = {p.name: p for p in of_optuna.placed(study_of(made), made.ledger.records)}
    assert set(along) == {"model.latent_dim", "training.learning_rate"}, "a choice of words has no edge"
    assert along["training.learning_rate"].positions[1] == pytest.approx(0)
    assert along["training.learning_rate"].positions[2] == pytest.approx(0.5)
    assert along["model.latent_dim"].positions[2] == pytest.approx(0.5)


def test_importance_finds_the_setting_that_matters(make: Callable[..., Made]) -> None:
    made, random = make(), np.random.default_rng(0)
    for i in range(30):
        rate = float(10 ** random.uniform(-4, -1))
        chosen = values(int(random.integers(15)), **{"training.learning_rate": rate})
        made.told(chosen, [1 - abs(np.log10(rate) + 2.5)], "complete" if i < 28 else "stopped")
    study = of_optuna.for_plots(study_of(made))
    assert of_optuna.n_complete(study) == 28
    assert next(iter(of_optuna.importance(study))) == "training.learning_rate"
    plot = of_optuna.parallel_plot(study, "score", ["training.learning_rate", "model.latent_dim"])
    assert plot["layout"]["xaxis"]["ticktext"] == ["score", "model.latent_dim", "training.learning_rate"]


def test_plots_of_a_long_sweep_are_made_of_the_best_and_the_latest(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_optuna, "MAX_TRIALS", 6)
    made = make()
    for i in range(20):
        made.told(values(i), [1.0 if i in (2, 5, 7) else 0.1])
    slim = of_optuna.for_plots(study_of(made))
    assert sorted(t.value for t in slim.trials) == [0.1] * 3 + [1.0] * 3


def test_hours_saved_are_at_the_pace_of_each_trial() -> None:
    records = [
        TrialRecord(0, state="stopped", epochs=2, seconds=7200),  # 1 h an epoch, 8 to go
        TrialRecord(1, state="stopped", epochs=5, seconds=1800),  # .1 h an epoch, 5 to go
        TrialRecord(2, state="complete", epochs=10, seconds=3600),
        TrialRecord(3, state="failed", epochs=1, seconds=3600),
    ]
    assert search.saved_hours(records, "stopped", 10) == pytest.approx(8.5)
    assert search.saved_hours(records, "complete", 10) == 0


def test_failures_are_counted_by_class_with_what_to_do() -> None:
    records = [TrialRecord(i, state="failed", failure="code_error", error=f"E{i}") for i in (3, 4)]
    records.append(TrialRecord(5, state="diverged", failure="diverged", error="inf"))
    found = search.failures(records)
    assert [(f["class"], f["trials"], f["example"]) for f in found] == [("code error", 2, "E3"), ("diverged", 1, "inf")]
    assert all(f["remedy"] for f in found)
    assert search.failures([TrialRecord(0, state="complete")]) == []
    rows = search.table_of_failures(found)["rows"]
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("code error", 2, "3, 4", "E3"),
        ("diverged", 1, "5", "inf"),
    ]
    many = search.failures([TrialRecord(i, state="diverged", failure="diverged") for i in range(21)])
    assert search.table_of_failures(many)["rows"][0][2].endswith("18, 19 …")


def test_of_very_many_curves_the_best_and_the_latest_are_drawn(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_CURVES", 4)
    made = make()
    for i in range(10):
        made.told(values(i), [1.0 - i / 10])
    figure, note = search.curves(made.ledger, BEST, [])
    assert figure is not None
    drawn = {text for trace in figure["data"] for text in trace["text"] if text}
    assert drawn == {"trial 0", "trial 1", "trial 8", "trial 9"}
    assert "4 of 10 trials are drawn" in note


def test_cards_tell_the_gain_and_its_base(make: Callable[..., Made]) -> None:
    made = make()
    made.told({}, [0.1, 0.2])
    made.told(values(), [0.1, 0.5])
    records = made.ledger.records
    told = {c["name"]: c for c in cards(summarise(made.ledger, made.config), records[1], 30, records, 9)}
    assert told["Best score"]["value"] == "0.5000"
    assert told["Best score"]["note"] == "trial 1, after 2 epochs"
    assert told["Gained over the base config"]["value"] == "+0.3000"
    assert told["Trials ended"]["value"] == "2 of 30"
