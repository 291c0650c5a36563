"""A node of a job: what its Ray is given, and its folder: made, locked, and removed by whoever finds it in no use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray._private import ray_constants

from cpivae.cluster.node import private_folder, start_arguments
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


@pytest.mark.parametrize(("memory_mb", "shared"), [(100_000, 40 * 2**20), (200, 2**34)])
def test_ray_starts_where_little_memory_can_be_shared(
    memory_mb: int, shared: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=shared))
    words = start_arguments({"SLURM_MEM_PER_NODE": str(memory_mb)}, tmp_path, None)
    given = dict(word.removeprefix("--").split("=") for word in words if "=" in word)
    assert int(given["object-store-memory"]) == ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES
    assert int(given["object-store-memory"]) + int(given["memory"]) == memory_mb * 2**20


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
