"""Figures show what they are of, in the colours that stand for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_sweeps import Made

from cpivae.names import Goal
from cpivae.report import edges, proteins, search
from cpivae.report.figures import Figure
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.study import Placed

VALUES = {"model.latent_dim": 4, "training.learning_rate": 0.001, "model.linear_skip": "none"}


def by_name(figure: Figure | None) -> dict[str, dict[str, Any]]:
    """Return the traces by their names, in the order of the legend."""
    assert figure is not None
    return {trace["name"]: trace for trace in figure["data"]}


@pytest.fixture
def made(make: Callable[..., Made]) -> Made:
    """A sweep with a trial of every fate."""
    sweep = make()
    sweep.told({}, [0.1, 0.2])
    sweep.told(VALUES, [0.15], "stopped")
    sweep.told(VALUES, [0.1, 0.3, 0.5])
    sweep.told(VALUES, [0.8, 0.9], "failed", "code_error", "E")
    sweep.told(VALUES, [0.05], "diverged", "diverged", "inf")
    sweep.told(VALUES, [0.4, 0.6], "stopped")
    sweep.told(VALUES, [0.7, 0.95], "running")
    return sweep


@pytest.mark.parametrize(("mode", "best"), [("max", [0.2, 0.2, 0.5, 0.6, 0.6]), ("min", [0.2, 0.15, 0.15, 0.15, 0.15])])
def test_the_history_has_every_score_the_best_so_far_and_the_base_config(
    made: Made, mode: Any, best: list[float]
) -> None:
    figure = search.history(made.ledger, Goal("score", mode))
    traces = by_name(figure)
    assert figure is not None
    assert list(traces) == [
        "best so far", "ran to its end", "stopped by ASHA", "running", "base config",
    ], "a trial that failed has no score"  # fmt: skip
    assert traces["best so far"]["x"] == [0, 1, 2, 5, 6]
    assert traces["best so far"]["y"] == best, "a trial that has not ended is not the best"
    assert traces["best so far"]["line"]["color"] == "--good"
    points = {
        "ran to its end": ([0, 2], [0.2, 0.5], "--accent"),
        "stopped by ASHA": ([1, 5], [0.15, 0.6], "--warn"),
        "running": ([6], [0.95], "--second"),
    }
    for name, (x, y, color) in points.items():
        trace = traces[name]
        assert (trace["mode"], trace["x"], trace["y"], trace["marker"]["color"]) == ("markers", x, y, color)
    assert traces["ran to its end"]["text"] == ["trial 0, 2 epochs, base config", "trial 2, 3 epochs, tpe"]
    (level,) = figure["layout"]["shapes"]
    assert (level["y0"], level["y1"]) == (0.2, 0.2)
    assert level["line"]["color"] == traces["base config"]["line"]["color"] == "--muted"


def test_without_a_score_of_the_base_config_the_history_has_no_line_for_it(make: Callable[..., Made]) -> None:
    made = make()
    made.told({}, [], "failed", "code_error", "E")
    made.told(VALUES, [0.3])
    figure = search.history(made.ledger, Goal("score", "max"))
    assert figure is not None
    assert figure["layout"]["shapes"] == []
    assert "base config" not in by_name(figure)


def test_learning_curves_have_the_colour_of_what_became_of_the_trial(made: Made) -> None:
    figure, note = search.curves(made.ledger, Goal("score", "max"), [1, 3])
    traces = by_name(figure)
    assert {name: trace["line"]["color"] for name, trace in traces.items()} == {
        "failed (1)": "--bad",
        "diverged (1)": "--bad",
        "running (1)": "--second",
        "stopped by ASHA (2)": "--warn",
        "ran to its end (2)": "--accent",
    }
    assert list(traces)[-1] == "ran to its end (2)", "drawn last, above the others"
    stopped = traces["stopped by ASHA (2)"]
    assert (stopped["x"], stopped["y"]) == ([1, None, 1, 2, None], [0.15, None, 0.4, 0.6, None])
    assert traces["ran to its end (2)"]["y"] == [0.1, 0.2, None, 0.1, 0.3, 0.5, None]
    assert (stopped["mode"], traces["diverged (1)"]["mode"]) == ("lines", "markers"), "one point makes no line"
    assert figure is not None
    assert [(s["x0"], s["x1"], s["line"]["dash"]) for s in figure["layout"]["shapes"]] == [
        (1, 1, "dash"), (3, 3, "dash"),
    ]  # fmt: skip
    assert note == ""


def test_the_histogram_has_the_shares_of_proteins_in_both_directions() -> None:
    of_a = pd.DataFrame({"corr": [0.91, 0.93, 0.52, -0.48]})
    of_b = pd.DataFrame({"corr": [0.72, np.nan, 0.12]})
    figure = proteins.histogram({"a": of_a, "b": of_b})
    traces = by_name(figure)
    assert list(traces) == ["A from B", "B from A"]
    assert [trace["marker"]["color"] for trace in traces.values()] == ["--accent", "--second"]

    def shares(trace: dict[str, Any]) -> dict[float, float]:
        both = zip(trace["x"].round(3), trace["y"], strict=True)
        return {float(middle): float(share) for middle, share in both if share}

    assert shares(traces["A from B"]) == pytest.approx({-0.475: 0.25, 0.525: 0.25, 0.925: 0.5})
    assert shares(traces["B from A"]) == pytest.approx({0.125: 0.5, 0.725: 0.5}), "of those that have a correlation"
    assert figure["layout"]["barmode"] == "overlay"
    assert figure["layout"]["xaxis"]["range"] == pytest.approx([-0.51, 1.03])


def test_the_figure_of_edges_has_the_best_few_where_they_lie_in_each_range() -> None:
    trials = [TrialRecord(i, state="complete", score=score) for i, score in enumerate([0.1, 0.7, 0.9, 0.8, 0.2])]
    wide = Placed("model.width", 0, 100, False, False, {i: 25.0 * i for i in range(5)}, {i: i / 4 for i in range(5)})
    rate = Placed("training.rate", 0, 1, False, False, {2: 0.9, 4: 0.1}, {2: 0.9, 4: 0.1})
    figure = edges.section([wide, rate], trials, Goal("score", "max"))[1]
    traces = by_name(figure)
    assert figure is not None
    others, best = traces["best 3 trials"], traces["best trial"]
    assert (others["x"], others["y"]) == ([0.75, 0.25], ["model.width", "model.width"])
    assert (best["x"], best["y"]) == ([0.9, 0.5], ["training.rate", "model.width"]), "the first setting is on top"
    assert best["text"] == ["trial 2: 0.9 (0 to 1)", "trial 2: 50 (0 to 100)"]
    assert (others["marker"]["color"], best["marker"]["color"]) == ("--muted", "--accent")
    assert [(s["x0"], s["x1"], s["fillcolor"]) for s in figure["layout"]["shapes"]] == [
        (-0.02, 0.05, "--bad-soft"), (0.95, 1.02, "--bad-soft"),
    ]  # fmt: skip
