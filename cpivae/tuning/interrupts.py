"""What asks a process to end, taken for an interruption of its sweep, wherever in the command it comes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cpivae.errors import InterruptedSweepError
from cpivae.tuning.folder import SweepFolder

_ASK_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, whoever ends jobs, and SLURM's warning before the time is up."""


@contextmanager
def interruptible(folder: SweepFolder) -> Iterator[None]:
    """Run a block that begins, runs and ends a sweep; clean up where it is asked to end, and say how to go on.

    Raises
    ------
    InterruptedSweepError
        It was asked to end.
    """
    with handlers_kept():
        try:
            for number in _ASK_TO_END if _in_main_thread() else ():
                signal.signal(number, signal.default_int_handler)
            yield
        except KeyboardInterrupt:
            if not folder.has_begun():
                raise InterruptedSweepError(
                    "interrupted before the sweep had begun. The same command starts it."
                ) from None
            raise InterruptedSweepError(
                f"interrupted. What the sweep has found so far is in {folder.name}. The same command with --resume "
                "goes on."
            ) from None


@contextmanager
def terminated_gently() -> Iterator[None]:
    """Take SIGTERM for what Ray ends its trials cleanly on, as it does on the others."""
    with handlers_kept():
        if _in_main_thread():
            signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
        yield


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Have the same handlers of signals after a block as before: Ray puts its own in their place, and leaves them."""
    before = {number: signal.getsignal(number) for number in _ASK_TO_END}
    try:
        yield
    finally:
        for number, handler in before.items() if _in_main_thread() else ():
            if handler is not None:  # nor is it one of Python's
                signal.signal(number, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
