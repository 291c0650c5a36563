"""A sweep that is asked to end before its trials run, or after: it says how to go on, and leaves nothing half made."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cpivae.errors import InterruptedSweepError
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.interrupts import interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]


@pytest.mark.parametrize("sent", SIGNALS)
def test_a_signal_ends_the_block_and_what_handled_it_before_does_so_again(sent: signal.Signals, tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    cleaned = []

    def asked_to_end() -> None:
        with interruptible(SweepFolder(tmp_path)):
            try:
                os.kill(os.getpid(), sent)
                cleaned.append("too late")
            finally:
                cleaned.append("cleaned")

    with pytest.raises(InterruptedSweepError, match=r"before the sweep had begun\. The same command starts it\."):
        asked_to_end()
    (tmp_path / "journal.jsonl").write_text('{"event":"sweep"}\n')
    with pytest.raises(InterruptedSweepError, match=rf"{re.escape(str(tmp_path))}\. The same command with --resume"):
        asked_to_end()
    assert cleaned == ["cleaned", "cleaned"]
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_a_thread_of_a_notebook_may_do_it_as_well(tmp_path: Path) -> None:
    done = []

    def in_a_thread() -> None:
        with interruptible(SweepFolder(tmp_path)):
            done.append(True)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert done == [True]


HOOK = """
import os, sys
import cpivae.{module} as module
from cpivae.cli.main import main

def and_then(*words, **more):
    os.kill(os.getpid(), {number})
    return before(*words, **more)

before, module.{name} = module.{name}, and_then
main(sys.argv[1:])
"""
RAY_RUNS, BUNDLE_IS_MADE = ("tuning.engine", "run"), ("export", "write_manifest")
"""(module, function): what is called then."""


@pytest.mark.slow
def test_a_sweep_ends_with_its_own_status_before_and_after_its_trials_and_can_be_gone_on_with(
    write_tables: Callable[[Path], None], tmp_path: Path
) -> None:
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text("model.latent_dim: {randint: [2, 16]}\n")
    words = [
        *("tune", "--config", "default", "--search_space", "space.yaml", "--platform_a", "a.csv"),
        *("--platform_b", "b.csv", "--output_dir", ".", "--study_name", "sweep", "--n_trials", "2"),
        *("--max_epochs", "2", "--no_check", "--no_report", "--resume"),
    ]

    def run(*python: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *python, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)

    for module, name in (RAY_RUNS, BUNDLE_IS_MADE):
        said = run("-c", HOOK.format(module=module, name=name, number=int(signal.SIGTERM)))
        assert said.returncode == 75, said.stdout + said.stderr
        assert re.search(r"^error: interrupted\..* --resume goes on", said.stderr, re.MULTILINE)
        assert "Traceback" not in said.stderr
        sweep = tmp_path / "sweep"
        assert [p.name for p in sweep.glob(".*")] == []
        assert not (sweep / "best").exists()
    said = run("-m", "cpivae")
    assert said.returncode == 0, said.stderr
    assert "2 trials of at most 2 epochs, 2 are done" in said.stdout
    assert (sweep / "best" / "weights.safetensors").is_file()
