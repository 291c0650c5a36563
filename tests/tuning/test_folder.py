"""The sweep folder: what is left in it, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpivae.config.load import make_config
from cpivae.errors import FolderError
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import TrialRecord

BEGUN = {"data": {"samples_table": "/cluster/s.csv", "groups": "person"}, "hardware": {"accelerator": "gpu"}}


def test_a_sweep_goes_on_on_another_machine_which_is_told(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.create()
    described = {"space": {}, "fingerprint": "f", "proposals": []}
    begun = {**BEGUN, "tuning": {"gpus_per_trial": 0.25}}
    folder.describe(make_config(begun, "test"), described)
    assert folder.require_same(make_config(begun, "test"), described) == []
    moved = {"data": {**BEGUN["data"], "samples_table": "/laptop/s.csv"}, "hardware": {"accelerator": "cpu"}}
    assert folder.require_same(make_config(moved, "test"), described) == [
        "hardware.accelerator: gpu then, cpu now",
        "tuning.gpus_per_trial: 0.25 then, 0.0 now",
    ]
    other = moved | {"hardware": {"accelerator": "cpu", "precision": "64-true"}}
    with pytest.raises(
        FolderError, match=r"could not be compared:\n  - hardware.precision: 32-true then, 64-true now$"
    ):
        folder.require_same(make_config(other, "test"), described)


def test_what_killed_processes_had_begun_is_removed_for_trials_that_have_ended_only(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.create()
    for name in ("trial_00001", ".trial_00001.ab12cd", ".trial_00002.xyz", ".trial_00010", ".trial_00010.q"):
        (folder.trials / name).mkdir()
        (folder.trials / name / "config.yaml").touch()
    folder.clear_half_written([TrialRecord(1, {}), TrialRecord(10, {})])
    assert {path.name for path in folder.trials.iterdir()} == {"trial_00001", ".trial_00002.xyz", ".trial_00010"}
