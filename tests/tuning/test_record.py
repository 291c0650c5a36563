"""Trials on record: the one selection rule, and a table that survives a round trip."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpivae.errors import FolderError, MetricError, SweepFailedError
from cpivae.names import Goal
from cpivae.training.callbacks import EpochReport
from cpivae.tuning.record import TrialRecord, best_of, ranked, read_trials, write_trials
from cpivae.tuning.reporting import ScoreKeeper

MAX, MIN = Goal("val_cross_a_corr_mean", "max"), Goal("val_total_loss", "min")


def test_the_best_trial_is_the_best_score_whatever_way_it_ended():
    records = [
        TrialRecord(0, state="complete", score=0.5),
        TrialRecord(1, state="stopped", score=0.7),
        TrialRecord(2, state="complete", score=0.6),
    ]
    assert best_of(records, MAX).number == 1
    assert best_of(records, MIN).number == 0


def test_a_failed_trial_never_wins():
    records = [
        TrialRecord(0, state="failed", score=0.9),
        TrialRecord(1, state="diverged", score=0.8),
        TrialRecord(2, state="running", score=0.7),
        TrialRecord(3, state="complete", score=0.1),
    ]
    assert [r.number for r in ranked(records, MAX)] == [3]


def test_of_equal_trials_the_earlier_wins():
    records = [TrialRecord(n, state="complete", score=0.5) for n in (2, 0, 1)]
    assert [r.number for r in ranked(records, MAX)] == [0, 1, 2]


def test_without_a_score_the_first_reason_is_given():
    records = [TrialRecord(0, state="failed", error="OSError: disk full"), TrialRecord(1, state="diverged")]
    with pytest.raises(SweepFailedError, match=r"none of 2 trials .* trial 0 failed: OSError: disk full"):
        best_of(records, MAX)


scores = st.none() | st.floats(allow_nan=False, allow_infinity=False)
values = st.dictionaries(
    st.sampled_from(["model.latent_dim", "model.encoder_layers", "training.optimizer", "model.batch_norm"]),
    st.integers(1, 999) | st.floats(1e-9, 1e9) | st.lists(st.integers(1, 99), max_size=3) | st.booleans() | st.text(),
)


@given(
    st.lists(
        st.builds(
            TrialRecord,
            number=st.integers(0, 10**6),
            values=values,
            state=st.sampled_from(["complete", "stopped", "failed", "diverged", "running", "interrupted"]),
            score=scores,
            best_epoch=st.none() | st.integers(0, 99),
            epochs=st.integers(0, 99),
            error=st.text(st.characters(codec="utf-8", exclude_categories=("C",))),
        ),
        unique_by=lambda r: r.number,
        max_size=6,
    )
)
def test_the_table_of_trials_round_trips(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("sweep") / "trials.csv"
    write_trials(records, path)
    assert read_trials(path) == sorted(records, key=lambda r: r.number)


def test_a_table_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "trials.csv"
    with pytest.raises(FolderError, match="not a sweep folder"):
        read_trials(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FolderError, match="not a table of trials"):
        read_trials(path)


def report(epoch, value, *, last=False):
    return EpochReport(epoch, {"val_cross_a_corr_mean": value, "val_total_loss": 1 - value}, last)


def test_the_score_is_the_best_epoch_so_far():
    keeper = ScoreKeeper(MAX)
    results = [keeper.result(report(e, v)) for e, v in enumerate([0.2, 0.5, 0.4])]
    assert [r["score"] for r in results] == [0.2, 0.5, 0.5]
    assert [r["best_epoch"] for r in results] == [0, 1, 1]
    assert set(results[0]) == {"score", "score_sd", "best_epoch", "epoch", "last", "diverged"}, "Ray keeps every number"
    keeper = ScoreKeeper(MIN)
    assert [keeper.result(report(e, v))["score"] for e, v in enumerate([0.2, 0.5, 0.4])] == [0.8, 0.5, 0.5]


def test_a_missing_metric_ends_the_trial_naming_what_there_is():
    with pytest.raises(MetricError, match=r"'val_cross_a_corr_meen'.*Did you mean 'val_cross_a_corr_mean'"):
        ScoreKeeper(Goal("val_cross_a_corr_meen", "max")).result(report(0, 0.5))


def test_a_diverged_trial_says_so_and_keeps_its_earlier_score():
    keeper = ScoreKeeper(MAX)
    assert math.isnan(keeper.diverged()["score"])
    keeper.result(report(0, 0.3))
    closing = keeper.diverged()
    assert (closing["diverged"], closing["last"], closing["score"], closing["epoch"]) == (True, True, 0.3, 1)
