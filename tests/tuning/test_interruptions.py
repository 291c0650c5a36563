"""Sweeps that are killed at random moments, in any of their processes, and go on: real processes, real kills."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import psutil
import pytest

from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.ledger import read_ledger
from cpivae.tuning.referee import Referee

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

SPACE = """
model.latent_dim: {randint: [2, 16]}
model.linear_skip: {choice: [none, ridge]}
training.learning_rate: {loguniform: [1e-4, 1e-2]}
"""


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    random_values = np.random.default_rng(0)
    factors = random_values.normal(size=(90, 3))
    for platform, d in (("a", 12), ("b", 15)):
        values = factors @ random_values.normal(size=(3, d)) + 0.3 * random_values.normal(size=(90, d))
        frame = pd.DataFrame(values, [f"S{i}" for i in range(90)], [f"{platform}{i}" for i in range(d)])
        frame.to_csv(tmp_path / f"{platform}.csv", index_label="sample")
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "cpivae", "tune", "--no_report", "--config", "default", "--search_space", "space.yaml"),
        *("--platform_a", "a.csv", "--platform_b", "b.csv", "--output_dir", ".", "--study_name", "sweep"),
        *("--set", "training.batch_size=8", "--set", "tuning.startup_trials=5", *map(str, words)),
    ]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str], timeout: float = 240) -> str:
    said, _ = process.communicate(timeout=timeout)
    return said


def size(journal: Path) -> int:
    return journal.stat().st_size if journal.is_file() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 120) -> bool:
    """Wait until something holds; say whether it did before the process ended."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        if condition():
            return True
        time.sleep(0.05)
    assert process.poll() is not None, "the sweep stands still"
    return False


def kill_one(process: subprocess.Popen[str], victim: str, dice: random.Random) -> bool:
    """Kill the driver, one of its workers, or its raylet; say whether there was one."""
    if victim == "driver":
        process.kill()
        return True
    name = {"worker": "ray::", "raylet": "raylet"}[victim]
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if words and (words[0].startswith(name) or words[0].endswith(f"/{name}")):
            found.append(child)
    if found:
        dice.choice(found).kill()
    return bool(found)


def ends(folder: SweepFolder) -> Counter[int]:
    if not folder.journal.is_file():
        return Counter()
    return Counter(e["trial"] for e in read_journal(folder.journal) if e["event"] == "ended")


def misjudged(folder: SweepFolder) -> tuple[set[int], set[int]]:
    """Judge every trial at every rung by all that had got there before, whichever process heard of it.

    Returned are those that were stopped although they were good enough, and those that went on although they were not.
    """
    config = folder.config()
    share_that_goes_on = 1 / config.tuning.asha.reduction_factor
    rungs: dict[int, list[float]] = {epochs: [] for epochs in Referee(config, read_ledger(folder)).rungs[0]}
    assert min(rungs) == config.grace_period()
    assert sum(epochs < config.tuning.max_epochs for epochs in rungs) >= 2
    to_be_stopped: set[int] = set()
    stopped, went_on = set[int](), set[int]()
    for event in read_journal(folder.journal):
        number = event.get("trial")
        if event["event"] == "epoch":
            went_on |= to_be_stopped & {number}
            to_be_stopped.discard(number)
            earlier = rungs.get(event["epoch"] + 1)
            if earlier is None:
                continue
            if earlier and number > 0 and event["score"] < np.quantile(earlier, 1 - share_that_goes_on):
                to_be_stopped.add(number)
            earlier.append(event["score"])
        elif event["event"] == "ended" and event["state"] == "stopped":
            stopped |= {number} - to_be_stopped
            to_be_stopped.discard(number)
    return stopped, went_on


