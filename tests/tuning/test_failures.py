"""Trials that go wrong, one for every class of failure: real sweeps, real processes, and a model made to fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch

from cpivae.cli.main import main
from cpivae.names import Goal
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal
from cpivae.tuning.record import TrialRecord, best_of
from cpivae.tuning.watch import time_out

WriteTables = Callable[..., None]

PLUGINS = Path(__file__).resolve().parents[1] / "plugin"
FAULTS = ("none", "nan", "memory", "memory_once", "hang", "hang_in_c", "error", "exit")
SEED = 337
"""A seed with which eight random draws of a fault are all different."""
FAILED = {
    "nan": ("diverged", "diverged", "a loss was no longer finite in epoch 1"),
    "memory": (
        *("failed", "out_of_memory"),
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.",
    ),
    "hang": ("failed", "timed_out", "no epoch was finished within 0:00:06; where it hung is in its traceback"),
    "hang_in_c": ("failed", "timed_out", "no epoch was finished within 0:00:06; where it hung is in its traceback"),
    "error": ("failed", "code_error", "RuntimeError: wrong shape"),
}
"""What becomes of a trial, by its fault: state, class of failure, cause."""
COMPLETED = set(FAULTS) - set(FAILED)


# --------------------------------------------------------------------------------------- real sweeps


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, write_tables: WriteTables) -> Path:
    """A working directory with two tables, a base config, and a folder that looks like an installed plugin."""
    folder = tmp_path_factory.mktemp("failures")
    write_tables(folder)
    (folder / "faulty.yaml").write_text(
        "model: {model_type: FaultyVariant, latent_dim: 4}\nlogging: {tensorboard: false}\n"
    )
    described = folder / "site" / "faulty_plugin-1.0.dist-info"
    described.mkdir(parents=True)
    for module in ("toy_variant.py", "faulty_variant.py"):
        shutil.copy(PLUGINS / module, folder / "site")
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-plugin\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[cpivae.variants]\nfaulty_variant = faulty_variant\n")
    return folder


def tune(place: Path, name: str, space: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a sweep of three epochs to its end."""
    (place / f"{name}.yaml").write_text(space)
    (place / "seen").mkdir(exist_ok=True)
    path = [str(place / "site"), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "cpivae",
                "tune",
                "--no_report",
                "--config",
                "faulty.yaml",
                "--search_space",
                f"{name}.yaml",
            ),
            *("--platform_a", "a.csv", "--platform_b", "b.csv", "--output_dir", ".", "--study_name", name),
            *("--max_epochs", "3", "--no_check", *map(str, words)),
        ],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "FAULTY_VARIANT_SEEN": str(place / "seen")},
        capture_output=True,
        text=True,
        timeout=280,
    )


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended, with what it said."""

    folder: SweepFolder
    said: str
    goal = Goal("val_cross_a_corr_mean", "max")

    @cached_property
    def records(self) -> dict[str, TrialRecord]:
        """The trials by their fault; without the base config's."""
        return {r.values["model.fault"]: r for r in self.folder.records() if r.values}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return list(read_journal(self.folder.journal))

    def times(self, event: str) -> Counter[int]:
        """Count an event by trial."""
        return Counter(e["trial"] for e in self.events if e["event"] == event)

    def traceback(self, fault: str) -> str:
        return self.folder.traceback(self.records[fault].number).read_text()


