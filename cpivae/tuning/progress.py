"""What a person sees of a running sweep: one line per ended trial, and in a terminal a bar below."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cpivae.names import Goal
from cpivae.tuning.record import Listener, TrialRecord, ranked


@contextmanager
def sweep_progress(n_trials: int, goal: Goal) -> Iterator[Listener]:
    """Show progress while the block runs; yields what is to be told of every ended trial."""
    console = Console(highlight=False, soft_wrap=True)
    started = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    task = bar.add_task("trials", total=n_trials)

    def ended(record: TrialRecord, records: list[TrialRecord]) -> None:
        done = sum(r.state != "running" for r in records)
        counted = f"[{done:>{len(str(n_trials))}}/{n_trials} {time.monotonic() - started:6.0f} s]"
        bar.update(task, completed=done)
        bar.console.print(f"{counted} {_line(record, records, goal)}", markup=False)

    with bar:
        yield ended


def _line(record: TrialRecord, records: list[TrialRecord], goal: Goal) -> str:
    score = f"{record.score:.4f}" if record.score is not None else "   -  "
    if record.score_sd is not None:
        score += f" (sd {record.score_sd:.4f})"
    best = ranked(records, goal)
    leader = f"best {best[0].score:.4f} (trial {best[0].number})" if best else "no score yet"
    why = f"  {record.error[:120]}" if record.error else ""
    return f"trial {record.number:>4} {record.state:<9} after {record.epochs:>3} epochs: {score}   {leader}{why}"
