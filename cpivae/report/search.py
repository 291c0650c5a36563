"""How the search went: its history, learning curves, trials, what was spent and what was saved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from cpivae.config.load import to_plain, with_values
from cpivae.config.schema import Config
from cpivae.names import Goal
from cpivae.report import figures as fig
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import BASE, SCORED, TrialRecord

MAX_CURVES = 300
"""Learning curves that are drawn: the best half of them and the latest."""

_REMEDIES: Final = {
    "diverged": "A loss was no longer finite. Lower the upper end of training.learning_rate, or of the loss weights.",
    "out_of_memory": "The configuration is too large. Narrow layers or batch size, or give a trial more of a GPU.",
    "lost_worker": "The process of the trial was gone: often memory of the machine, or a node that was taken away.",
    "timed_out": "No epoch was finished in tuning.timeout_minutes. The traceback in errors/ says where it hung.",
    "code_error": "An exception. The traceback in errors/ says where; the same settings would fail again.",
}


def history(ledger: Ledger, goal: Goal) -> fig.Figure | None:
    """Draw every trial's score in the order in which the trials were proposed, and the best so far."""
    scored = [r for r in ledger.records if r.score is not None]
    if not scored:
        return None
    best: list[float] = []
    for record in scored:
        assert record.score is not None
        counts = record.state in SCORED
        so_far = best[-1] if best else record.score
        best.append(record.score if counts and goal.better(record.score, so_far) else so_far)
    traces = [fig.line([r.number for r in scored], best, "best so far", fig.GOOD, line={"shape": "hv"})]
    for state in dict.fromkeys(r.state for r in scored):
        of_state = [r for r in scored if r.state == state]
        text = [f"trial {r.number}, {r.epochs} epochs, {fig.label(r.origin)}" for r in of_state]
        hover = "%{text}<br>%{y:.4f}<extra></extra>"
        color = fig.OF_STATE[state]
        traces.append(
            fig.points(
                [r.number for r in of_state],
                [r.score for r in of_state],
                fig.told(state),
                color,
                text=text,
                hovertemplate=hover,
            )
        )
    base = next((r.score for r in scored if r.origin == BASE), None)
    shapes = []
    if base is not None:
        level = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": base, "y1": base}
        shapes = [level | {"line": {"color": fig.MUTED, "dash": "dot", "width": 1.5}}]
        traces.append(fig.line([None], [None], "base config", fig.MUTED, line={"dash": "dot", "width": 1.5}))
    return fig.figure(traces, x="trial", y=goal.metric, shapes=shapes)


def curves(ledger: Ledger, goal: Goal, rungs: Sequence[int]) -> tuple[fig.Figure | None, str]:
    """Draw the best score so far over epochs, which is what ASHA compares; also say what is left out."""
    having = [c for c in ledger.courses.values() if c.scores]
    if not having:
        return None, ""
    shown, note = having, ""
    if len(having) > MAX_CURVES:
        by_score = sorted(having, key=lambda c: max(goal.sign * s for s in c.scores.values()), reverse=True)
        chosen = {c.record.number for c in by_score[: MAX_CURVES // 2]}
        latest = [c.record.number for c in having if c.record.number not in chosen]
        chosen |= set(latest[-(MAX_CURVES - len(chosen)) :])
        shown = [c for c in having if c.record.number in chosen]
        note = f"{len(shown)} of {len(having)} trials are drawn: the best and the latest. "
    traces = []
    for state in sorted({c.record.state for c in shown}, key=list(fig.OF_STATE).index, reverse=True):
        x: list[Any] = []
        y: list[Any] = []
        text: list[Any] = []
        of_state = [c for c in shown if c.record.state == state]
        for course in of_state:
            epochs = sorted(course.scores)
            x += [*(e + 1 for e in epochs), None]
            y += [*(course.scores[e] for e in epochs), None]
            text += [*(f"trial {course.record.number}" for _ in epochs), None]
        more = {"text": text, "hovertemplate": "%{text}, epoch %{x}<br>%{y:.4f}<extra></extra>", "opacity": 0.75}
        traces.append(
            fig.line(x, y, f"{fig.told(state)} ({len(of_state)})", fig.OF_STATE[state], line={"width": 1.3}, **more)
        )
        if all(len(c.scores) == 1 for c in of_state):
            traces[-1]["mode"] = "markers"  # a line of one point is not seen
    vertical = {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": fig.LINE, "width": 1, "dash": "dash"},
    }
    shapes = [vertical | {"x0": rung, "x1": rung} for rung in rungs]
    return fig.figure(traces, x="epochs trained", y=f"best {goal.metric} so far", shapes=shapes, height=400), note


def saved_hours(records: Sequence[TrialRecord], state: str, max_epochs: int) -> float:
    """Return the hours that trials would have gone on for, at the pace that each of them had."""
    ended = [r for r in records if r.state == state and r.epochs]
    return sum((max_epochs - r.epochs) * r.seconds / r.epochs for r in ended) / 3600


def failures(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return what went wrong, by class, the most frequent first, with what to do about it."""
    counts = Counter(r.failure for r in records if r.failure)
    return [
        {
            "class": failure.replace("_", " "),
            "trials": n,
            "numbers": [r.number for r in records if r.failure == failure][:20],
            "example": next((r.error for r in records if r.failure == failure and r.error), ""),
            "remedy": _REMEDIES[failure],
        }
        for failure, n in counts.most_common()
    ]


def table_of_failures(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the table of what :func:`failures` has found."""
    rows = []
    for f in found:
        which = ", ".join(map(str, f["numbers"])) + (" …" if f["trials"] > len(f["numbers"]) else "")
        rows.append([f["class"], f["trials"], which, f["remedy"], f["example"]])
    columns = ["class", "trials", "which", "what to do", "an example"]
    return {"file": "failures.csv", "columns": columns, "rows": rows}


def settings(config: Config, best: TrialRecord) -> dict[str, Any]:
    """Return the table of every searched setting of the best trial beside the base config's, bold where they differ."""
    plain, tuned = to_plain(config), to_plain(with_values(config, best.values))
    rows = [[name, _at(plain, name), _at(tuned, name)] for name in best.values]
    return {
        "file": "best_settings.csv",
        "columns": ["setting", "base config", f"trial {best.number}"],
        "rows": rows,
        "bold": [i for i, (_, base, of_best) in enumerate(rows) if base != of_best],
    }


def trials(records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return the table of all trials."""
    names = list(dict.fromkeys(name for r in records for name in r.values))
    columns = [
        "trial",
        "state",
        "score",
        "score_sd",
        "best epoch",
        "epochs",
        "seconds",
        "origin",
        "failure",
        "error",
        *names,
    ]
    rows = [
        [
            r.number,
            r.state,
            r.score,
            r.score_sd,
            r.best_epoch,
            r.epochs,
            round(r.seconds, 1),
            r.origin,
            r.failure,
            r.error,
        ]
        + [written(r.values[name]) if name in r.values else None for name in names]
        for r in records
    ]
    having = [i for i, _ in enumerate(columns) if i == 0 or any(row[i] not in (None, "") for row in rows)]
    return {
        "file": "trials.csv",
        "columns": [columns[i] for i in having],
        "rows": [[row[i] for i in having] for row in rows],
    }


def written(value: Any) -> Any:
    """Write a setting's value: numbers as they are, all else as text."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)


def _at(plain: dict[str, Any], path: str) -> str:
    found: Any = plain
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, float):
        return f"{found:.4g}"
    return "" if found is None else str(written(found))  # a column of both numbers and words has no common decimals
