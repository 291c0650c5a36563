"""Is a command that is to go on with a sweep the one that began it?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpivae.config.space_check import leaves
from cpivae.errors import FolderError

_MAY_CHANGE = (
    "tuning.n_trials",
    "tuning.max_concurrent",
    "tuning.keep_weights",
    "tuning.checkpoint_seconds",
    "tuning.timeout_minutes",
    "tuning.time_budget",
    "tuning.gpu_hours",
    "tuning.patience",
    "data.samples_table",  # what it says is in the fingerprint
)
"""Settings that have no part in what a trial comes to."""
_WHERE = ("hardware.accelerator", "hardware.threads", "tuning.cpus_per_trial", "tuning.gpus_per_trial")
"""Settings that say where a trial is computed, which no two machines need have in common."""


def require_same(path: Path, then: dict[str, Any], plain: dict[str, Any], described: dict[str, Any]) -> list[str]:
    """Refuse to go on with other settings, another space or other data than the sweep in ``path`` began with.

    ``then``: ``sweep.yaml`` as it was begun with; ``plain``: the settings now; ``described``: what else is in it now.
    Returned is what differs in where trials are computed, a line each: it may change the last digits of a score.

    Raises
    ------
    FolderError
        Naming what differs.
    """
    told = _differences("", then.get("config", {}), plain, lambda path: path not in (*_MAY_CHANGE, *_WHERE))
    told += _differences("space: ", then.get("space", {}), described["space"])
    if then.get("fingerprint") != described["fingerprint"]:
        told.append("the tables, their samples or their splits are others")
    began_with = then.get("config", {}).get("tuning", {}).get("n_trials", 0)
    if plain["tuning"]["n_trials"] < began_with:
        told.append(f"tuning.n_trials: {began_with} then, {plain['tuning']['n_trials']} now; it may only grow")
    if then.get("proposals", []) != described["proposals"]:
        told.append("the trials to be looked at again are others")
    if told:
        raise FolderError(
            f"{path} cannot be resumed with this command, because trials of both could not be compared:\n"
            + "\n".join(f"  - {line}" for line in told)
        )
    return _differences("", then.get("config", {}), plain, lambda path: path in _WHERE)


def _differences(
    kind: str, then: dict[str, Any], now: dict[str, Any], counts: Callable[[str], bool] = lambda _: True
) -> list[str]:
    before, after = dict(leaves(then)), dict(leaves(now))
    paths = [path for path in dict.fromkeys([*before, *after]) if counts(path)]
    return [
        f"{kind}{path}: {before.get(path, 'absent')} then, {after.get(path, 'absent')} now"
        for path in paths
        if before.get(path) != after.get(path)
    ]