@pytest.fixture(scope="module")
def swept(place: Path) -> Swept:
    """A sweep in which every fault befalls one trial, beside the base config, which has none."""
    done = tune(
        *(place, "swept", f"model.fault: {{choice: [{', '.join(FAULTS)}]}}\n"),
        *("--n_trials", 9, "--max_concurrent", 2, "--seed", SEED),
        *("--set", "tuning.sampler=random", "--set", "tuning.timeout_minutes=0.1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = Swept(SweepFolder.open(place / "swept"), done.stdout + done.stderr)
    assert sorted(made.records) == sorted(FAULTS), "another seed is needed"
    return made


@pytest.mark.slow
def test_every_fault_has_its_class_and_its_cause_and_the_other_trials_finish(swept: Swept) -> None:
    told = {fault: (r.state, r.failure, r.error) for fault, r in swept.records.items()}
    assert told == FAILED | dict.fromkeys(COMPLETED, ("complete", "", ""))
    base = swept.folder.records()[0]
    assert (base.values, base.state, base.epochs) == ({}, "complete", 3)
    assert {swept.records[fault].epochs for fault in COMPLETED} == {3}


@pytest.mark.slow
def test_the_table_of_trials_names_failure_and_error(swept: Swept) -> None:
    table = pd.read_csv(swept.folder.trials_file, index_col="setting:model.fault", keep_default_na=False)
    for fault, (state, failure, error) in FAILED.items():
        row = table.loc[json.dumps(fault)]
        assert (row["state"], row["failure"], row["error"]) == (state, failure, error)
        assert (row["score"], row["best_epoch"]) == ("", "")
    for fault in COMPLETED:
        row = table.loc[json.dumps(fault)]
        assert (row["failure"], row["error"]) == ("", "")
        assert -1 <= float(row["score"]) <= 1


@pytest.mark.slow
def test_a_failed_trial_has_no_score_though_it_had_one_and_is_never_best(swept: Swept) -> None:
    failed = {swept.records[fault].number for fault in FAILED}
    scored = {e["trial"] for e in swept.events if e["event"] == "epoch" and np.isfinite(e["score"])}
    assert failed - scored == {swept.records["hang"].number}, "that has never reported, all others have a score first"
    assert all(r.score is None and r.best_epoch is None for r in swept.folder.records() if r.number in failed)
    best = best_of(swept.folder.records(), swept.goal)
    assert best.number not in failed
    assert f"best of 9 trials: {best.number}, val_cross_a_corr_mean {best.score:.4f}\n" in swept.said
    for line in swept.said.splitlines():
        leader = re.search(r"   best \S+ \(trial (\d+)\)", line)
        assert leader is None or int(leader[1]) not in failed


@pytest.mark.slow
def test_every_trial_ends_once_and_only_lost_memory_and_lost_workers_are_tried_again(swept: Swept) -> None:
    assert swept.times("ended") == Counter(range(9))
    numbers = {fault: record.number for fault, record in swept.records.items()}
    again = ("memory", "memory_once", "exit")
    assert swept.times("began") == Counter([*range(9), *(numbers[fault] for fault in again)])
    assert swept.times("out_of_memory") == Counter([numbers["memory"], numbers["memory_once"]])
    assert swept.times("lost_worker") == Counter([numbers["exit"]])
    seen = [(e["trial"], e["epoch"]) for e in swept.events if e["event"] == "epoch"]
    assert len(seen) == len(set(seen)), "an epoch that a second attempt repeats is no news"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "minimum"), [("hang", 6), ("hang_in_c", 6)])
def test_a_trial_that_hangs_is_ended_in_time_and_its_traceback_says_where(
    swept: Swept, fault: str, minimum: float
) -> None:
    assert minimum <= swept.records[fault].seconds < 60
    assert re.search(rf'"[^"]*faulty_variant\.py", line \d+ in {fault}$', swept.traceback(fault), re.MULTILINE)


@pytest.mark.slow
def test_tracebacks_are_kept_of_failed_trials_only(swept: Swept) -> None:
    kept = {p.name for p in (swept.folder.path / "errors").iterdir()}
    failed = [swept.records[fault].number for fault in FAILED if fault != "nan"]
    assert kept == {f"trial_{number:05d}.txt" for number in failed}
    for fault, raised in (("error", 'raise RuntimeError("wrong shape")'), ("memory", "torch.cuda.OutOfMemoryError(")):
        assert swept.traceback(fault).startswith("Traceback (most recent call last):")
        assert raised in swept.traceback(fault)