def test_twenty_kills_lose_and_repeat_no_finished_trial(tables: Path) -> None:
    dice, kills, n_trials = random.Random(20), Counter[str](), 80
    options = ("--n_trials", n_trials, "--max_epochs", 40, "--set", "tuning.checkpoint_seconds=0", "--resume")
    folder = SweepFolder(tables / "sweep")
    finished: dict[int, dict[str, object]] = {}
    ended_with_work = 0  # so often a driver ended that may have heard of an epoch and not yet acted on it
    while kills.total() < 20:
        for snapshot in folder.ray.glob("*.json"):  # a kill may tear them, and they may be gone
            fate = dice.choice(["as it is", "torn", "deleted"])
            if fate == "torn":
                snapshot.write_bytes(b"torn")
            elif fate == "deleted":
                snapshot.unlink()
        process = start(tables, *options)
        before = size(folder.journal)
        alive, victim = wait_for(lambda before=before: size(folder.journal) > before + 400, process), ""
        while alive and kills.total() < 20:
            time.sleep(dice.uniform(0.1, 2.0))
            victim = dice.choices(["driver", "worker", "raylet"], [2, 5, 1])[0]
            kills[victim] += kill_one(process, victim, dice)
            mark = size(folder.journal)
            alive = victim == "worker" and wait_for(lambda mark=mark: size(folder.journal) > mark + 300, process)
        if victim == "raylet" and process.poll() is None:
            assert process.wait(timeout=60) == 75
        if process.poll() is None:
            process.kill()
        ended_with_work += 1
        said = finish(process)
        assert process.returncode not in (0, 2), said
        now = {e["trial"]: e for e in read_journal(folder.journal) if e["event"] == "ended"}
        assert all(now[number] == event for number, event in finished.items()), "what has ended stays as it ended"
        finished = now
        assert len(finished) < n_trials, "the sweep is too short for this test"
    process = start(tables, *options)
    said = finish(process)
    assert process.returncode == 0, said
    assert kills["driver"] >= 2
    assert kills["worker"] >= 5
    assert kills["raylet"] >= 1
    assert ends(folder) == Counter(range(n_trials)), "each trial ended once"
    stopped, went_on = misjudged(folder)
    assert stopped == set(), "ASHA knows the same after a kill as before"
    assert len(went_on) <= 2 * ended_with_work
    records = folder.records()
    assert [r.number for r in records] == list(range(n_trials))
    assert {r.state for r in records} <= {"complete", "stopped"}, [r for r in records if r.failure]
    for record in records:
        history = folder.trial(record).history()
        assert list(history["epoch"]) == list(range(record.epochs))
        assert history["val_cross_a_corr_mean"].max() == pytest.approx(record.score)
        assert folder.trial(record).final_model.is_file()
        assert not list((folder.trials / record.folder / "checkpoints").glob("state*"))
    assert not [p for p in folder.trials.iterdir() if p.name.startswith(".")]
    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder.study}")
    told = {t.user_attrs["trial"]: t for t in study.trials}
    assert {n: t.state.name for n, t in told.items()} == {
        r.number: {"complete": "COMPLETE", "stopped": "PRUNED"}[r.state] for r in records[1:]
    }  # the base config lies outside the space
    for record in records[1:]:
        assert max(told[record.number].intermediate_values.values()) == pytest.approx(record.score)


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_ends_a_sweep_cleanly_and_the_same_command_goes_on(tables: Path, sent: str) -> None:
    options = ("--n_trials", 8, "--max_epochs", 30, "--set", "tuning.checkpoint_seconds=0", "--resume")
    folder = SweepFolder(tables / "sweep")
    process = start(tables, *options)
    assert wait_for(lambda: size(folder.journal) > 3000, process)
    process.send_signal(getattr(signal, sent))
    said = finish(process, timeout=60)
    assert process.returncode == 75, said
    assert re.search(r"error: the sweep .*interrupted .*The same command with --resume goes on\.", said)
    assert "Traceback" not in said
    assert "running" not in {r.state for r in folder.records()}
    done = ends(folder)
    # Ray's snapshots may be damaged or gone.
    for snapshot in folder.ray.glob("*.json"):
        snapshot.write_bytes(b"torn")
    process = start(tables, *options)
    said = finish(process)
    assert process.returncode == 0, said
    assert f"{len(done)} are done" in said or not done
    assert ends(folder) == Counter(range(8))


def test_one_worker_interrupted_comes_to_what_it_does_uninterrupted(tables: Path) -> None:
    options = ("--n_trials", 7, "--max_epochs", 25, "--max_concurrent", 1, "--set", "tuning.checkpoint_seconds=0")
    folder = SweepFolder(tables / "sweep")
    process = start(tables, *options)
    assert wait_for(lambda: sum(ends(folder).values()) >= 2, process)
    time.sleep(0.4)
    process.kill()
    finish(process)
    said = finish(process := start(tables, *options, "--resume"))
    assert process.returncode == 0, said
    parts = folder.records()
    folder.path.rename(tables / "parts")
    said = finish(process := start(tables, *options))
    assert process.returncode == 0, said
    whole = folder.records()
    assert [(r.values, r.state, r.epochs, r.best_epoch) for r in parts] == [
        (r.values, r.state, r.epochs, r.best_epoch) for r in whole
    ]
    assert [r.score for r in parts] == pytest.approx([r.score for r in whole], abs=1e-6)


