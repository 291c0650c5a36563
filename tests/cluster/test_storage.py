"""What other machines can see, and who can read a token."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpivae.cluster import token
from cpivae.cluster.storage import not_shared
from cpivae.cluster.token import make_token
from cpivae.errors import FolderError
from cpivae.tuning.token import require_private


def test_what_every_node_has_of_its_own_is_told_once_for_all_that_is_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "data"
    (problem,) = not_shared([inner / "a.csv", inner, inner / "b.csv"], [])
    assert problem.startswith(f"{inner} is in /tmp, which every node has of its own")
    assert not_shared([inner], [tmp_path]) == []
    assert not_shared([inner], [inner / "deeper"]) != []


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self")
    (problem,) = not_shared([tmp_path / "link"], [])
    assert "looks like this machine's own (proc)" in problem
    assert not_shared([tmp_path / "link"], [Path("/proc")]) == []


def test_a_token_is_its_users_alone_and_is_kept(tmp_path: Path) -> None:
    os.umask(os.umask(0))  # whatever it is
    path = tmp_path / "token"
    make_token(path)
    assert path.stat().st_mode & 0o777 == 0o600
    made = path.read_text()
    assert len(made) >= 32
    make_token(path)
    assert path.read_text() == made
    assert [file.name for file in tmp_path.iterdir()] == ["token"]
    make_token(tmp_path / "other")
    assert (tmp_path / "other").read_text() != made


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that everybody can enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_can_read_is_refused(mode: int, everybodys: Path) -> None:
    path = everybodys / "token"
    make_token(path)
    path.chmod(mode)
    with pytest.raises(FolderError, match=f"may be known to others .*mode 0{mode:o}"):
        require_private(path)
    command = [sys.executable, "-m", "cpivae.cluster.token"]
    environment = os.environ | {"RAY_AUTH_TOKEN_PATH": str(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert path.read_text() not in done.stdout + done.stderr


def test_a_container_that_does_not_see_the_sweeps_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "study" / "cluster" / "token-7"))
    with pytest.raises(SystemExit, match=r"^2$"):
        token.main()
    assert f"there is no folder {tmp_path / 'study' / 'cluster'} here" in capsys.readouterr().err


def test_a_link_to_a_private_file_of_somebody_else_is_no_token(tmp_path: Path) -> None:
    target = tmp_path / "target"
    make_token(target)
    (tmp_path / "token").symlink_to(target)
    with pytest.raises(FolderError):
        make_token(tmp_path / "token")
