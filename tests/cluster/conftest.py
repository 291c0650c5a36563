"""Clusters for tests: one that all share and leave as it is, private ones to break; and a machine with tables alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab import LOGIN, Lab, MakeLab, why_not
from needed import lacking
from submitting import Run, WriteTables

from cpivae.cli.main import main
from cpivae.cluster import partitions

PARTITION = partitions.Partition("main", True, True, (partitions.Nodes(2, 64, 64_000, {}),))


@pytest.fixture(scope="session")
def possible() -> None:
    """Run no test where no cluster can be started."""
    if reason := why_not():
        lacking(f"no SLURM to test with: {reason}")


@contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder for clusters: their sockets lie deep in it, and the path of a socket has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared_lab(possible: None) -> Iterator[Lab]:  # noqa: ARG001
    with short_folder() as folder, Lab(folder / "lab", nodes=2, gpus=2, users=("ada", "bob")) as cluster:
        yield cluster


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """Return a cluster of two nodes, two GPUs each, and users ada and bob; jobs and commands end with the test."""
    yield shared_lab
    shared_lab.end_commands()
    shared_lab.run(LOGIN, ["scancel", "--partition=main"])


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a folder for private clusters."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def make_lab(possible: None, short: Path) -> Iterator[MakeLab]:  # noqa: ARG001
    """Start a private cluster: ``make_lab(nodes=3, ...)``; it ends with the test."""
    with ExitStack() as stack:

        def make(folder: str = "lab", **settings: Any) -> Lab:
            return stack.enter_context(Lab(short / folder, **settings))

        yield make


@pytest.fixture
def here(tmp_path: Path, write_tables: WriteTables, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tables and a space, on a machine whose SLURM has a partition."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(partitions, "partitions", lambda: [PARTITION])
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text("training.learning_rate: {loguniform: [1e-4, 1e-2]}\n")
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command to its end and return what it says."""

    def end(*words: object, status: int = 2) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert ended.value.code == status, said
        assert "Traceback" not in said.err
        return said.err if status else said.out

    return end