def test_a_changed_command_is_not_resumed_and_says_what_changed(tables: Path) -> None:
    options = ("--n_trials", 3, "--max_epochs", 2)
    assert (process := start(tables, *options)).wait(timeout=120) == 0, finish(process)
    before = {p: p.stat().st_mtime_ns for p in (tables / "sweep").rglob("*")}
    said = finish(process := start(tables, *options))
    assert process.returncode == 2
    assert "--resume continues it" in said
    (tables / "space.yaml").write_text(SPACE.replace("16]", "32]"))
    said = finish(process := start(tables, "--n_trials", 2, "--max_epochs", 3, "--set", "tuning.seed=7", "--resume"))
    assert process.returncode == 2
    for line in (
        "tuning.max_epochs: 2 then, 3 now",
        "tuning.seed: 42 then, 7 now",
        "tuning.n_trials: 3 then, 2 now; it may only grow",
        "space: model.latent_dim.randint: [2, 16] then, [2, 32] now",
    ):
        assert f"  - {line}" in said
    (tables / "space.yaml").write_text(SPACE)
    table = pd.read_csv(tables / "a.csv", index_col=0)
    (table + 1).to_csv(tables / "a.csv")
    said = finish(process := start(tables, *options, "--resume"))
    assert process.returncode == 2
    assert "the tables, their samples or their splits are others" in said
    assert {p: p.stat().st_mtime_ns for p in (tables / "sweep").rglob("*")} == before
    table.to_csv(tables / "a.csv")


def test_two_sweeps_at_once_do_not_see_each_other_and_one_folder_has_one_process(tables: Path) -> None:
    options = ("--n_trials", 4, "--max_epochs", 12, "--max_concurrent", 1, "--resume")
    first = start(tables, *options)
    folder = SweepFolder(tables / "sweep")
    assert wait_for(lambda: size(folder.journal) > 100, first)
    second, third = start(tables, *options, "--study_name", "other"), start(tables, *options)
    said = finish(third)
    assert third.returncode == 2, said
    assert "another process is running the sweep" in said
    for process in (first, second):
        assert "best of 4 trials" in finish(process)
    scores = [[r.score for r in SweepFolder(tables / name).records()] for name in ("sweep", "other")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_an_older_sweep_is_learnt_from(tables: Path) -> None:
    assert (process := start(tables, "--n_trials", 6, "--max_epochs", 4)).wait(timeout=120) == 0, finish(process)
    older = SweepFolder(tables / "sweep")
    said = finish(
        process := start(tables, "--n_trials", 5, "--max_epochs", 4, "--study_name", "new", "--from_sweep", "sweep")
    )
    assert process.returncode == 0, said
    assert "5 trials of an older sweep to learn from" in said  # the base config lies outside the space
    new = SweepFolder(tables / "new").records()
    best = sorted((r for r in older.records() if r.values), key=lambda r: -r.score)[:3]
    assert [r.origin for r in new] == ["base config", *["older sweep"] * 3, "tpe"]
    assert [r.values for r in new[1:4]] == [r.values for r in best]
    study = optuna.load_study(study_name="new", storage=f"sqlite:///{tables / 'new' / 'study.db'}")
    assert len(study.trials) == 5 + 4


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--time_budget", "50s", "ended early: the time budget"),
        ("--set", "tuning.patience=2", "ended early: 2 trials have ended without improving"),
    ],
)
def test_a_budget_ends_a_sweep_with_what_was_found(tables: Path, option: str, value: str, told: str) -> None:
    process = start(tables, "--n_trials", 300, "--max_epochs", 6, option, value)
    said = finish(process)
    assert process.returncode == 0, said
    assert told in said
    assert "best of" in said
    records = SweepFolder(tables / "sweep").records()
    assert 1 <= len(records) < 300
    assert "running" not in {r.state for r in records}
