"""A sweep whose process ends at any step of its start: the same command begins it, with ``--resume`` or without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cpivae.errors import FolderError
from cpivae.tuning.claim import FILE
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.record import TrialRecord

STEPS = {
    "the journal made": "cpivae.tuning.journal.Journal.__init__ after",
    "the folder made": "cpivae.tuning.folder.SweepFolder.create after",
    "nothing described": "cpivae.tuning.folder.SweepFolder.describe before",
    "all described": "cpivae.tuning.folder.SweepFolder.describe after",
    "nothing in the journal": "cpivae.tuning.ledger.Ledger.start before",
    "begun": "cpivae.tuning.ledger.Ledger.start after",
}

ENDS_AT = """
import contextlib, os, pkgutil, sys
name, when = sys.argv.pop(1).split()
owner, _, method = name.rpartition(".")
owner, original = pkgutil.resolve_name(owner), pkgutil.resolve_name(name)

def ends(*args, **kwargs):
    if when == "after":
        original(*args, **kwargs)
    os._exit(9)

setattr(owner, method, ends)
import cpivae.tuning.clusters
cpivae.tuning.clusters.local_ray = lambda _: contextlib.nullcontext()  # nothing of it is used so early
from cpivae.cli.main import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True], ids=["folder", "remote"])
def test_a_start_that_came_to_nothing_is_started_again_by_the_same_command(
    remote: bool, tmp_path: Path, write_tables: Callable[..., None]
) -> None:
    write_tables(tmp_path)
    output, cache = tmp_path / "outputs", tmp_path / "cache"
    words = [
        *("tune", "--no_report", "--no_check", "--config", "default", "--search_space", "smoke"),
        *("--platform_a", "a.csv", "--platform_b", "b.csv", "--n_trials", "2", "--max_epochs", "2"),
        *("--output_dir", output.as_uri() if remote else str(output), "--study_name", "sweep"),
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    for number, step in enumerate(list(STEPS.values())[2 if remote else 0 :]):
        done = run("-c", ENDS_AT, step, *words, *["--resume"] * (number % 2))
        assert done.returncode == 9, f"{step}: {done.stderr}"
        shutil.rmtree(cache, ignore_errors=True)  # another machine goes on, after it has waited for this one's claim
        (output / "sweep" / FILE).unlink(missing_ok=True)
    done = run("-m", "cpivae", *words, "--resume")
    assert done.returncode == 0, done.stderr
    folder = SweepFolder.open(output / "sweep")
    assert [record.state for record in folder.records()] == ["complete"] * 2
    assert sum(event["event"] == "ended" for event in read_journal(folder.journal)) == 2
    again = run("-m", "cpivae", *words)
    assert again.returncode == 2
    assert "--resume continues it" in again.stderr


def test_what_is_left_of_a_start_is_no_sweep_and_anything_else_is_kept(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    for step in (
        folder.cluster.mkdir,
        lambda: Journal(folder.journal).close(),
        folder.create,
        lambda: folder.settings_file.write_text("config: {}\n"),
        lambda: (folder.path / ".abc.123.tmp.yaml").touch(),
        lambda: folder.journal.write_text('{"event":'),
    ):
        folder.path.mkdir(exist_ok=True)
        step()
        folder.require_new()
        assert not folder.has_begun()
    for path in (folder.best_config, folder.trials / "trial_00000", folder.path / ".mine"):
        path.touch()
        with pytest.raises(FolderError, match="already exists and holds"):
            folder.require_new()
        path.unlink()
    folder.write_trials([TrialRecord(0, {})])
    with pytest.raises(FolderError, match="already exists and holds"):
        folder.require_new()  # somebody has removed the journal of a sweep
    folder.write_trials([])
    folder.journal.write_text('{"event":"sweep"}\n')
    assert folder.has_begun()
    with pytest.raises(FolderError, match="--resume continues it"):
        folder.require_new()
