"""The report of a real sweep: ``tune`` writes it, and nothing that goes wrong with it takes anything from the sweep."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import Page
from made_sweeps import write_pair
from pages import commands_of

from cpivae.cli.main import main
from cpivae.report import write
from cpivae.tuning.folder import SweepFolder

SMALL = (
    *(
        "--config",
        "default",
        "--search_space",
        "smoke",
        "--platform_a",
        "A.csv",
        "--platform_b",
        "B.csv",
        "--n_trials",
        "6",
    ),
    *("--max_epochs", "4", "--no_check", "--set", "tuning.asha.grace_period=1", "--set", "logging.tensorboard=false"),
)


def cpivae(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "cpivae", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_tune_leaves_a_report_and_the_commands_of_its_page_run_as_written(
    tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    for platform, path in write_pair(tmp_path).items():
        path.rename(tmp_path / f"{platform.upper()}.csv")
    said = cpivae(tmp_path, "tune", *SMALL)
    report = tmp_path / "outputs_tune" / "joint_vae_study" / "report.html"
    assert f"  report    {report}" in said.splitlines()
    assert "No baselines were given" in report.read_text()
    commands = commands_of("docs/report.md")
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(command)[1:])
        assert ended.value.code == 0
    page.complaints.clear()
    page.open(report)
    for name in ("overview", "search", "settings", "trials", "proteins", "uncertainty", "latent", "baselines"):
        page.tab(name)
    assert page.complaints == []
    assert page.run("document.querySelectorAll('[data-table=verdicts] tbody tr').length") >= 10


def test_no_failure_to_report_is_a_failure_of_the_sweep(finished: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(write, "make_report", fails)
    said = write.try_report(finished)
    assert (
        said
        == f"warning: no report was written (RuntimeError: a bug). cpivae report --sweep {finished.path} tries again"
    )


def test_a_report_is_written_whole_or_not_at_all(finished: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write.write_report(finished)
    before = written.read_bytes()
    monkeypatch.setattr(write, "render", lambda *_: "\ud800")  # cannot be encoded, so writing fails half way
    with pytest.raises(UnicodeEncodeError):
        write.write_report(finished)
    assert written.read_bytes() == before
    assert [p.name for p in finished.path.iterdir() if p.name.endswith(".tmp.html")] == []


def test_making_a_report_of_a_small_sweep_takes_a_moment(finished: SweepFolder) -> None:
    write.make_report(finished)
    started = time.process_time()
    write.make_report(finished)
    assert time.process_time() - started < 3
