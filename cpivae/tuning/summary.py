"""What a sweep came to: the gain over the base config, what was spent, and what stopping early has saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cpivae.config.schema import Config
from cpivae.terminal.times import in_words
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import BASE, TrialRecord, ranked


def summarise(ledger: Ledger, config: Config, reason: str = "") -> dict[str, Any]:
    """Return the sweep's sums as plain data, for ``summary.json``; ``reason``: why it ended early, if it did."""
    records, goal, tuning = ledger.records, config.tuning.goal(), config.tuning
    best = next(iter(ranked(records, goal)), None)
    base = next((r for r in records if r.origin == BASE and r.score is not None), None)
    score, base_score = (None if r is None else r.score for r in (best, base))
    seconds = sum(r.seconds for r in records)
    return {
        "metric": goal.metric,
        "best_trial": None if best is None else best.number,
        "best_score": score,
        "base_score": base_score,
        "gained_over_base": None if score is None or base_score is None else goal.sign * (score - base_score),
        "trials": dict(Counter(r.state for r in records)),
        "failures": dict(Counter(r.failure for r in records if r.failure)),
        "epochs": {
            "trained": sum(r.epochs for r in records),
            "at_most": len(records) * tuning.max_epochs,
            "saved_by_asha": _saved(records, "stopped", tuning.max_epochs),
            "saved_by_early_stopping": _saved(records, "complete", tuning.max_epochs),
        },
        "trial_hours": seconds / 3600,
        "gpu_hours": ledger.gpu_hours,
        "ended_early": reason,
    }


def lines_of(summary: dict[str, Any]) -> list[str]:
    """Say in a few lines what :func:`summarise` has found."""
    epochs, spent = summary["epochs"], in_words(3600 * summary["trial_hours"])
    lines = []
    if summary["gained_over_base"] is not None:
        gained, base = summary["gained_over_base"], summary["base_score"]
        lines.append(f"gained    {gained:+.4f} over the base config ({base:.4f})")
    share = epochs["trained"] / epochs["at_most"]
    lines.append(
        f"spent     {epochs['trained']} epochs of at most {epochs['at_most']} ({share:.0%}), {spent} of trials; saved "
        f"{epochs['saved_by_asha']} by ASHA, {epochs['saved_by_early_stopping']} by early stopping"
    )
    if summary["failures"]:
        told = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in summary["failures"].items())
        lines.append(f"failed    {told} (see trials.csv)")
    return lines


def _saved(records: Sequence[TrialRecord], state: str, max_epochs: int) -> int:
    return sum(max_epochs - r.epochs for r in records if r.state == state)
