"""Is a command that is to go on with a sweep the one that began it?"""

from __future__ import annotations

from typing import Any

from cpivae.config.space_check import leaves

_MAY_CHANGE = (
    "tuning.n_trials",
    "tuning.max_concurrent",
    "tuning.keep_weights",
    "tuning.checkpoint_seconds",
    "tuning.timeout_minutes",
    "tuning.time_budget",
    "tuning.gpu_hours",
    "tuning.patience",
)
"""Settings that have no part in what a trial comes to."""


def what_differs(then: dict[str, Any], plain: dict[str, Any], described: dict[str, Any]) -> list[str]:
    """List what trials of both could not be compared for.

    ``then``: ``sweep.yaml`` as it was begun with; ``plain``: the settings now; ``described``: what else is in it now.
    """
    told = _differences("", then.get("config", {}), plain, _MAY_CHANGE)
    told += _differences("space: ", then.get("space", {}), described["space"])
    if then.get("fingerprint") != described["fingerprint"]:
        told.append("the tables, their samples or their splits are others")
    began_with = then.get("config", {}).get("tuning", {}).get("n_trials", 0)
    if plain["tuning"]["n_trials"] < began_with:
        told.append(f"tuning.n_trials: {began_with} then, {plain['tuning']['n_trials']} now; it may only grow")
    if then.get("proposals", []) != described["proposals"]:
        told.append("the trials to be looked at again are others")
    return told


def _differences(kind: str, then: dict[str, Any], now: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    before, after = dict(leaves(then)), dict(leaves(now))
    paths = [path for path in dict.fromkeys([*before, *after]) if path not in but]
    return [
        f"{kind}{path}: {before.get(path, 'absent')} then, {after.get(path, 'absent')} now"
        for path in paths
        if before.get(path) != after.get(path)
    ]
