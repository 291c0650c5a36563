"""A trial that was interrupted makes way for its continuation, and is kept until that has a state of its own."""

from __future__ import annotations

import shutil

from cpivae.training.folder import RunFolder
from cpivae.training.resume import has_whole_state
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import trial_name


def set_aside(folder: SweepFolder, number: int) -> RunFolder | None:
    """Make way for a trial's run folder; return an interrupted run that it can go on from, if there is one."""
    current, aside = folder.trials / trial_name(number), folder.trials / f".{trial_name(number)}"
    # A trial that was interrupted soon after it had been continued goes on from what it was continued from.
    if has_whole_state(RunFolder(current)):
        shutil.rmtree(aside, ignore_errors=True)
        current.rename(aside)
    elif current.is_dir():
        shutil.rmtree(current)
    earlier = RunFolder(aside)
    if has_whole_state(earlier):
        return earlier
    shutil.rmtree(aside, ignore_errors=True)
    return None
