"""What Ray reads from the environment; it does so once, so this is set before Ray is imported."""

from __future__ import annotations

import os

OF_ALL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed",  # the ledger's line says what happened
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its snapshots hold all trials there ever were, and are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    # A stopped trial needs time to unwind before its process is reused.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    # Every trial runs in a new thread of its worker, and glibc would give each thread memory of its own.
    "MALLOC_ARENA_MAX": "1",
}
"""For the driver and for every worker, whichever machine it is on."""

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""The one switch that binds every port of Ray to loopback; for clusters of one machine."""


def set_ray_environment(*, loopback: bool) -> None:
    """Set what the user has not."""
    for name, value in (OF_ALL | (LOOPBACK if loopback else {})).items():
        os.environ.setdefault(name, value)
