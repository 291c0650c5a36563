"""Files are written whole or not at all, leave nothing behind, and belong to the whole lab."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpivae.errors import FolderError
from cpivae.files import folder_written_whole, link_or_copy, require_new_folder, sha256, write_text, written_whole


class PowerCutError(Exception):
    pass


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# ---------------------------------------------------------------------------------------------- files


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.csv.gz"
    with written_whole(target) as beside:
        beside.write_bytes(b"new")
        assert beside.parent == tmp_path
        assert beside.name.endswith(".csv.gz")  # writers choose a format by it
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["x.csv.gz"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(PowerCutError), written_whole(target) as beside:
        beside.write_text("half of the n")
        raise PowerCutError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), written_whole(tmp_path / "x.txt") as beside:
        beside.write_text("half")
        raise failure
    assert names(tmp_path) == []


def test_a_writer_that_removes_its_file_fails_without_harm(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "x.txt") as beside:
        beside.unlink()
    assert (tmp_path / "x.txt").read_text() == "old"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with written_whole(tmp_path / "x") as one, written_whole(tmp_path / "x") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "x").read_text() == "one"
    assert names(tmp_path) == ["x"]


def test_files_may_be_read_by_those_who_may_read_any_new_file(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "x.txt", "text")
    assert mode(tmp_path / "x.txt") == 0o666 & ~umask
    assert os.umask(umask) == umask  # looking at the mask did not change it


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "µ\nβ\r\n")
    assert (tmp_path / "x.txt").read_bytes() == "µ\nβ\r\n".encode()


# ---------------------------------------------------------------------------------------------- links


def test_a_link_is_the_same_file_and_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "target").write_text("old")
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").samefile(tmp_path / "source")
    assert names(tmp_path) == ["source", "target"]


def test_where_links_are_refused_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not for this disk")

    (tmp_path / "source").write_text("new")
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "new"
    assert not (tmp_path / "target").samefile(tmp_path / "source")
    assert names(tmp_path) == ["source", "target"]


def test_a_missing_source_leaves_the_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "old"
    assert names(tmp_path) == ["target"]


# ---------------------------------------------------------------------------------------------- folders


def test_a_folder_appears_whole_with_its_parents(tmp_path: Path, umask: int) -> None:
    target = tmp_path / "experiment" / "version"
    with folder_written_whole(target) as beside:
        write_text(beside / "x.txt", "text")
        (beside / "inner").mkdir()
        assert not target.exists()
    assert names(target) == ["inner", "x.txt"]
    assert names(target.parent) == ["version"]
    assert mode(target) == 0o777 & ~umask


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with folder_written_whole(tmp_path / "run") as beside:
        (beside / "x").touch()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["x"]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(PowerCutError), folder_written_whole(tmp_path / "run") as beside:
        (beside / "x").touch()
        raise PowerCutError
    assert names(tmp_path) == []


def test_an_occupied_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("a", "b", "c", "d", ".hidden"):
        (run / name).touch()
    with pytest.raises(FolderError) as caught, folder_written_whole(run):
        raise PowerCutError  # is not reached
    assert str(caught.value) == (
        f"the output folder {run} already exists and holds .hidden, a, b and 2 more. "
        "Nothing was changed: choose another name, or move the folder away."
    )
    assert names(run) == [".hidden", "a", "b", "c", "d"]
    assert names(tmp_path) == ["run"]


def test_new_folders_are_those_that_nothing_occupies(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    require_new_folder(tmp_path / "empty")
    require_new_folder(tmp_path / "new")
    require_new_folder(tmp_path / "deep" / "below" / "new")
    with pytest.raises(FolderError, match=r"the output .*/file is a file; a folder of that name is to be created"):
        require_new_folder(tmp_path / "file")
    with pytest.raises(FolderError, match=r"/file/x/y cannot be created: .*/file is a file\. Choose another"):
        require_new_folder(tmp_path / "file" / "x" / "y")
    assert names(tmp_path) == ["empty", "file"]


def test_sha256(tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
