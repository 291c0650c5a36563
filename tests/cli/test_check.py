"""``cpivae check``: every problem at once, nothing left behind, and a model that fails told before hours are spent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

WriteTables = Callable[..., None]

PLUGINS = Path(__file__).resolve().parents[1] / "plugin"

FAILS_AT_ONCE = """
import os
import time
from typing import Literal
import torch
from toy_variant import ToySettings, ToyWeights, build as build_toy
from cpivae.config.variants import Variant

class Settings(ToySettings):
    fault: Literal["none", "memory", "error", "exit", "hang"] = "none"

def build(settings, weights, n_features, skips):
    model = build_toy(settings, weights, n_features, skips)
    def fail(_seen):
        if settings.fault == "memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        if settings.fault == "error":
            raise RuntimeError("wrong shape")
        if settings.fault == "exit":
            os._exit(9)
        while settings.fault == "hang":
            time.sleep(1)
        return {}
    model.objective = (*model.objective, fail)
    return model

VARIANT = Variant("fails", "toy", "none", Settings, ToyWeights, build)
"""


@pytest.fixture
def place(tmp_path: Path, write_tables: WriteTables) -> Path:
    write_tables(tmp_path, n=80, d_a=6, d_b=7)
    described = tmp_path / "site" / "failing-1.0.dist-info"
    described.mkdir(parents=True)
    shutil.copy(PLUGINS / "toy_variant.py", tmp_path / "site")
    (tmp_path / "site" / "failing.py").write_text(FAILS_AT_ONCE)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[cpivae.variants]\nfailing = failing\n")
    (tmp_path / "failing.yaml").write_text("model: {model_type: failing, latent_dim: 4}\n")
    (tmp_path / "space.yaml").write_text("model.latent_dim: {choice: [2, 8]}\n")
    return tmp_path


def cpivae(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "cpivae", *map(str, words)],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place / "site")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


TABLES = ("--platform_a", "a.csv", "--platform_b", "b.csv")
FAILING = ("--config", "failing.yaml", "--search_space", "space.yaml", *TABLES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("memory", "does not run: it does not fit into the memory of the device"),
        ("error", "does not run: RuntimeError: wrong shape"),
        ("exit", "does not run: its process was ended, as happens when the machine's memory is full"),
    ],
)
def test_a_model_that_fails_is_told_before_a_sweep_begins(place: Path, fault: str, told: str) -> None:
    before = {p.name for p in place.iterdir()}
    for command in ("check", "tune"):
        done = cpivae(place, command, *FAILING, "--set", f"model.fault={fault}")
        assert done.returncode == 2, done.stdout + done.stderr
        assert told in done.stderr
        assert "the smallest configuration (failing, encoder [], latent 2, decoder []" in done.stderr
        assert {p.name for p in place.iterdir()} == before, "nothing was begun"


@pytest.mark.slow
def test_what_is_well_is_said_and_nothing_is_left(place: Path) -> None:
    before = {p.name for p in place.iterdir()}
    done = cpivae(place, "check", *FAILING, "--n_trials", 7, "--resume", "--no-check")
    assert done.returncode == 0, done.stderr
    done = cpivae(place, "check", *FAILING, "--n_trials", 7)
    assert done.returncode == 0, done.stderr
    for expected in ("80 shared samples", "the largest configuration (failing", "disk: about", "time: about"):
        assert expected in done.stdout
    assert done.stdout.endswith("nothing is wrong with this command\n")
    done = cpivae(place, "check", "--config", "failing.yaml", *TABLES, "--experiment_name", "x", "--replicas", 3)
    assert done.returncode == 0, done.stderr
    assert "the configuration (failing" in done.stdout
    assert {p.name for p in place.iterdir()} == before


@pytest.mark.slow
def test_a_check_that_is_killed_leaves_no_process(place: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cpivae", "check", *FAILING, "--set", "model.fault=hang"],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place / "site")},
        stdout=subprocess.DEVNULL,
    )
    end, children = time.monotonic() + 60, []
    while time.monotonic() < end and not children:
        time.sleep(0.2)
        found = psutil.Process(process.pid).children(recursive=True)
        children = [c for c in found if any("spawn_main" in word for word in c.cmdline())]
    assert children, "the configuration is tried in a process of its own"
    time.sleep(3)
    process.kill()
    process.wait(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


@pytest.mark.slow
def test_all_problems_come_at_once_each_in_a_line(place: Path) -> None:
    (place / "space.yaml").write_text("model.latent_dm: {choice: [2, 8]}\ntraining.learning_rate: {uniform: [2, 1]}\n")
    (place / "outputs_tune" / "joint_vae_study").mkdir(parents=True)
    (place / "outputs_tune" / "joint_vae_study" / "notes.txt").touch()
    done = cpivae(place, "check", *FAILING[:-1], "nope.csv", "--gpus_per_trial", 8)
    assert done.returncode == 2
    first, *lines = done.stderr.splitlines()
    assert first == f"error: {len(lines)} problems"
    assert all(line.startswith("  - ") for line in lines)
    for expected in (
        "space.yaml: model.latent_dm: there is no such setting. Did you mean 'model.latent_dim'?",
        "space.yaml: training.learning_rate: ",
        "a trial asks for 8 GPU(s), but this machine has",
        "joint_vae_study already exists and holds notes.txt",
        "nope.csv does not exist",
    ):
        assert any(expected in line for line in lines), expected


@pytest.mark.slow
def test_options_of_the_other_command_are_refused(place: Path) -> None:
    done = cpivae(place, "check", *FAILING, "--replicas", 3)
    assert (done.returncode, "--replicas belong to cpivae train" in done.stderr) == (2, True)
    done = cpivae(place, "check", "--config", "failing.yaml", *TABLES, "--folds", 3, "--n_trials", 4)
    assert done.returncode == 2
    assert "--n_trials, --folds belong to a sweep" in done.stderr


@pytest.mark.slow
def test_an_older_sweep_that_is_none_is_told(place: Path) -> None:
    done = cpivae(place, "check", *FAILING, "--no_check", "--from_sweep", "older")
    assert done.returncode == 2
    assert "older is not a sweep folder" in done.stderr


@pytest.mark.slow
def test_a_table_is_looked_at_even_if_the_settings_cannot_be_read(place: Path) -> None:
    done = cpivae(place, "check", *FAILING[:-1], "nope.csv", "--set", "model.latent_dm=3")
    assert done.returncode == 2
    assert "model.latent_dm: unknown setting. Did you mean 'latent_dim'?" in done.stderr
    assert "nope.csv does not exist" in done.stderr
