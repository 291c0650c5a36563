"""The searcher tells Optuna how each trial really ended, and remembers what an earlier process told."""

import numpy as np
import optuna
import pytest
import torch
from game import SPACE
from optuna.trial import TrialState

from cpivae.config.load import to_plain

FINISHED = "FINISHED"


def by_number(game):
    return {t.user_attrs["trial"]: t for t in game.searcher.study.trials}


def test_numbers_count_up_and_the_budget_ends(play):
    game = play(n_trials=3)
    trials = [game.propose() for _ in range(3)]
    assert [t.config["number"] for t in trials] == [0, 1, 2]
    assert [t.config["seed"] for t in trials] == [1, 2, 3]
    assert game.propose() is None, "one of the three may yet have to be tried again"
    for trial in trials:
        game.report(trial, 0, 0.5, last=True)
    assert game.propose() == FINISHED


def test_the_base_config_comes_first_and_is_known_to_the_sampler(play):
    game = play()
    trial = game.propose()
    assert trial.config["values"] == {}
    game.report(trial, 0, 0.4, last=True)
    known = by_number(game)[0]
    assert (known.state, known.value) == (TrialState.COMPLETE, 0.4)
    assert known.params == {
        "model.latent_dim": 128,
        "model.encoder_layers.depth": 0,
        "training.learning_rate": 3e-3,
    }


def test_a_base_config_outside_the_space_runs_without_misleading_the_sampler(play):
    game = play(space={"model.latent_dim": {"randint": [2, 8]}})
    trial = game.propose()
    game.report(trial, 0, 0.4, last=True)
    assert game.ledger.records[0].score == 0.4
    assert by_number(game) == {}
    assert game.propose().config["values"]["model.latent_dim"] <= 8


def test_a_trial_that_ran_to_its_end_is_complete_with_its_best_score(play):
    game = play()
    game.propose()
    trial = game.propose()
    for epoch, score in enumerate([0.3, 0.5, 0.5]):
        game.report(trial, epoch, score, last=epoch == 2)
    told = by_number(game)[1]
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.5)
    assert told.intermediate_values == {0: 0.3, 1: 0.5, 2: 0.5}


def test_a_trial_that_asha_stopped_is_pruned_with_every_epoch_it_ran(play):
    game = play(asha={"grace_period": 2})
    for score in (0.9, 0.8, 0.7, 0.1):
        trial = game.propose()
        decisions = [game.report(trial, epoch, score) for epoch in (0, 1)]
    assert decisions == ["CONTINUE", "STOP"]
    told = by_number(game)[3]
    assert told.state is TrialState.PRUNED
    assert told.intermediate_values == {0: 0.1, 1: 0.1}


def test_a_diverged_or_failing_trial_is_failed_and_never_a_score(play):
    game = play()
    diverges, fails = game.propose(), game.propose()
    game.report(diverges, 0, 0.4)
    game.report(diverges, 1, 0.4, last=True, diverged=True)
    game.lose(fails, ValueError("no"))
    assert [t.state for t in by_number(game).values()] == [TrialState.FAIL] * 2
    assert [t.value for t in by_number(game).values()] == [None] * 2
    assert [(r.state, r.failure, r.score) for r in game.ledger.records] == [
        ("diverged", "diverged", None),
        ("failed", "code_error", None),
    ]
    assert game.ledger.records[1].error == "ValueError: no"


def test_memory_that_ran_out_twice_is_a_constraint(play):
    game = play()
    game.propose()
    for attempt in range(2):
        trial = game.propose()
        assert trial.config["number"] == 1
        assert trial.config["alone"] == (attempt == 1)
        game.lose(trial, torch.cuda.OutOfMemoryError("CUDA out of memory"))
        assert game.folder.traceback(1).is_file() == (attempt == 1), "what a retry is not to find is gone"
    told = by_number(game)[1]
    assert told.state is TrialState.PRUNED
    assert told.constraints == {"memory": 1.0}
    assert (game.ledger.records[1].state, game.ledger.records[1].failure) == ("failed", "out_of_memory")
    assert game.propose().config["number"] == 2