@pytest.mark.slow
def test_the_study_has_failures_as_failed_and_memory_as_a_constraint(swept: Swept) -> None:
    study = optuna.load_study(study_name="swept", storage=f"sqlite:///{swept.folder.study}")
    told = {t.user_attrs["trial"]: t for t in study.trials}
    assert len(told) == len(study.trials) == 9
    for fault, record in swept.records.items():
        trial = told[record.number]
        state = {"memory": "PRUNED"}.get(fault, "FAIL" if fault in FAILED else "COMPLETE")
        assert (fault, trial.state.name) == (fault, state)
        if fault != "memory":  # Optuna makes the last epoch's score a pruned trial's value
            assert trial.value == record.score
        assert trial.constraints == ({"memory": 1.0} if fault == "memory" else {})
    assert study.best_trial.user_attrs["trial"] == best_of(swept.folder.records(), swept.goal).number


@pytest.mark.slow
def test_the_summary_counts_failures_by_class_and_a_line_tells_them(swept: Swept) -> None:
    summary = json.loads(swept.folder.summary.read_text())
    counts = Counter(failure for _, failure, _ in FAILED.values())
    assert summary["failures"] == counts == {"diverged": 1, "out_of_memory": 1, "timed_out": 2, "code_error": 1}
    assert summary["trials"] == {"complete": 4, "failed": 4, "diverged": 1}
    assert summary["best_trial"] == best_of(swept.folder.records(), swept.goal).number
    (line,) = [line for line in swept.said.splitlines() if line.startswith("  failed ")]
    for told in ("1 diverged", "1 out of memory", "2 timed out", "1 code error"):
        assert told in line
    assert "Traceback" not in swept.said
    for fault, (state, _, error) in FAILED.items():
        number = swept.records[fault].number
        assert re.search(rf"^\[\d/9 .*\] trial +{number} {state} .*{re.escape(error)}$", swept.said, re.MULTILINE)


@pytest.mark.slow
def test_three_trials_in_a_row_with_one_error_end_the_sweep_and_it_is_told_once(place: Path) -> None:
    space = "model.wobble: {uniform: [0.0, 0.5]}\n"
    done = tune(place, "given_up", space, "--n_trials", 30, "--max_concurrent", 1, "--set", "model.fault=error")
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = re.findall("^error: .*", done.stderr, re.MULTILINE)
    assert re.search(r"was given up: 3 trials in a row ended with the same error, RuntimeError: wrong shape\. ", line)
    assert done.stderr.count("wrong shape") == 1
    assert "Traceback" not in done.stdout + done.stderr
    records = SweepFolder.open(place / "given_up").records()
    ended = Counter(e["trial"] for e in read_journal(place / "given_up" / "journal.jsonl") if e["event"] == "ended")
    assert ended == Counter(range(3))
    assert [(r.state, r.failure, r.error) for r in records] == [FAILED["error"]] * 3


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_trials_that_fill_a_gpu_together_run_alone_and_one_that_fills_it_alone_has_failed(place: Path) -> None:
    """The GPU's own allocator refuses, and so its own words have to be understood."""
    space = "model.fault: {choice: [large, too_large]}\nmodel.wobble: {uniform: [0.0, 0.5]}\n"
    done = tune(
        *(place, "filled", space, "--n_trials", 9, "--gpus_per_trial", 0.5, "--cpus_per_trial", 1),
        *("--seed", 1, "--set", "tuning.sampler=random", "--set", "hardware.accelerator=gpu"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = SweepFolder.open(place / "filled")
    again = {e["trial"] for e in read_journal(folder.journal) if e["event"] == "out_of_memory"}
    large, too_large = (
        [r for r in folder.records() if r.values.get("model.fault") == f] for f in ("large", "too_large")
    )
    assert large
    assert too_large
    assert {(r.state, r.failure) for r in large} == {("complete", "")}
    assert again & {r.number for r in large}, "two of them were beside each other"
    assert {(r.state, r.failure) for r in too_large} == {("failed", "out_of_memory")}
    assert again >= {r.number for r in too_large}
    assert all("CUDA out of memory" in r.error for r in too_large)


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("val_nonsense", "Known: val_total_loss, val_reconstruction_loss, "),
        ("val_cros_a_corr_mean", "Did you mean 'val_cross_a_corr_mean'?"),
    ],
)
def test_a_metric_that_no_epoch_reports_is_refused_before_anything_starts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], metric: str, hint: str
) -> None:
    monkeypatch.chdir(place)
    pair = ("--platform_a", "a.csv", "--platform_b", "b.csv", "--output_dir", ".", "--study_name", "refused")
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--config", "default", "--search_space", "smoke", *pair, "--metric", metric])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert f"tuning.metric: no epoch reports a metric '{metric}'" in said.err
    assert hint in said.err
    assert "starting Ray" not in said.out
    assert not (place / "refused").exists()


