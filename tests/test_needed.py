"""A test that lacks a program is skipped on a laptop and fails where every test is to run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from needed import ALL_TESTS, lacking
from pages import ROOT


def test_what_is_lacking_is_a_reason_to_skip_and_with_all_tests_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALL_TESTS, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        lacking("no browser")
    monkeypatch.setenv(ALL_TESTS, "1")
    with pytest.raises(pytest.fail.Exception, match="no browser, and CPIVAE_ALL_TESTS asks for all tests"):
        lacking("no browser")


def test_continuous_integration_asks_for_all_tests() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines.index(f"export {ALL_TESTS}=1") < lines.index("bash scripts/test.sh")


BROWSER = "tests/report/test_page.py::test_a_sweep_that_has_only_begun_has_a_page_that_says_so"
SLURM = "tests/cluster/test_lab.py::test_a_job_runs_on_every_node_that_it_asks_for"
SHELLCHECK = "tests/cluster/test_script.py::test_a_script_is_sound_bash[study-1]"
NETWORK = "tests/cluster/test_doctor.py::test_a_loopback_device_that_is_down_is_wrong"


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["", "1"])
def test_without_the_programs_their_tests_are_skipped_or_fail(tmp_path: Path, asked: str) -> None:
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "/bin/bash")  # and nothing else is on the path
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", BROWSER, SLURM, SHELLCHECK, NETWORK],
        cwd=ROOT, env=os.environ | {"PATH": str(tmp_path), ALL_TESTS: asked},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    kinds = Counter(re.findall(r"^(SKIPPED|FAILED|ERROR)", done.stdout, re.M))
    assert kinds == ({"FAILED": 2, "ERROR": 2} if asked else {"SKIPPED": 4}), done.stdout
    for program in ("no Chromium", "no SLURM to test with: not installed: unshare", "no shellcheck", "a network of"):
        assert program in done.stdout