def test_a_lost_worker_is_replaced_three_times(play):
    game = play()
    for _ in range(4):
        trial = game.propose()
        assert trial.config["number"] == 0
        game.lose(trial)
    assert (game.ledger.records[0].state, game.ledger.records[0].failure) == ("failed", "lost_worker")
    assert game.propose().config["number"] == 1


def test_a_trial_that_gets_on_may_lose_any_number_of_workers(play):
    game = play()
    for epoch in range(8):
        trial = game.propose()
        assert (trial.config["number"], trial.config["reported"]) == (0, epoch - 1)
        game.report(trial, epoch, 0.1)
        game.lose(trial)
    assert game.ledger.records[0].state == "running"


def test_the_same_error_three_times_in_a_row_ends_the_search(play):
    game = play()
    for kind in (KeyError, ValueError, ValueError, ValueError):
        trial = game.propose()
        game.lose(trial, kind(f"in trials/trial_{trial.config['number']:05d}"))
    assert game.propose() == FINISHED
    assert game.ledger.broken == "ValueError: in trials/the trial"


def test_the_seed_decides_the_proposals(play):
    first, again, other = (play(folder=str(i), seed=seed) for i, seed in enumerate((7, 7, 8)))
    proposals = [[game.propose().config["values"] for _ in range(4)] for game in (first, again, other)]
    assert proposals[0] == proposals[1] != proposals[2]
    assert len({str(values) for values in proposals[0]}) == 4


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "qmc"])
def test_every_sampler_proposes_within_the_space_and_goes_on_after_an_interruption(play, sampler):
    conditional = SPACE | {
        "model.linear_skip": {"choice": ["none", "ridge"]},
        "when": {"model.linear_skip": {"ridge": {"loss_weights.linear_skip_residual": {"uniform": [1, 2]}}}},
    }
    first = play(sampler=sampler, space=conditional, n_trials=14)
    first.run(lambda values, _: values.get("training.learning_rate", 3e-3), epochs=2, most=7)
    first.close()
    second = play(sampler=sampler, space=conditional, n_trials=14)
    assert second.run(lambda values, _: values.get("training.learning_rate", 3e-3), epochs=2) == 7
    values = [r.values for r in second.ledger.records]
    assert len(values) == 14
    assert len({str(v) for v in values}) == 14
    for given in values[1:]:
        assert ("loss_weights.linear_skip_residual" in given) == (given["model.linear_skip"] == "ridge")


def test_it_learns_in_the_right_direction(play):
    def mean_of_late_proposals(metric):
        game = play(folder=metric, n_trials=60, metric=metric)
        game.run(lambda values, _: values.get("training.learning_rate", 3e-3), epochs=1)
        return sum(r.values["training.learning_rate"] for r in game.ledger.records[-20:]) / 20

    assert mean_of_late_proposals("val_cross_a_corr_mean") > 2 * mean_of_late_proposals("val_total_loss")


def test_a_repeated_proposal_says_of_which_trial_and_has_another_seed(play):
    game = play(space={"model.latent_dim": {"choice": [8]}}, n_trials=3)
    game.run(lambda *_: 0.5, epochs=1)
    assert [r.origin for r in game.ledger.records] == ["base config", "tpe", "trial 1, with another seed"]
    assert [c.seed for c in game.ledger.courses.values()] == [1, 2, 3]


def test_the_database_opens_as_an_optuna_study(play, tmp_path):
    game = play(asha={"grace_period": 1})
    for score in (0.5, 0.6, 0.1):
        trial = game.propose()
        if game.report(trial, 0, score) != "STOP":
            game.report(trial, 1, score, last=True)
    game.searcher.write_database(tmp_path / "study.db", "a study")
    opened = optuna.load_study(study_name="a study", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state for t in opened.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]
    assert opened.best_value == 0.6
    assert opened.best_params == game.searcher.study.best_params
    assert not list(tmp_path.glob(".study*"))


# ------------------------------------------------------------------------------------------ resuming


def score(values, epoch):
    return values.get("training.learning_rate", 3e-3) * (epoch + 1)


