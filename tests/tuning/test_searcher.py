"""The searcher tells Optuna how each trial really ended."""

import optuna
import pytest
from optuna.trial import TrialState

from cpivae.config.load import make_config
from cpivae.config.space import make_space
from cpivae.names import Goal
from cpivae.tuning.searcher import OptunaAskTell

GOAL = Goal("val_cross_a_corr_mean", "max")
SPACE = {
    "model.latent_dim": {"lograndint": [2, 64]},
    "model.encoder_layers": {"layers": {"depth": [0, 2], "width": [8, 16]}},
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
}


def searcher(n_trials=10, seed=1, goal=GOAL):
    space = make_space(SPACE, make_config({}, "test"), "test")
    return OptunaAskTell(space, goal, n_trials=n_trials, seed=seed, startup_trials=3)


def result(epoch, score, *, last=False, diverged=False):
    return {"epoch": epoch, "score": score, "last": last, "diverged": diverged, "training_iteration": epoch + 1}


def states(s):
    return [t.state for t in s.study.get_trials()]


def test_numbers_count_up_and_the_budget_ends():
    s = searcher(n_trials=3)
    assert [s.suggest(i)["number"] for i in "xyz"] == [0, 1, 2]
    assert s.suggest("w") == OptunaAskTell.FINISHED


def test_a_trial_that_ran_to_its_end_is_complete_with_its_best_score():
    s = searcher()
    s.suggest("x")
    s.on_trial_result("x", result(0, 0.3))
    s.on_trial_result("x", result(1, 0.5))
    s.on_trial_complete("x", result(2, 0.5, last=True))
    trial = s.study.trials[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert trial.intermediate_values == {0: 0.3, 1: 0.5, 2: 0.5}


def test_a_trial_that_asha_stopped_is_pruned_with_every_epoch_it_ran():
    s = searcher()
    s.suggest("x")
    s.on_trial_result("x", result(0, 0.1))
    # Ray passes the result that a trial was stopped on to on_trial_complete alone.
    s.on_trial_complete("x", result(1, 0.2))
    trial = s.study.trials[0]
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == {0: 0.1, 1: 0.2}


@pytest.mark.parametrize(
    ("closing", "error"),
    [(result(3, 0.4, last=True, diverged=True), False), (None, True), (result(3, 0.4), True), (None, False)],
)
def test_a_diverged_or_failed_trial_is_failed_and_never_a_score(closing, error):
    s = searcher()
    s.suggest("x")
    s.on_trial_result("x", result(2, 0.4))
    s.on_trial_complete("x", closing, error=error)
    assert states(s) == [TrialState.FAIL]
    assert s.study.trials[0].value is None


def test_a_trial_without_a_score_yet_does_not_upset_the_study():
    s = searcher()
    s.suggest("x")
    s.on_trial_complete("x", result(1, float("nan"), last=True, diverged=True))
    assert states(s) == [TrialState.FAIL]


def test_an_unknown_or_repeated_end_is_ignored():
    s = searcher()
    s.suggest("x")
    s.on_trial_complete("x", result(0, 0.4, last=True))
    s.on_trial_complete("x", result(0, 0.9, last=True))
    s.on_trial_complete("never seen", error=True)
    assert s.study.trials[0].value == 0.4


def test_the_seed_decides_the_proposals():
    first, again, other = (searcher(seed=seed) for seed in (7, 7, 8))
    assert first.suggest("x") == again.suggest("x") != other.suggest("x")


def test_it_learns_in_the_right_direction():
    def mean_of_late_proposals(mode):
        s = searcher(n_trials=60, goal=Goal("m", mode))
        rates = []
        for i in range(60):
            rate = s.suggest(str(i))["values"]["training.learning_rate"]
            rates.append(rate)
            s.on_trial_complete(str(i), result(0, rate, last=True))
        return sum(rates[-20:]) / 20

    assert mean_of_late_proposals("max") > 2 * mean_of_late_proposals("min")


def test_the_database_opens_as_an_optuna_study(tmp_path):
    s = searcher()
    for i, closing in enumerate([result(4, 0.5, last=True), result(4, 0.1)]):
        s.suggest(str(i))
        s.on_trial_complete(str(i), closing)
    s.write_database(tmp_path / "study.db", "a study")
    opened = optuna.load_study(study_name="a study", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state for t in opened.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert opened.best_value == 0.5
    assert opened.best_params == s.study.best_params
    assert [p.name for p in tmp_path.iterdir()] == ["study.db"]
