"""When a sweep is given up: trials in a row that fail alike, and through no fault of their settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cpivae.names import Goal
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.ledger import MAX_LOST_WORKERS, SAME_ERRORS, Ledger
from cpivae.tuning.record import Failure


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    folder = SweepFolder(tmp_path / "study")
    folder.create()
    with closing(Journal(folder.journal)) as journal:
        yield Ledger(folder, Goal("val_cross_a_corr_mean", "max"), None, journal)


def fails(ledger: Ledger, failure: Failure, error: str) -> None:
    number = len(ledger.courses)
    ledger.propose(number, {"x": number}, 0, "sampled")
    ledger.begin(number)
    while ledger.fail(number, failure, error):
        ledger.begin(number)


@pytest.mark.parametrize("failure", ["code_error", "timed_out", "lost_worker"])
def test_what_fails_alike_again_and_again_is_given_up(ledger: Ledger, failure: Failure) -> None:
    for _ in range(SAME_ERRORS):
        assert ledger.broken == ""
        fails(ledger, failure, "nothing came")
    assert ledger.broken == "nothing came"
    lost = [e for e in read_journal(ledger.folder.journal) if e["event"] == "lost_worker"]
    assert len(lost) == (SAME_ERRORS * MAX_LOST_WORKERS if failure == "lost_worker" else 0)


@pytest.mark.parametrize("failure", ["diverged", "out_of_memory"])
def test_what_is_due_to_settings_is_not(ledger: Ledger, failure: Failure) -> None:
    for _ in range(4 * SAME_ERRORS):
        fails(ledger, failure, "too much")
    assert ledger.broken == ""


def test_other_errors_and_trials_that_end_well_in_between_count_anew(ledger: Ledger) -> None:
    for error in ["one", "one", "two", "one", "one"]:
        fails(ledger, "code_error", error)
        assert ledger.broken == ""
    fails(ledger, "diverged", "a loss is not finite")
    fails(ledger, "code_error", "one")
    assert ledger.broken == ""


def test_a_resumed_sweep_gets_another_chance(ledger: Ledger) -> None:
    for _ in range(SAME_ERRORS):
        fails(ledger, "code_error", "one")
    again = Ledger(ledger.folder, ledger.goal, None, None)
    again.replay(read_journal(ledger.folder.journal))
    assert len(again.courses) == SAME_ERRORS
    assert again.broken == ""
