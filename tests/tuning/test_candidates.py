"""Which trials of a sweep are looked at again, and what is said of the others."""

from __future__ import annotations

from cpivae.cli.confirm import told
from cpivae.tuning.candidates import Candidate
from cpivae.tuning.confirm import Confirmation, chosen_of
from cpivae.tuning.record import State, TrialRecord
from cpivae.tuning.statistics import Interval


def records(*states: State) -> list[TrialRecord]:
    return [TrialRecord(i, state=state, score=1 - i / 10) for i, state in enumerate(states)]


def test_what_asha_stopped_is_passed_over_and_named_if_it_was_as_good() -> None:
    chosen, passed_over = chosen_of(records("stopped", "complete", "stopped", "complete", "stopped", "complete"), 2)
    assert [r.number for r in chosen] == [1, 3]
    assert passed_over == [0, 2], "trial 4 was no better than those chosen"


def test_there_may_be_fewer_or_none() -> None:
    chosen, passed_over = chosen_of(records("stopped", "complete", "stopped"), 5)
    assert ([r.number for r in chosen], passed_over) == ([1], [0])
    assert chosen_of(records("stopped", "stopped"), 5) == ([], [])
    assert chosen_of([], 5) == ([], [])


def confirmation(passed_over: list[int]) -> Confirmation:
    candidate = Candidate(3, 0.7, Interval(0.6, 0.5, 0.7), Interval(0.0, 0.0, 0.0), 1000)
    return Confirmation("val_cross_a_corr_mean", 3, 2, 9, [candidate], 3, 3, 0.1, passed_over, [], {}, 1)


def test_the_user_is_told() -> None:
    said = "\n".join(told(confirmation([8, 2])))
    assert "left out because ASHA stopped them early: 8, 2\n" in said
    assert "the search's score of trial 3 was 0.1000 better than what it proved to be worth" in said
    assert "ASHA" not in "\n".join(told(confirmation([])))
