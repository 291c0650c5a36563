"""What a reader should know first, in sentences, the gravest first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from cpivae.names import plural
from cpivae.report.search import saved_hours
from cpivae.terminal.times import in_words
from cpivae.tuning.record import BASE, TrialRecord


class Finding(NamedTuple):
    """Something to know, and to do."""

    kind: str
    """bad, warn, good or info."""
    head: str
    text: str
    command: str = ""


_ORDER = ("bad", "warn", "good", "info")


def in_order(found: Sequence[Finding]) -> list[Finding]:
    """Sort findings by how grave they are, and otherwise leave them as they are."""
    return sorted(found, key=lambda finding: _ORDER.index(finding.kind))


def of_search(
    summary: dict[str, Any],
    best: TrialRecord | None,
    confirmed: dict[str, Any],
    sweep: str,
    n_ended: int,
) -> list[Finding]:
    """Say what tuning has gained, and how far to believe it."""
    if best is None or best.score is None:
        return [Finding("warn", "No trial has a score yet.", "Make the report again when one has ended.")]
    found = [_gain(summary, best)]
    if confirmed:
        own = next(c for c in confirmed["candidates"] if c["trial"] == confirmed["winner"])
        score = own["score"]
        found.append(
            Finding(
                "good",
                f"Confirmed: {score['mean']:.4f} ({score['low']:.4f} to {score['high']:.4f}).",
                f"On {plural(confirmed['folds'], 'fold')} x {plural(confirmed['seeds'], 'seed')} that the search had "
                f"not used; the search had said {own['search_score']:.4f}. Believe the confirmed figure.",
            )
        )
    elif "running" not in summary["trials"]:  # before that a confirmation is refused
        told = "The trial was chosen for this very score, so some of it is luck. Another look tells what it is worth:"
        found.append(
            Finding(
                "info",
                f"The best of {n_ended} scores is too good.",
                told,
                shlex.join(["cpivae", "confirm", "--sweep", sweep]),
            )
        )
    if best.state == "stopped":
        text = f"After {best.epochs} epochs too many others were ahead; trained on, it may be better still."
        found.append(Finding("info", "ASHA stopped the best trial.", text))
    return found


def _gain(summary: dict[str, Any], best: TrialRecord) -> Finding:
    gained, base = summary["gained_over_base"], summary["base_score"]
    if gained is None:
        return Finding(
            "info", f"Trial {best.number} is best: {best.score:.4f}.", "The base config has no score to set beside it."
        )
    if best.origin == BASE:
        so_far = " so far" if "running" in summary["trials"] else ""
        advice = "Give the search more trials, or a space around the base config."
        return Finding("warn", f"Nothing was better than the base config{so_far} ({base:.4f}).", advice)
    if gained <= 0:
        return Finding(
            "warn",
            "Tuning has gained nothing.",
            f"The base config has {base:.4f}, trial {best.number} {best.score:.4f}.",
        )
    return Finding(
        "good",
        f"Tuning has gained {gained:.4f}.",
        f"From {base:.4f} with the base config to {best.score:.4f} in trial {best.number}.",
    )


def of_settings(rungs: dict[str, Any], edges: dict[str, Any], failed: Sequence[dict[str, Any]]) -> list[Finding]:
    """Say what to change before the next search."""
    found = []
    if wider := [p["name"] for p in edges["pressed"] if not p["at_limit"]]:
        names = ", ".join(wider)
        found.append(
            Finding(
                "warn", "At the edge of the space:", f"{names}. Widen it there, and search again with --from_sweep."
            )
        )
    if "That is low" in rungs["advice"]:
        found.append(Finding("warn", "The grace period may be too short.", rungs["advice"]))
    if failed:
        told = ", ".join(f"{f['trials']} {f['class']}" for f in failed)
        found.append(Finding("warn", "Trials have failed:", f"{told}. The tab Trials says what to do."))
    return found


def cards(
    summary: dict[str, Any], best: TrialRecord | None, n_trials: int, records: Sequence[TrialRecord], most: int
) -> list[dict[str, str]]:
    """Return the figures that stand at the top."""
    score = "–" if best is None or best.score is None else f"{best.score:.4f}"
    sd = "" if best is None or best.score_sd is None else f", sd {best.score_sd:.4f} over folds"
    base, gained = summary["base_score"], summary["gained_over_base"]
    ended = sum(r.state not in ("running", "interrupted") for r in records)
    states = ", ".join(f"{n} {state}" for state, n in summary["trials"].items()) or "none yet"
    saved = saved_hours(records, "stopped", most) + saved_hours(records, "complete", most)
    epochs = summary["epochs"]
    return [
        {
            "name": "Best score",
            "value": score,
            "note": "no trial yet"
            if best is None
            else f"trial {best.number}, after {plural((best.best_epoch or 0) + 1, 'epoch')}{sd}",
        },
        {
            "name": "Gained over the base config",
            "value": "–" if gained is None else f"{gained:+.4f}",
            "note": "it has no score" if base is None else f"which has {base:.4f}",
        },
        {"name": "Trials ended", "value": f"{ended} of {n_trials}", "note": states},
        {
            "name": "Saved by stopping early",
            "value": in_words(3600 * saved),
            "note": f"{epochs['saved_by_asha'] + epochs['saved_by_early_stopping']} of {epochs['at_most']} epochs",
        },
    ]


def spent(summary: dict[str, Any], records: Sequence[TrialRecord], most: int) -> list[dict[str, str]]:
    """Return what was spent and what was saved."""
    epochs = summary["epochs"]
    if not epochs["at_most"]:
        return []
    per = f"{summary['gpu_hours']:.2f} GPU hours" if summary["gpu_hours"] else "on CPUs"
    return [
        {
            "name": "Epochs trained",
            "value": f"{epochs['trained']:,}",
            "note": f"{epochs['trained'] / epochs['at_most']:.0%} of at most {epochs['at_most']:,}",
        },
        {"name": "Time of all trials", "value": in_words(3600 * summary["trial_hours"]), "note": per},
        {
            "name": "Saved by ASHA",
            "value": in_words(3600 * saved_hours(records, "stopped", most)),
            "note": f"{epochs['saved_by_asha']:,} epochs, at the pace of the trials it stopped",
        },
        {
            "name": "Saved by early stopping",
            "value": in_words(3600 * saved_hours(records, "complete", most)),
            "note": f"{epochs['saved_by_early_stopping']:,} epochs of trials that got no better",
        },
    ]
