"""A sweep that is kept in a bucket: a real S3 interface on this machine, real kills, and a machine that is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from s3_server import s3_server

from cpivae.tuning.journal import read_journal
from cpivae.tuning.remote import Remote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WriteTables = Callable[..., None]
N_TRIALS = 12
SPACE = """
model.latent_dim: {randint: [2, 16]}
model.linear_skip: {choice: [none, ridge]}
training.learning_rate: {loguniform: [1e-4, 1e-2]}
"""


@dataclass
class Laptop:
    """A machine of a user's, with its own disk."""

    home: Path
    environment: dict[str, str]

    def start(self, *words: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "cpivae", *map(str, words)],
            cwd=self.home, env=os.environ | self.environment | {"XDG_CACHE_HOME": str(self.home / "cache")},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def tune(self, *words: object) -> subprocess.Popen[str]:
        return self.start(
            *("tune", "--no_report", "--config", "default", "--search_space", "space.yaml", "--platform_a", "a.csv"),
            *("--platform_b", "b.csv", "--study_name", "study", "--no_check", "--n_trials", N_TRIALS),
            *("--max_epochs", 25, "--set", "training.batch_size=8", "--set", "tuning.checkpoint_seconds=0"),
            *("--set", "logging.tensorboard=false", *words),
        )

    def finish(self, process: subprocess.Popen[str], status: int = 0) -> str:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == status, said
        return said


@pytest.fixture
def laptops(
    tmp_path: Path, write_tables: WriteTables, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Laptop]]:
    with s3_server(tmp_path_factory.mktemp("s3"), "lab") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

        def make(name: str) -> Laptop:
            home = tmp_path / name
            home.mkdir()
            write_tables(home)
            (home / "space.yaml").write_text(SPACE)
            return Laptop(home, environment)

        yield make


def ends(journal: bytes, tmp_path: Path) -> dict[int, dict[str, object]]:
    (tmp_path / "journal.jsonl").write_bytes(journal)
    events = list(read_journal(tmp_path / "journal.jsonl"))
    ended = [e for e in events if e["event"] == "ended"]
    assert set(Counter(e["trial"] for e in ended).values()) <= {1}, "no trial ends twice"
    return {e["trial"]: e for e in ended}


def wait_for_ends(number: int, sweep: Remote, process: subprocess.Popen[str], tmp_path: Path) -> dict[int, object]:
    end = time.monotonic() + 200
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        known = ends(sweep.read("journal.jsonl") or b"", tmp_path)
        if len(known) >= number:
            return dict(known)
        time.sleep(0.3)
    raise AssertionError("the sweep stands still")


def test_a_sweep_in_a_bucket_outlives_its_worker_its_driver_and_its_machine(
    laptops: Callable[[str], Laptop], tmp_path: Path
) -> None:
    first, sweep = laptops("first"), Remote("s3://lab/sweeps") / "study"
    process = first.tune("--output_dir", "s3://lab/sweeps")
    wait_for_ends(1, sweep, process, tmp_path)
    titles = {c: " ".join(c.cmdline()[:1]) for c in psutil.Process(process.pid).children(recursive=True)}
    # Not Ray's own agent, which has such a title as well, and whose end is that of the node.
    next(c for c, title in titles.items() if "ray::" in title and "Agent" not in title).kill()
    known = wait_for_ends(3, sweep, process, tmp_path)
    process.kill()
    process.communicate()
    shutil.rmtree(first.home)

    second = laptops("second")
    again = second.finish(second.tune("--output_dir", "s3://lab/sweeps"), status=2)
    assert "the output folder s3://lab/sweeps/study already holds" in again
    said = second.finish(second.tune("--output_dir", "s3://lab/sweeps", "--resume"))
    assert "was in use a moment ago" in said
    assert "all of it s3://lab/sweeps/study" in said
    ended = ends(sweep.read("journal.jsonl") or b"", tmp_path)
    assert set(ended) == set(range(N_TRIALS))
    assert {number: ended[number] for number in known} == known, "what had ended stays as it ended"

    # All of it is there: another machine exports from a copy what the sweep has exported.
    whole = tmp_path / "copy"
    sweep.fetch(whole)
    assert not [path for path in whole.rglob("*") if path.name.startswith(("state", "running"))]
    assert {path.name for path in (whole / "trials").iterdir()} == {f"trial_{n:05d}" for n in range(N_TRIALS)}
    assert all((run / "final_model.ckpt").is_file() for run in (whole / "trials").iterdir())
    third = laptops("third")
    third.finish(third.start("export", "--sweep", whole, "--output", "bundle"))
    weights = [
        path.read_bytes()
        for path in (third.home / "bundle" / "weights.safetensors", whole / "best" / "weights.safetensors")
    ]
    assert weights[0] == weights[1]
    third.finish(
        third.start(
            *("impute", "--experiment_dir", "bundle", "--input_data", "a.csv", "--source_platform", "a"),
            *("--target_platform", "b", "--output", "imputed.csv"),
        )
    )
    assert not [p for p in Path("/tmp").glob("cpivae-*") if p.name.split("-")[1] == str(process.pid)]


def test_a_bucket_that_is_none_is_a_sentence_before_anything_starts(laptops: Callable[[str], Laptop]) -> None:
    laptop = laptops("laptop")
    said = laptop.finish(laptop.tune("--output_dir", "s3://no-such-bucket/sweeps"), status=2)
    assert "Traceback" not in said
    assert "s3://no-such-bucket/sweeps/study" in said
    assert not (laptop.home / "cache").exists() or not list((laptop.home / "cache" / "cpivae").iterdir())
