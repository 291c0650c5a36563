"""What keeps a sweep of thousands of trials as fast as it was at first, and that nothing is lost by it."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from cpivae.tuning import ledger, window
from cpivae.tuning.engine import Beginnings
from cpivae.tuning.window import Window


def score(values, epoch):
    return 0.5 - abs(values.get("training.learning_rate", 3e-3) - 1e-3) + epoch / 1000


@pytest.fixture
def small_window(monkeypatch):
    monkeypatch.setattr(window, "LATEST", 10)
    monkeypatch.setattr(window, "BEST", 2)


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_sampler_sees_the_best_the_latest_and_the_open_trials(direction):
    storage = Window()
    study = optuna.create_study(storage=storage, direction=direction)
    sign = 1 if direction == "maximize" else -1
    open_trial = study.ask()
    # Numbers 1 to 20: the best are 3 and 1; number 2 has failed, number 4 was stopped.
    for number in range(1, 21):
        state = {2: TrialState.FAIL, 4: TrialState.PRUNED}.get(number, TrialState.COMPLETE)
        value = {3: 9.0, 1: 8.0}.get(number, number / 100)
        study.tell(study.ask(), sign * value if state is TrialState.COMPLETE else None, state=state)
        if number == 10:
            assert len(study.trials) == 11, "up to then it sees all"
    assert [t.number for t in study.trials] == [open_trial.number, 1, 3, *range(11, 21)]
    assert [t.number for t in study.get_trials(states=(TrialState.COMPLETE,))] == [1, 3, *range(11, 21)]
    assert [t.number for t in storage.whole(study._study_id)] == list(range(21))
    assert study.best_trial.number == 3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.usefixtures("small_window")
def test_trials_outside_the_window_change_no_proposal_and_those_inside_do():
    distribution = optuna.distributions.FloatDistribution(0, 1)

    def proposal(**other):
        study = optuna.create_study(storage=Window(), direction="maximize")
        drawn = {f"x{number}": number / 20 for number in range(20)} | other
        study.add_trials(
            create_trial(params={"x": x}, distributions={"x": distribution}, value=1 - abs(x - 0.6))
            for x in drawn.values()
        )
        study.sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=5, multivariate=True, group=True)
        return study.ask({"x": distribution}).params["x"]

    assert proposal() == proposal(x1=0.01)
    assert proposal() != proposal(x12=0.61)


@pytest.mark.usefixtures("small_window")
def test_a_resumed_sweep_has_the_same_window_and_proposes_the_same(play):
    game = play(n_trials=40)
    game.run(score, 2, most=30)
    seen = [t.user_attrs["trial"] for t in game.searcher.study.trials]
    assert len(seen) <= 12
    game.close()
    again = play(n_trials=40)
    assert [t.user_attrs["trial"] for t in again.searcher.study.trials] == seen
    proposed = again.propose().config["values"]
    again.close()
    third = play(n_trials=40)
    assert third.propose().config["values"] == proposed


@pytest.mark.usefixtures("small_window")
def test_the_database_has_the_trials_outside_the_window_too(play, tmp_path):
    game = play(n_trials=25)
    game.run(score, 2)
    game.searcher.write_database(tmp_path / "study.db", "study")
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.user_attrs["trial"] for t in study.trials] == list(range(25))


def test_the_table_is_at_most_a_moment_old_and_whole_at_the_end(play, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(ledger.time, "monotonic", lambda: now[0])
    game = play()

    def in_table():
        return [r.number for r in game.folder.records() if r.state == "complete"]

    game.run(score, 1, most=1)
    assert in_table() == [0]
    game.run(score, 1, most=2)
    assert in_table() == [0], "it was written in this second"
    now[0] += 1.01
    game.ledger.refresh_table()
    assert in_table() == [0, 1, 2]
    written = game.folder.trials_file.stat().st_mtime_ns
    now[0] += 5
    game.ledger.refresh_table()
    assert game.folder.trials_file.stat().st_mtime_ns == written, "there was no news"
    game.run(score, 1, most=2)
    game.ledger.interrupt()
    assert in_table() == [0, 1, 2, 3, 4]


def test_a_table_that_takes_long_to_write_is_written_less_often(play, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(ledger.time, "monotonic", lambda: now[0])
    game, n_written = play(n_trials=20), []

    def slowly(_folder, records):
        n_written.append(len(records))
        now[0] += 0.5

    monkeypatch.setattr(type(game.folder), "write_trials", slowly)
    game.run(score, 1, most=1)
    for _ in range(9):
        now[0] += 1
        game.run(score, 1, most=1)
    assert n_written == [1]
    now[0] += 1
    game.run(score, 1, most=1)
    assert n_written == [1, 11]


def leave_weights(game, number):
    folder = game.folder.trial(game.ledger.courses[number].record)
    folder.checkpoints.mkdir(parents=True)
    for path in (folder.final_model, folder.checkpoints / "best.ckpt"):
        path.write_bytes(b"")


def with_weights(game):
    kept = {int(p.parent.name[-5:]) for p in game.folder.path.glob("trials/*/final_model.ckpt")}
    assert kept == {int(p.parent.parent.name[-5:]) for p in game.folder.path.glob("trials/*/checkpoints/*.ckpt")}
    return kept


def test_weights_are_dropped_as_trials_end_and_all_at_once_when_fewer_are_to_be_kept(play):
    game = play()
    game.ledger.keep_weights = 3
    for reached, kept in zip((0.5, 0.1, 0.4, 0.3, 0.2), ({0}, {0, 1}, {0, 1, 2}, {0, 2, 3}, {0, 2, 3}), strict=True):
        trial = game.propose()
        leave_weights(game, trial.config["number"])
        game.report(trial, 0, reached, last=True)
        assert with_weights(game) == kept
    game.close()
    again = play()
    again.ledger.keep_weights = 1
    failing = again.propose()
    leave_weights(again, failing.config["number"])
    again.lose(failing, ValueError("no"))
    assert with_weights(again) == {0}


def test_the_next_trial_is_looked_for_among_the_living_and_given_a_process_once(play):
    """Ray would end the process that starts for a trial, and give the trial one that becomes free before."""
    referee = play().referee
    trials = [
        SimpleNamespace(status=s, config={"number": n}, trial_id=f"ray-{n}")
        for n, s in ((4, "RUNNING"), (6, "PENDING"), (5, "PENDING"))
    ]
    controller = SimpleNamespace(get_live_trials=lambda: set_of(trials))
    assert referee.choose_trial_to_run(controller) is trials[2]
    assert referee.choose_trial_to_run(controller) is trials[1]
    assert referee.choose_trial_to_run(controller) is None


def set_of(trials):
    """Stand in for a set, whose order is none."""
    return iter(trials)


def test_an_ended_trial_of_ray_keeps_no_statistics(play):
    metadata = SimpleNamespace(metric_analysis={"score": {}}, metric_n_steps={"score": {}})
    Beginnings(play().ledger).on_trial_complete(1, [], SimpleNamespace(run_metadata=metadata))
    assert not metadata.metric_analysis
    assert not metadata.metric_n_steps
