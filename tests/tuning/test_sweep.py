"""Real sweeps: real Ray processes, real trainings, real interruptions."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from cpivae.config.load import load_config, make_config
from cpivae.config.space import make_space
from cpivae.data.prepare import prepare
from cpivae.data.tables import pair_from_frames
from cpivae.errors import SweepFailedError
from cpivae.export import export_run
from cpivae.impute import load_imputer
from cpivae.training.folder import RunFolder
from cpivae.training.run import fit
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.place import this_machine
from cpivae.tuning.summary import lines_of
from cpivae.tuning.sweep import run_sweep, sweep_config

pytestmark = pytest.mark.slow


def linear_pair(n=90, d_a=12, d_b=15, seed=0):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(n, 3))
    ids = [f"S{i}" for i in range(n)]
    return {
        p: pd.DataFrame(
            factors @ random.normal(size=(3, d)) + 0.3 * random.normal(size=(n, d)),
            index=ids,
            columns=[f"{p}{i}" for i in range(d)],
        )
        for p, d in (("a", d_a), ("b", d_b))
    }


def sweep(path, space, *, say=print, resume=False, from_sweep=None, base=None, **tuning):
    settings = {
        "tuning": {"n_trials": 8, "max_epochs": 6, "startup_trials": 2, "asha": {"grace_period": 2}, **tuning},
        "model": {"latent_dim": 4, "encoder_layers": [], "decoder_layers": []},
        "training": {"batch_size": 16},
        **(base or {}),
    }
    config = sweep_config(make_config(settings, "test"))
    data = prepare(pair_from_frames(linear_pair()), config.data)
    made = make_space(space, config, "space")
    return run_sweep(
        config, made, lambda: [data], SweepFolder(path), study_name="study", say=say, resume=resume,
        from_sweep=from_sweep,
    )  # fmt: skip


RATES = {"training.learning_rate": {"loguniform": [1e-4, 1e-1]}, "model.latent_dim": {"randint": [2, 8]}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("sweeps") / "study", RATES, n_trials=12, keep_weights=3)


def test_every_trial_is_on_record_and_has_a_run_folder(finished):
    folder = finished.folder
    records = folder.records()
    assert [r.number for r in records] == list(range(12))
    assert {r.state for r in records} <= {"complete", "stopped"}
    assert len({tuple(r.values.items()) for r in records}) == 12
    for record in records:
        trial = folder.trial(record)
        history = trial.history()
        assert len(history) == record.epochs
        assert history["val_cross_a_corr_mean"].max() == record.score
        assert history["val_cross_a_corr_mean"].idxmax() == record.best_epoch
        config = trial.config()
        assert config.training.learning_rate == record.values.get("training.learning_rate", 3e-3)
        assert config.training.seed == 42 + record.number
        assert not (trial.path / "test_metrics.json").exists(), "a sweep never reads the test split"


def test_asha_stops_some_trials_at_a_rung_and_lets_the_best_run(finished):
    records = finished.folder.records()
    stopped = [r for r in records if r.state == "stopped"]
    assert stopped, "of twelve trials the third that ASHA keeps leaves some that it stops"
    assert {r.epochs for r in stopped} <= {2}
    assert any(r.state == "complete" and r.epochs == 6 for r in records)


def test_the_summary_is_what_the_table_of_trials_adds_up_to(finished):
    table = pd.read_csv(finished.folder.trials_file)
    stopped, complete = (table[table["state"] == state] for state in ("stopped", "complete"))
    summary = json.loads(finished.folder.summary.read_text())
    by_asha, by_patience = (int((6 - rows["epochs"]).sum()) for rows in (stopped, complete))
    assert by_asha > 0
    assert summary["epochs"] == {
        "trained": table["epochs"].sum(), "at_most": 12 * 6,
        "saved_by_asha": by_asha, "saved_by_early_stopping": by_patience,
    }  # fmt: skip
    base = float(table.loc[table["origin"] == "base config", "score"].item())
    gained = table["score"].max() - base
    assert summary["gained_over_base"] == pytest.approx(gained)
    told = lines_of(summary | {"failures": {"out_of_memory": 2, "diverged": 1}})
    assert told[0] == f"gained    {gained:+.4f} over the base config ({base:.4f})"
    assert re.match(rf"spent     {table['epochs'].sum()} epochs of at most 72 \(\d+%\), .* of trials; ", told[1])
    assert told[1].endswith(f"saved {by_asha} by ASHA, {by_patience} by early stopping")
    assert told[2] == "failed    2 out of memory, 1 diverged (see trials.csv)"


def test_the_best_trial_is_chosen_by_its_best_epoch(finished):
    winner = max(finished.folder.records(), key=lambda r: r.score)
    assert finished.best.number == winner.number
    assert SweepFolder.open(finished.folder.path).best() == winner


def test_trials_share_at_most_as_many_processes_as_run_side_by_side(finished):
    # TensorBoard names its files after the process that wrote them.
    events = finished.folder.path.glob("trials/*/tensorboard_logs/events.*")
    processes = {re.search(r"\.(\d+)\.\d+$", e.name).group(1) for e in events}
    assert 1 <= len(processes) <= this_machine().trials(finished.folder.config().tuning) <= 2


def test_weights_are_kept_for_the_best_trials_only(finished):
    kept = {int(p.parent.name[-5:]) for p in finished.folder.path.glob("trials/*/final_model.ckpt")}
    best = sorted(finished.folder.records(), key=lambda r: -r.score)[:3]
    assert kept == {r.number for r in best}
    assert len(list(finished.folder.path.glob("trials/*/checkpoints/*epoch*.ckpt"))) == 3


def test_the_study_opens_in_optuna_and_agrees_with_the_table(finished):
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{finished.folder.study}")
    optuna_states = {"complete": "COMPLETE", "stopped": "PRUNED"}
    for trial, record in zip(study.trials, finished.folder.records(), strict=True):
        assert trial.state.name == optuna_states[record.state]
        assert max(trial.intermediate_values.values()) == record.score
        assert trial.user_attrs["trial"] == record.number
        assert trial.params["training.learning_rate"] == record.values.get("training.learning_rate", 3e-3)


def test_the_sweep_file_repeats_the_settings_and_names_the_data(finished):
    text = finished.folder.settings_file.read_text()
    assert finished.folder.config().tuning.keep_weights == 3
    for expected in ("learning_rate", "loguniform", "platform_a", "torch", "ray", "optuna"):
        assert expected in text


def test_a_sweep_over_all_architectures_runs_as_any_other(tmp_path):
    """Trials of many kinds, with and without ridge, each with its own settings; the best is retrained and imputes."""
    small = {
        "extends": "all_architectures",
        "model.latent_dim": {"choice": [8, 16]},
        "model.encoder_layers": {"layers": {"depth": [0, 1], "width": [16]}},
        "model.decoder_layers": {"layers": {"depth": [0, 1], "width": [16]}},
        "model.generator_layers": {"layers": {"depth": [1, 1], "width": [16]}},
        "training.learning_rate": {"loguniform": [1e-3, 1e-2]},
    }
    done = sweep(tmp_path / "study", small, n_trials=24, max_epochs=3, startup_trials=24)
    records = done.folder.records()
    assert {r.state for r in records} <= {"complete", "stopped"}
    assert all(np.isfinite(r.score) for r in records)
    tried = records[1:]  # the first is the base config
    assert len({r.values["model.model_type"] for r in tried}) == 8
    for record in tried:
        config = done.folder.trial(record).config()
        assert config.model.model_type == record.values["model.model_type"]
        assert config.model.linear_skip == record.values["model.linear_skip"]
        assert ("loss_weights.linear_skip_residual" in record.values) == (config.model.linear_skip == "ridge")
    ridge = [r for r in tried if r.values["model.linear_skip"] == "ridge"]
    maps = {(done.folder.trial(r).path / "linear_skip.safetensors").stat().st_ino for r in ridge}
    assert len(maps) == 1, "one file, linked, however many trials"
    config = load_config(done.folder.best_config)
    data = prepare(pair_from_frames(linear_pair()), config.data)
    again = fit(config, [data], tmp_path / "again", name="again")
    assert again.score == pytest.approx(done.best.score, abs=1e-6)
    bundle = tmp_path / "bundle"
    export_run(again.folder.path, bundle)
    imputed = load_imputer(bundle).impute(linear_pair()["b"].iloc[:5], "b", "a")
    assert imputed.values.shape == (5, 12)
    assert imputed.values.notna().all().all()
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{done.folder.study}")
    assert {t.params["model.model_type"] for t in study.trials} == {r.values["model.model_type"] for r in tried}


def test_nothing_of_ray_stays_behind(tmp_path):
    before = set(Path("/tmp").glob("cpivae-*"))
    sweep(tmp_path / "study", RATES, n_trials=1, max_epochs=1)
    assert not set(Path("/tmp").glob("cpivae-*")) - before


def test_the_settings_of_a_stopped_trial_repeat_it_to_the_epoch(finished, tmp_path):
    folder = finished.folder
    stopped = next(r for r in folder.records() if r.state == "stopped")
    winners = folder.best_config.read_text()
    folder.write_best_config(stopped)
    config = load_config(folder.best_config)
    folder.best_config.write_text(winners)
    assert config.training.stop_epoch == stopped.epochs < config.training.max_epochs
    run = fit(config, [prepare(pair_from_frames(linear_pair()), config.data)], tmp_path / "again", name="again")
    assert (run.epochs, run.best_epoch) == (stopped.epochs, stopped.best_epoch)
    assert run.score == pytest.approx(stopped.score, abs=1e-6)


def test_a_diverged_and_a_failing_trial_do_not_end_the_sweep(tmp_path, capfd):
    path = tmp_path / "study"

    def sabotage(_line):
        # Trial 2 finds its folder taken: an error that no training could survive.
        if (path / "trials").is_dir():
            (path / "trials" / "trial_00002").write_text("in the way")

    # A loss weighted beyond single precision is infinite in the first epoch.
    space = {"loss_weights.reconstruction": {"choice": [1.0, 1e39]}, "model.latent_dim": {"randint": [2, 8]}}
    result = sweep(path, space, say=sabotage, n_trials=10)
    records = {r.number: r for r in result.folder.records()}
    assert len(records) == 10
    assert "Traceback" not in "".join(capfd.readouterr())
    assert records[2].state == "failed"
    assert records[2].error.startswith("cpivae.errors.FolderError: ")
    assert "trial_00002 is a file" in records[2].error
    assert "Traceback" in (path / "errors" / "trial_00002.txt").read_text()
    for number, record in records.items():
        if number != 2:
            diverges = record.values.get("loss_weights.reconstruction", 1) > 1
            assert (record.state == "diverged") is diverges
            assert bool(record.error) is diverges
            assert (record.score is None) is diverges
    assert {"diverged", "complete"} <= {r.state for r in records.values()}
    assert result.best.state in ("complete", "stopped")
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{result.folder.study}")
    failed = {t.number for t in study.trials if t.state.name == "FAIL"}
    assert failed == {n for n, r in records.items() if r.state in ("failed", "diverged")}


def test_a_sweep_in_which_all_trials_fail_says_why(tmp_path):
    with pytest.raises(SweepFailedError, match=r"none of 2 trials .* trial \d diverged: a loss was no longer finite"):
        base = {"loss_weights": {"reconstruction": 1e39}}
        sweep(tmp_path / "study", {"loss_weights.reconstruction": {"choice": [1e39]}}, n_trials=2, base=base)


def test_a_loss_can_be_the_metric(tmp_path):
    result = sweep(tmp_path / "study", RATES, n_trials=4, metric="val_total_loss")
    records = result.folder.records()
    assert result.best.score == min(r.score for r in records)
    history = result.folder.trial(result.best).history()
    assert history["val_total_loss"].min() == result.best.score


def test_interrupted_it_keeps_what_it_has_and_ends_with_75(tmp_path):
    for platform, frame in linear_pair().items():
        frame.to_csv(tmp_path / f"{platform}.csv", index_label="SampleID")
    command = [
        *(sys.executable, "-m", "cpivae", "tune", "--no_report", "--config", "default", "--search_space", "smoke"),
        *("--platform_a", "a.csv", "--platform_b", "b.csv", "--n_trials", "500", "--max_epochs", "30"),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"\[ *3/500", line):
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < 60
    assert process.returncode == 75, errors
    assert re.search(r"error: the sweep was interrupted after \d+ of 500 trials", errors)
    assert "Traceback" not in errors
    folder = SweepFolder.open(tmp_path / "outputs_tune" / "joint_vae_study")
    records = folder.records()
    assert 3 <= len(records) < 500
    assert "running" not in {r.state for r in records}
    assert RunFolder.open(folder.trial(folder.best()).path).history()["val_cross_a_corr_mean"].max() == pytest.approx(
        folder.best().score
    )
    assert load_config(folder.best_config).training.learning_rate > 0
