"""The folder of a job on a node: made, locked, and removed by whoever finds that nobody uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cpivae.cluster.node import private_folder
from cpivae.errors import FolderError

AT_ONCE = """
import sys
from pathlib import Path
from cpivae.cluster.node import private_folder
base = Path(sys.argv[1])
for number in range(300):
    with private_folder(base / f"cpivae.j{sys.argv[2]}-{number}") as folder:
        assert (folder / ".lock").exists(), "removed while in use"
        (folder / "socket").touch()
        assert (folder / "socket").exists(), "removed while in use"
"""


def test_jobs_that_start_and_end_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    jobs = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, str(tmp_path), str(job)], stderr=subprocess.PIPE, text=True)
        for job in range(3)
    ]
    said = [job.communicate(timeout=120)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert list(tmp_path.iterdir()) == []


def test_what_killed_jobs_have_left_is_removed_and_what_others_have_is_kept(tmp_path: Path) -> None:
    for name in ("cpivae.j1", "cpivae.j2", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpivae.j1" / ".lock").touch()  # the other one was killed before it had made that
    with private_folder(tmp_path / "cpivae.j3"), private_folder(tmp_path / "cpivae.j4"):
        assert {path.name for path in tmp_path.iterdir()} == {"cpivae.j3", "cpivae.j4", "mine"}
        with pytest.raises(FolderError, match="is there already"), private_folder(tmp_path / "cpivae.j3"):
            pass
    (tmp_path / "cpivae.j5").write_text("not a folder")
    with pytest.raises(FolderError, match="is there already"), private_folder(tmp_path / "cpivae.j5"):
        pass
