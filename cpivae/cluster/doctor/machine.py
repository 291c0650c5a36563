"""What Ray needs of the machine: loopback, short names for sockets, shared memory, open files, a private token."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cpivae.cluster.doctor.finding import Finding
from cpivae.cluster.storage import mount_of
from cpivae.files import size
from cpivae.names import TEMPORARY, TEMPORARY_PREFIX
from cpivae.tuning.token import others_reach

_GIB = 2**30
_OBJECT_STORE = 200 * 2**20
"""Bytes that a sweep's object store has beside its data."""
_FEW_FILES = 128
"""Open files with which a sweep of two trials was seen to run."""
_MANY_FILES = 4096
"""Below which Ray itself warns."""


def shell() -> Iterator[Finding]:
    """Look for what Ray starts its workers with; without it, it would wait for them for ever."""
    bash = shutil.which("bash")
    if bash is not None:
        yield Finding("ok", f"Ray can start its workers with {bash}")
    else:
        yield Finding(
            "WRONG", "there is no bash on PATH, and Ray starts its workers with it", "install it, or set PATH"
        )


def network() -> Iterator[Finding]:
    """Connect to a port of our own, and look up the name of this machine."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5):
            port = server.getsockname()[1]
        yield Finding("ok", f"ports can be opened and reached on 127.0.0.1 (tried {port})")
    except OSError as error:
        yield Finding(
            "WRONG",
            f"no port can be opened and reached on 127.0.0.1 ({error.strerror or error})",
            "Ray's processes talk through it; bring up the loopback device (ip link set lo up), or allow it in the "
            "firewall",
        )
    name = socket.gethostname()
    try:
        address = socket.getaddrinfo(name, None)[0][4][0]
        yield Finding("ok", f"the name of this machine, {name}, is {address}")
    except OSError as error:
        yield Finding(
            "note",
            f"the name of this machine, {name}, has no address ({error.strerror})",
            "runs on several devices or nodes may not find each other; add it to /etc/hosts",
        )


def temporary(folder: Path = TEMPORARY) -> Iterator[Finding]:
    """Make a socket with as long a name as Ray's longest in the folder where Ray keeps its own."""
    try:
        ours = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid():07d}-", dir=folder))
    except OSError as error:
        yield Finding("WRONG", f"{folder} cannot be written ({error.strerror})", "Ray keeps its sockets and logs there")
        return
    try:
        path = ours / "session_2000-01-01_00-00-00_000000_0000000" / "sockets" / "plasma_store"
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        yield Finding("ok", f"{folder} takes Ray's sockets (the longest name has {len(os.fsencode(path))} bytes)")
    except OSError as error:
        yield Finding(
            "WRONG",
            f"{folder} takes no socket with a name of {len(os.fsencode(path))} bytes as Ray's ({error})",
            "107 bytes are allowed; use a folder with a shorter name, on a file system that takes sockets",
        )
    finally:
        shutil.rmtree(ours, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if free < _GIB:
        yield Finding("WRONG", f"{size(free)} free in {folder}", "Ray keeps logs there; make room for 1 GB at least")
    mount = mount_of(folder)
    if mount is not None and "noexec" in mount.options:
        yield Finding(
            "note",
            f"{folder} is mounted noexec",
            "Ray does not mind; torch.compile in a model of your own would: set TMPDIR to another folder for it",
        )


def shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """See whether the object store finds room in memory."""
    if not folder.is_dir():
        yield Finding("note", f"there is no {folder}; the trials share their data through files, which is slower")
        return
    usage = shutil.disk_usage(folder)
    what = f"{size(usage.free)} of {size(usage.total)} free in {folder}"
    if usage.free >= _OBJECT_STORE:
        yield Finding("ok", f"{what}; a sweep takes {size(_OBJECT_STORE)} and 1.5 times its data")
    else:
        yield Finding(
            "note",
            f"{what}, less than the {size(_OBJECT_STORE)} a sweep takes beside its data, which trials then share "
            "through files, slower",
            "remove what others left there; in a container, start it with --shm-size=2g",
        )


def open_files() -> Iterator[Finding]:
    """Look at the hard limit: Ray raises the other one to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = f"{_limit(soft)} open files at once, {_limit(hard)} when a process asks for more"
    raise_it = f"ulimit -Hn shows it; raise it in /etc/security/limits.conf to {2 * _MANY_FILES}, or ask who can"
    if hard == resource.RLIM_INFINITY or hard >= _MANY_FILES:
        yield Finding("ok", what)
    elif hard >= _FEW_FILES:
        yield Finding("note", f"{what}; few for many trials at a time", raise_it)
    else:
        yield Finding("WRONG", f"{what}; a sweep of two trials takes {_FEW_FILES}", raise_it)


def _limit(number: int) -> str:
    return "any number of" if number == resource.RLIM_INFINITY else str(number)


def token() -> Iterator[Finding]:
    """See whether others can read the token: with it they can run code as its owner while a sweep runs."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    paths = [Path(named)] if named else []
    paths += [Path.home() / ".ray" / "auth_token"]
    there = [path for path in paths if path.is_file()]
    if not there:
        yield Finding("ok", f"no token of Ray yet; it will be {paths[0]}")
    for path in there:
        mode = path.stat().st_mode & 0o777
        if not mode & 0o077:
            yield Finding("ok", f"{path} is readable by its owner alone")
        elif others_reach(path, mode):
            yield Finding(
                "WRONG",
                f"{path} has mode {mode:04o}: others on this machine could run code as you, so sweeps refuse it",
                f"chmod 600 {path}",
            )
        else:
            yield Finding(
                "note", f"{path} has mode {mode:04o}, though others cannot enter its folder", f"chmod 600 {path}"
            )
