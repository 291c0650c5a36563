"""Would ASHA have been right?  How well the order of trials after some epochs is their order in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from cpivae.config.schema import Config
from cpivae.config.tuning import GRACE_AFTER_RAMPS
from cpivae.names import Goal, plural
from cpivae.report import figures as fig
from cpivae.tuning.ledger import Course, Ledger
from cpivae.tuning.record import TrialRecord

MIN_TRIALS = 6
"""Trials that ran to their end, below which a rank correlation says nothing."""
ENOUGH = 0.7
"""Rank correlation with the final order from which stopping early is mostly right."""


class Agreement(NamedTuple):
    """How well trials are ordered after so many epochs."""

    epoch: int
    """Epochs trained."""
    correlation: float
    """Spearman's, with the final scores; NaN where all are equal."""
    low: float
    high: float
    """95 % interval, by Fisher's transformation."""


def rungs_of(config: Config) -> list[int]:
    """Return the epochs at which trials are compared."""
    asha, end = config.tuning.asha, min(config.tuning.asha.max_t or config.tuning.max_epochs, config.tuning.max_epochs)
    rungs = [config.grace_period()]
    while rungs[-1] * asha.reduction_factor < end:
        rungs.append(rungs[-1] * asha.reduction_factor)
    return [rung for rung in rungs if rung < config.tuning.max_epochs]


def agreements(courses: Sequence[Course], max_epochs: int) -> list[Agreement]:
    """Compare the order of trials after every epoch with the final one.

    Of trials that ran to their end alone, because no other has a final score.  After its last epoch a trial keeps its
    score, so that all epochs are judged on the same trials.
    """
    ended = [c for c in courses if c.record.state == "complete" and c.scores]
    if len(ended) < MIN_TRIALS:
        return []
    paths = np.array([_filled(course, max_epochs) for course in ended])
    return [_agreement(epoch, paths[:, epoch - 1], paths[:, -1]) for epoch in range(1, max_epochs + 1)]


def advice(found: Sequence[Agreement], config: Config, n: int) -> str:
    """Say what the grace period should be, and on how much that rests."""
    grace, least = config.grace_period(), config.epochs_of_ramps()
    least = max(1, least + GRACE_AFTER_RAMPS if least else 1)
    if not found:
        return (
            f"Only {n} trials ran to their end, and fewer than {MIN_TRIALS} cannot show whether the grace period of "
            f"{plural(grace, 'epoch')} fits. More trials, or a smaller tuning.asha.reduction_factor, would."
        )
    rests = f"This rests on {n} trials that ran to their end."
    known = [a for a in found if not math.isnan(a.correlation)]
    if not known:
        return f"All {n} trials that ran to their end have the same score: there is no order to miss. {rests}"
    low = [a.epoch for a in known if a.correlation < ENOUGH]
    steady = max(least, low[-1] + 1 if low else 1)
    at_grace = found[grace - 1].correlation
    now = (
        f"After the grace period of {plural(grace, 'epoch')} the order of the trials agrees with the final one to "
        f"{at_grace:.2f} (1 is the same order)."
    )
    if at_grace < ENOUGH and steady > grace:
        return (
            f"{now} That is low: good trials may have been stopped. Set tuning.asha.grace_period to {steady}. {rests}"
        )
    if steady <= grace / 2:
        return f"{now} It would be as good after {steady}: tuning.asha.grace_period={steady} would save epochs. {rests}"
    return f"{now} The grace period fits. {rests}"


def section(
    ledger: Ledger, config: Config, best: TrialRecord | None
) -> tuple[dict[str, Any], fig.Figure | None, dict[str, Any]]:
    """Return what the page says of rungs, their figure and their table."""
    courses, goal = list(ledger.courses.values()), config.tuning.goal()
    n = sum(c.record.state == "complete" and bool(c.scores) for c in courses)
    found = agreements(courses, config.tuning.max_epochs)
    rungs = rungs_of(config)
    rows = [_rung(rung, courses, found, goal, best) for rung in rungs]
    told = {"n": n, "advice": advice(found, config, n), "rungs": rungs, "enough": ENOUGH}
    columns = [
        "epochs", "trials compared", "stopped here", "place of the best trial", "rank correlation", "95 % from", "to",
    ]  # fmt: skip
    return told, _figure(found, rungs) if found else None, {"file": "rungs.csv", "columns": columns, "rows": rows}


def _rung(
    rung: int, courses: Sequence[Course], found: Sequence[Agreement], goal: Goal, best: TrialRecord | None
) -> list[Any]:
    reached = {c.record.number: c.scores[rung - 1] for c in courses if rung - 1 in c.scores}
    stopped = sum(c.record.state == "stopped" and c.record.epochs == rung for c in courses)
    place = None
    if best is not None and best.number in reached:
        place = 1 + sum(goal.sign * score > goal.sign * reached[best.number] for score in reached.values())
    agreement = found[rung - 1][1:] if found else (None, None, None)
    return [rung, len(reached), stopped, place, *agreement]


def _filled(course: Course, n: int) -> list[float]:
    path, score = [], math.nan
    for epoch in range(n):
        score = course.scores.get(epoch, score)
        path.append(score)
    # A resumed trial may lack its first epochs: nothing better is known of them than the first that was reported.
    return [next(iter(course.scores.values())) if math.isnan(s) else s for s in path]


def _agreement(epoch: int, then: np.ndarray, final: np.ndarray) -> Agreement:
    if np.ptp(then) == 0 or np.ptp(final) == 0:
        return Agreement(epoch, math.nan, math.nan, math.nan)
    r = float(np.corrcoef(rankdata(then), rankdata(final))[0, 1])
    z, half = math.atanh(min(max(r, -0.999999), 0.999999)), 1.96 / math.sqrt(len(then) - 3)
    return Agreement(epoch, r, math.tanh(z - half), math.tanh(z + half))


def _figure(found: Sequence[Agreement], rungs: Sequence[int]) -> fig.Figure:
    epochs = [a.epoch for a in found]
    band = [*(a.high for a in found), *(a.low for a in reversed(found))]
    traces = [
        {
            "type": "scatter", "x": [*epochs, *reversed(epochs)], "y": band, "fill": "toself",
            "fillcolor": "--accent-soft", "line": {"width": 0}, "hoverinfo": "skip", "name": "95 % interval",
            "mode": "lines",
        },
        fig.line(epochs, [a.correlation for a in found], "rank correlation", fig.ACCENT),
        fig.points(rungs, [found[rung - 1].correlation for rung in rungs], "rungs", fig.WARN, marker={"size": 11}),
    ]  # fmt: skip
    dash = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": ENOUGH, "y1": ENOUGH}
    shapes = [dash | {"line": {"color": fig.MUTED, "width": 1, "dash": "dot"}}]
    return fig.figure(
        traces,
        x="epochs trained",
        y="rank correlation with the final scores",
        shapes=shapes,
        yaxis={"range": [-1, 1.05]},
    )
