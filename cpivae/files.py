"""Writing files so that nobody ever sees half of one: write beside, then rename."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cpivae.errors import FolderError, listed


@contextmanager
def written_whole(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place on success, remove it on any failure.

    The temporary name keeps the suffixes of ``path``, because writers choose a format by them.  A ``lasting`` file
    survives a power failure.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=f".{os.getpid()}.tmp{''.join(path.suffixes)}")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        share_like_a_new_file(beside)
        if lasting:
            with beside.open("rb") as stream:
                os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def is_half_written(name: str) -> bool:
    """Say whether a file's name is that of one that was being written when its process ended."""
    return re.fullmatch(r"\..*\.\d+\.tmp(\..*)?", name) is not None


def write_text(path: Path, text: str, *, lasting: bool = False) -> None:
    """Write UTF-8 text with Unix line ends, whole or not at all; ``lasting`` text survives a power failure."""
    with written_whole(path, lasting=lasting) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def append_whole(stream: io.FileIO, line: bytes, *, lasting: bool = False) -> None:
    """Append a line to an unbuffered stream, whole or not at all; ``lasting`` ones survive a power failure.

    Raises
    ------
    OSError
        The disk takes no more; the file is as it was.
    """
    end = stream.seek(0, os.SEEK_END)
    try:
        if stream.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if lasting:
            os.fsync(stream.fileno())
    except OSError:
        os.truncate(stream.fileno(), end)
        raise


def whole_lines(path: Path) -> bytes:
    """Read a file without the half of a line that a process that was killed may have left at its end."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source`` (a copy where hard links are refused), replacing atomically."""
    with written_whole(target) as beside:
        beside.unlink()
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; rename it to ``path`` on success, remove it on any failure.

    Raises
    ------
    FolderError
        ``path`` is a file, or a folder with contents.
    """
    require_new_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        if path.exists():
            path.rmdir()  # require_new_folder saw it empty
        beside.rename(path)
    finally:
        if beside.exists():
            shutil.rmtree(beside)


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """Yield a path beside; the folder that the block makes there takes the place of ``path``, once it is whole."""
    prefix = f".{path.name}."
    for of_a_killed_process in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(of_a_killed_process, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as beside:
        new = Path(beside) / path.name
        yield new
        shutil.rmtree(path, ignore_errors=True)
        new.rename(path)


def require_new_folder(path: Path, instead: str = "", but: Collection[str] = ()) -> None:
    """Refuse a path that something already occupies, so that results of two runs never mix.

    ``instead`` says what else could be done with what is there; ``but`` are names that may be there.

    Raises
    ------
    FolderError
        ``path`` is a file, or a folder with contents, or lies below a file.
    """
    if path.parts and path.parts[0].endswith(":") and not path.exists():  # what is left of s3:// in a path
        raise FolderError(
            f"{path.parts[0]}//... is no folder of this machine. Only the --output_dir of cpivae tune may be on "
            "a remote file system."
        )
    for parent in path.parents:
        if parent.exists():
            if not parent.is_dir():
                raise FolderError(f"{path} cannot be created: {parent} is a file. Choose another output folder.")
            break
    if path.is_dir():
        contents = sorted(p.name for p in path.iterdir() if p.name not in but)
        if contents:
            raise FolderError(
                f"the output folder {path} already exists and holds {listed(contents, 3)}. "
                f"Nothing was changed: choose another name, or move the folder away{instead and '; '}{instead}."
            )
    elif path.exists():
        raise FolderError(f"the output {path} is a file; a folder of that name is to be created. Choose another name.")


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(p for p in [path.absolute(), *path.absolute().parents] if p.exists())


def is_uri(text: str) -> bool:
    """Say whether a text names a file system, such as ``s3://bucket/folder``, and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def size(n_bytes: float) -> str:
    """Write a number of bytes for people."""
    return f"{n_bytes / 2**20:.0f} MB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GB"


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def share_like_a_new_file(path: Path) -> None:
    """Undo mkstemp's private mode: results are for the whole lab."""
    if path.stat().st_mode & 0o777 == 0o600:
        path.chmod(0o666 & ~_umask())
