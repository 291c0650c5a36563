"""The token of a sweep on one machine: for its owner alone, or refused before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cpivae.errors import FolderError
from cpivae.tuning.token import make_private_token


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that everybody can enter, as many are."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setenv("HOME", folder)
        yield Path(folder)


def of_ray(home: Path, mode: int = 0o644) -> Path:
    """Make a token as Ray does."""
    path = home / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o755)
    path.write_text("secret")
    path.chmod(mode)
    return path


def test_what_is_made_is_its_owners_alone_and_is_kept(home: Path) -> None:
    before = os.umask(0o022)
    try:
        make_private_token()
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    made = path.read_text()
    make_private_token()
    assert path.read_text() == made
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_one_that_others_can_read_is_refused_with_what_mends_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: int, named: bool
) -> None:
    path = of_ray(home, mode)
    if named:
        path = path.rename(home / "named")
        (home / "link").symlink_to(path)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "link"))
    with pytest.raises(FolderError, match=rf"may be known to others .*mode 0{mode:o}.*chmod 600 {path}"):
        make_private_token()
    path.chmod(0o600)
    make_private_token()
    assert path.read_text() == "secret"


def test_one_in_a_folder_that_nobody_else_enters_is_private(home: Path) -> None:
    path = of_ray(home)
    path.parent.chmod(0o700)
    make_private_token()


def test_one_that_ray_does_not_use_is_let_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_ray(home)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    make_private_token()
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    make_private_token()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["tune", "check"])
@pytest.mark.parametrize("there", [True, False])
def test_a_sweep_says_so_before_anything_starts(
    home: Path, write_tables: Callable[[Path], None], command: str, there: bool
) -> None:
    write_tables(home)
    named = of_ray(home) if there else home / "nothing"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cpivae", command, "--config", "default", "--search_space", "smoke"),
            *("--platform_a", "a.csv", "--platform_b", "b.csv", "--no_check"),
        ],
        cwd=home, env=os.environ | ({} if there else {"RAY_AUTH_TOKEN_PATH": str(named)}),
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert (f"the token {named} may be known to others" if there else f"{named}: No such file") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "outputs_tune").exists()


@pytest.mark.slow
def test_a_sweep_on_this_machine_listens_to_this_machine_alone_and_its_report_knows_no_token(
    home: Path, tmp_path: Path, write_tables: Callable[[Path], None]
) -> None:
    write_tables(tmp_path)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cpivae", "tune", "--config", "default", "--search_space", "smoke"),
            *("--platform_a", "a.csv", "--platform_b", "b.csv", "--no_check", "--n_trials", "4", "--max_epochs", "20"),
            *("--study_name", "sweep"),
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    sweep, listens = tmp_path / "outputs_tune" / "sweep", set[str]()
    while process.poll() is None:
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in processes:
            with suppress(psutil.Error):
                listens |= {c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        time.sleep(0.5)
    assert process.returncode == 0, process.communicate()[0]
    assert listens
    assert listens <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, "nobody else on the network reaches Ray"
    token = (home / ".ray" / "auth_token").read_bytes()
    assert len(token) == 64
    files = [path for path in sweep.rglob("*") if path.is_file()]
    assert sweep / "report.html" in files
    assert [path for path in files if token in path.read_bytes()] == []
