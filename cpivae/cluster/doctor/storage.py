"""What a sweep needs of the folder it is kept in: locks, whole replacements, writes that last, room."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cpivae.cluster.doctor.finding import Finding
from cpivae.cluster.storage import SHARED, mount_of
from cpivae.files import existing, size, write_text

_LEAST = 2**30
_REPLACEMENTS = 50
_SYNCS = 5
_SLOW = 0.5


def output(output_dir: Path) -> Iterator[Finding]:
    """Try all of it in a folder of our own that is removed again."""
    where = existing(output_dir)
    if not where.is_dir():
        yield Finding("WRONG", f"{where} is a file, and results need a folder", "choose another --output_dir")
        return
    yield _kind(where)
    try:
        trial = tempfile.mkdtemp(dir=where, prefix=".cpivae-doctor-")
    except OSError as error:
        yield Finding("WRONG", f"{where} cannot be written ({error.strerror})", "choose another --output_dir")
        return
    try:
        yield locks(Path(trial))
        yield replacements(Path(trial))
        yield syncs(Path(trial))
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    yield room(where)


def _kind(where: Path) -> Finding:
    mount = mount_of(where)
    if mount is None:
        return Finding("note", f"{where} is on a file system of unknown kind")
    what = f"{where} is on {mount.kind}, mounted at {mount.point}"
    if SHARED.fullmatch(mount.kind):
        return Finding("ok", f"{what}: shared between machines")
    if mount.kind in ("tmpfs", "ramfs"):
        return Finding("note", f"{what}: in memory, and gone when the machine restarts")
    return Finding("note", f"{what}: of this machine alone, the other nodes of a cluster would not see it")


_TAKE = """
import fcntl, sys
with open(sys.argv[1], "ab") as stream:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("refused")
    else:
        print("taken")
"""


def locks(folder: Path) -> Finding:
    """Let another process try for a lock that this one has, and again when it is free."""
    path = folder / "lock"
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return _no_locks(f"flock fails ({error.strerror})")
        held = _other_process_takes(path)
    free = _other_process_takes(path)
    if held == "refused" and free == "taken":
        return Finding("ok", "file locks hold between processes")
    return _no_locks(f"another process's try for a held lock was {held}, for a free one {free}")


def _no_locks(what: str) -> Finding:
    return Finding(
        "WRONG",
        f"file locks do not work there: {what}, and a sweep keeps its journal to itself by one",
        "choose another --output_dir, or have it mounted with locks (Lustre: -o flock; NFS: with lockd)",
    )


def _other_process_takes(path: Path) -> str:
    command = [sys.executable, "-I", "-S", "-c", _TAKE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() or f"answered by {(done.stderr.strip().splitlines() or ['nothing'])[-1]}"


def replacements(folder: Path) -> Finding:
    """Replace a file again and again, and read it all the while."""
    path, ended, torn = folder / "replaced", threading.Event(), []
    texts = [letter * 10_000 for letter in "ab"]
    write_text(path, texts[0])

    def read() -> None:
        while not ended.is_set():
            try:
                if path.read_text(encoding="utf-8") not in texts:
                    torn.append("it was half written")
            except OSError as error:
                torn.append(f"{error.strerror}")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(_REPLACEMENTS):
            write_text(path, texts[number % 2])
    finally:
        ended.set()
        reader.join()
    if not torn:
        return Finding("ok", "a file is replaced whole: whoever reads it sees the old one or the new one")
    return Finding("WRONG", f"a file that was being replaced could not be read ({torn[0]})", "choose another folder")


def syncs(folder: Path) -> Finding:
    """Write lines that outlive a power failure, as a sweep's journal does for every trial."""
    took = []
    with (folder / "synced").open("wb", buffering=0) as stream:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            stream.write(b"x" * 200)
            os.fsync(stream.fileno())
            took.append(time.perf_counter() - started)
    slowest = max(took)
    what = f"a line is on the disk (fsync) after {1000 * slowest:.1f} ms at most"
    if slowest < _SLOW:
        return Finding("ok", what)
    return Finding("note", f"{what}; a sweep waits so long at every trial's beginning and end", "a quicker disk helps")


def room(where: Path, least: int = _LEAST) -> Finding:
    """Compare the free space with the least that makes sense."""
    usage = shutil.disk_usage(where)
    what = f"{size(usage.free)} of {size(usage.total)} free in {where}"
    if usage.free >= least:
        return Finding("ok", f"{what}; cpivae check says how much a sweep takes")
    return Finding("WRONG", f"{what}, and {size(least)} is little for a sweep", "make room")