@pytest.mark.parametrize("brackets", [1, 2])
@pytest.mark.parametrize("interrupted_after", [1, 6, 11])
def test_an_interrupted_search_comes_to_what_an_uninterrupted_one_does(play, interrupted_after, brackets):
    settings = {"n_trials": 16, "asha": {"grace_period": 2, "brackets": brackets}}
    whole = play(folder="whole", **settings)
    whole.run(score, epochs=20)
    first = play(folder="parts", **settings)
    first.run(score, epochs=20, most=interrupted_after)
    rungs = first.referee.rungs
    first.close()
    rest = play(folder="parts", **settings)
    assert rest.referee.rungs == rungs
    assert rest.run(score, epochs=20) == 16 - interrupted_after
    assert [r.values for r in rest.ledger.records] == [r.values for r in whole.ledger.records]
    assert [(r.state, r.score, r.epochs) for r in rest.ledger.records] == [
        (r.state, r.score, r.epochs) for r in whole.ledger.records
    ]
    assert rest.referee.rungs == whole.referee.rungs
    assert {n: t.state for n, t in by_number(rest).items()} == {n: t.state for n, t in by_number(whole).items()}


def test_a_trial_that_was_cut_off_is_the_first_to_go_on_where_it_was(play):
    first = play()
    first.run(score, epochs=3, most=2)
    cut_off = first.propose()
    for epoch in range(4):
        first.report(cut_off, epoch, 0.1 * epoch)
    first.close()
    second = play()
    again = second.propose()
    assert again.config["number"] == cut_off.config["number"] == 2
    assert again.config["values"] == cut_off.config["values"]
    assert again.config["seed"] == cut_off.config["seed"]
    assert again.config["reported"] == 3
    before = second.referee.rungs
    for epoch in (2, 3):  # repeated from a checkpoint: no news
        second.report(again, epoch, 0.1 * epoch)
    assert second.referee.rungs == before
    second.report(again, 4, 0.4, last=True)
    assert by_number(second)[2].intermediate_values == pytest.approx({e: 0.1 * e for e in range(5)})


def test_a_longer_sweep_goes_on_from_a_shorter_one(play):
    play_short = play(n_trials=4)
    assert play_short.run(score, epochs=2) == 4
    play_short.close()
    longer = play(n_trials=7)
    assert longer.run(score, epochs=2) == 3
    assert [r.number for r in longer.ledger.records] == list(range(7))


WITHIN = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "training.weight_decay": {"loguniform": [1e-3, 1.0]},
    "training.gradient_clip_val": {"uniform": [0.5, 2.0]},
    "training.early_stopping_patience": {"randint": [2, 1000]},
}
"""A space that holds the base config."""


def test_every_other_trial_before_there_is_anything_to_learn_from_is_near_the_base_config(play):
    game = play(n_trials=12, startup_trials=9, space=WITHIN)
    game.run(lambda *_: 0.5, epochs=1)
    records = game.ledger.records
    assert [r.number for r in records if r.origin == "near the base config"] == [1, 3, 5, 7]
    base = to_plain(game.config)
    told = {t.user_attrs["trial"]: t.params for t in game.searcher.study.trials}
    kept = [
        values == base["training"][path.removeprefix("training.")]
        for record in records[1:9:2]
        for path, values in record.values.items()
    ]
    assert 0.5 < np.mean(kept) < 1, "most of it is kept, not all"
    assert not any(
        value == base["training"][path.removeprefix("training.")]
        for record in records[2:9:2]
        for path, value in record.values.items()
    )
    for record in records[1:]:
        assert told[record.number] == record.values, "the sampler knows them"


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_samplers_that_cover_the_space_evenly_are_left_alone(play, sampler):
    game = play(n_trials=8, startup_trials=8, sampler=sampler, space=WITHIN)
    game.run(lambda *_: 0.5, epochs=1)
    assert {r.origin for r in game.ledger.records} == {"base config", sampler}


def test_a_base_config_outside_the_space_is_not_varied(play):
    game = play(n_trials=6, startup_trials=6, space={"training.learning_rate": {"loguniform": [1e-5, 1e-4]}})
    game.run(lambda *_: 0.5, epochs=1)
    assert {r.origin for r in game.ledger.records} == {"base config", "tpe"}
