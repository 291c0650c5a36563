"""Why a trial failed: described where it happens, read back where its process may be gone."""

from __future__ import annotations

import traceback

from cpivae.errors import InterruptedSweepError, StorageError
from cpivae.training.memory import ran_out_of_memory
from cpivae.tuning.full_disk import disk_is_full
from cpivae.tuning.record import Failure
from cpivae.tuning.watch import time_out

_CLASS_ENDS = " | "


def described(error: Exception) -> str:
    """Return the text for a trial's error file: the traceback, then class and cause in one line."""
    failure: Failure = "out_of_memory" if ran_out_of_memory(error) else "code_error"
    if disk_is_full(error):
        failure = "full_disk"
    if isinstance(error, StorageError | InterruptedSweepError):  # another attempt may find the network mended
        failure = "lost_worker"
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    cause = "; ".join(line.strip() for line in lines if line.strip())
    return f"{''.join(traceback.format_exception(error))}\n{failure}{_CLASS_ENDS}{cause}\n"


def cause_of(text: str) -> tuple[Failure, str]:
    """Return class and cause from what a trial's error file holds, which is nothing where its process was killed."""
    if told := time_out(text):
        return "timed_out", told
    failure, found, cause = text.strip().rpartition("\n")[2].partition(_CLASS_ENDS)
    if not found:
        return "lost_worker", "its worker process died"
    known: tuple[Failure, ...] = ("out_of_memory", "lost_worker", "full_disk")
    return next((k for k in known if k == failure), "code_error"), cause
