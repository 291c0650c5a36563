"""The sweep folder: what is left in it, and what is not."""

from __future__ import annotations

from pathlib import Path

from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import TrialRecord


def test_what_killed_processes_had_begun_is_removed_for_trials_that_have_ended_only(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.create()
    for name in ("trial_00001", ".trial_00001.ab12cd", ".trial_00002.xyz", ".trial_00010", ".trial_00010.q"):
        (folder.trials / name).mkdir()
        (folder.trials / name / "config.yaml").touch()
    folder.clear_half_written([TrialRecord(1, {}), TrialRecord(10, {})])
    assert {path.name for path in folder.trials.iterdir()} == {"trial_00001", ".trial_00002.xyz", ".trial_00010"}