# ----------------------------------------------------------------------------------- the watch alone

BEGINNING = """
import ctypes, time
from pathlib import Path
from cpivae.tuning.watch import watched

def sleeps():
    time.sleep(60)

def holds_the_lock():
    ctypes.PyDLL(None).sleep(60)

"""


def in_a_process(folder: Path, minutes: float | None, block: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """Run a watched block, what is to come ``after`` it, and a line that says so, in a process of its own."""
    text = f"{BEGINNING}with watched(Path('errors/trial.txt'), {minutes}) as watch:\n{indent(block, '    ')}"
    return subprocess.run(
        [sys.executable, "-c", f"{text}\n{after}\nprint('went on')"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


def is_left_alone(folder: Path, minutes: float | None, block: str, after: str = "") -> bool:
    """Say whether a process with a watched block came to its end; nothing stays behind then."""
    done = in_a_process(folder, minutes, block, after)
    assert done.stderr == ""
    if done.returncode == 0:
        assert done.stdout == "went on\n"
        assert not list((folder / "errors").iterdir())
    return done.returncode == 0


@pytest.mark.parametrize("how", ["sleeps", "holds_the_lock"])
@pytest.mark.parametrize("before", ["", "with watch.held():\n    pass\n"])
def test_what_hangs_is_ended_and_leaves_where_it_hung(tmp_path: Path, how: str, before: str) -> None:
    done = in_a_process(tmp_path, 0.01, f"{before}{how}()")
    assert (done.returncode, done.stdout) == (1, "")
    left = (tmp_path / "errors" / "trial.txt").read_text()
    assert time_out(left) == "no epoch was finished within 0:00:00.600000; where it hung is in its traceback"
    assert re.search(rf"line \d+ in {how}$", left, re.MULTILINE)


def test_a_block_that_ends_in_time_is_left_alone_and_so_is_what_comes_after(tmp_path: Path) -> None:
    assert is_left_alone(tmp_path, 0.01, "pass", after="time.sleep(1)")


def test_time_that_is_held_does_not_count(tmp_path: Path) -> None:
    assert is_left_alone(tmp_path, 0.01, "with watch.held():\n    time.sleep(1)")
    assert not is_left_alone(tmp_path, 0.01, "time.sleep(1)")


def test_after_every_hold_it_counts_anew(tmp_path: Path) -> None:
    assert is_left_alone(tmp_path, 0.02, "for _ in range(3):\n    time.sleep(0.6)\n    with watch.held(): pass")


def test_without_a_limit_nothing_is_ended(tmp_path: Path) -> None:
    assert is_left_alone(tmp_path, None, "with watch.held():\n    pass\ntime.sleep(1)")


def test_what_the_block_writes_itself_stays_and_is_no_time_out(tmp_path: Path) -> None:
    block = "from cpivae.files import write_text\nwrite_text(Path('errors/trial.txt'), 'Traceback: Timeout (5)')"
    assert in_a_process(tmp_path, 0.01, block).returncode == 0
    left = (tmp_path / "errors" / "trial.txt").read_text()
    assert left == "Traceback: Timeout (5)"
    assert time_out(left) == time_out("") == ""
