"""A folder on any file system that pyarrow knows, such as ``s3://bucket/sweeps``."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import ArrowException, fs

from cpivae.errors import StorageError

T = TypeVar("T")
_SECRET = re.compile(r"(?i)(^|&)[^=]*(secret|password|passwd|token|credential|access_key|sas)[^=]*=")
WAITS = (1, 2, 4, 8, 16)
"""Seconds before each new attempt of a patient folder."""
_WRITES_WHOLE = ("s3", "gcs", "abfs")
"""Stores in which a file appears when all of it is there."""


@dataclass(frozen=True)
class Remote:
    """A folder by its URI; what follows a ``?`` describes the file system, as pyarrow's documentation says."""

    uri: str
    waits: tuple[float, ...] = ()
    """Seconds before each new attempt, where one fails."""
    guard: Callable[[], None] | None = field(default=None, compare=False)
    """Asked before every attempt to change something here; raises to prevent it."""

    def __post_init__(self) -> None:
        """Refuse a URI with a password: others see command lines, and a URI is written into logs."""
        folder, _, options = self.uri.partition("?")
        if re.match(r"[^/]+://[^/@:]*:.*@", folder) or "@" in options or _SECRET.search(options):
            raise StorageError(
                f"a URI of {folder.partition(':')[0]}:// has a password in it, which others could read. Give "
                "credentials by the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by the "
                "machine's role."
            )

    def patient(self) -> Remote:
        """Return the same folder, of which every answer is waited for through a failure of half a minute."""
        return replace(self, waits=WAITS)

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> Remote:
        folder, mark, options = self.uri.partition("?")
        return replace(self, uri=f"{folder.rstrip('/')}/{name}".rstrip("/") + mark + options)

    def files(self) -> list[str]:
        """List the files below the folder by their paths in it; none where there is no such folder.

        Raises
        ------
        StorageError
            The file system cannot be reached, or refuses.  So do all methods.
        """

        def ask(system: fs.FileSystem, path: str) -> list[str]:
            found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
            return [f.path[len(path) :].lstrip("/") for f in found if f.type == fs.FileType.File]

        return self._attempt(ask)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if there is no such file."""

        def ask(system: fs.FileSystem, path: str) -> bytes | None:
            try:
                with system.open_input_stream(f"{path}/{name}") as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

        return self._attempt(ask)

    def fetch(self, to: Path, names: list[str] | None = None) -> None:
        """Copy the files, or those named, into a folder of this machine."""
        for name in self.files() if names is None else names:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            self._attempt(
                lambda system, path, name=name: fs.copy_files(  # type: ignore[misc]
                    f"{path}/{name}", str(to / name), source_filesystem=system, use_threads=False
                )
            )

    def send(self, file: Path, name: str) -> None:
        """Copy a file of this machine here, in place of what has its name."""
        self._write(name, lambda system, _, target: fs.copy_files(str(file), target, destination_filesystem=system))

    def repeat(self, name: str, other: str) -> None:
        """Make ``other`` a copy of a file that is here."""
        self._write(other, lambda system, path, target: system.copy_file(f"{path}/{name}", target))

    def remove(self, names: list[str]) -> None:
        """Remove files; those that are not there are not missed."""

        def delete(system: fs.FileSystem, path: str) -> None:
            self._ask_guard()
            for name in names:
                with suppress(FileNotFoundError):
                    system.delete_file(f"{path}/{name}")

        if names:
            self._attempt(delete)

    def _write(self, name: str, write: Callable[[Any, str, str], None]) -> None:
        def whole(system: fs.FileSystem, path: str) -> None:
            self._ask_guard()
            target = f"{path}/{name}"
            if system.type_name in _WRITES_WHOLE:
                write(system, path, target)
                return
            system.create_dir(target.rpartition("/")[0], recursive=True)
            write(system, path, f"{target}.part")
            system.move(f"{target}.part", target)

        self._attempt(whole)

    def _ask_guard(self) -> None:
        if self.guard is not None:
            self.guard()

    def _attempt(self, step: Callable[[fs.FileSystem, str], T]) -> T:
        for wait in (*self.waits, None):
            try:
                return step(*_opened(self.uri))
            except (OSError, ValueError, NotImplementedError, ArrowException) as error:
                if wait is None or not isinstance(error, OSError):
                    reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
                    raise StorageError(
                        f"{self.uri} does not do what it is asked: {reason}. Check its name, the credentials in this "
                        "machine's environment and their rights, and that the machine reaches it."
                    ) from None
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


@lru_cache(maxsize=64)
def _opened(uri: str) -> tuple[fs.FileSystem, str]:
    system, path = fs.FileSystem.from_uri(uri)
    return system, path.rstrip("/")


class Copies:
    """Keeps a remote folder as a local one is: what has changed since the last time is sent, what has gone is removed.

    Whatever is interrupted, the remote folder can be gone on from: a trial's state is sent after what it speaks of,
    and nothing is removed before all is sent.
    """

    def __init__(
        self, local: Path, remote: Remote, takes: Callable[[str], bool], last: str = "", sent: Sequence[str] = ()
    ) -> None:
        """``takes``: says of a file's path in the folder whether it is kept; ``last``: the name that is sent last.

        ``sent``: what is there of an earlier process, to be replaced or removed; other files there are let alone.
        """
        self.local, self.remote, self.takes, self.last = local, remote, takes, last
        self.sent: dict[str, tuple[int, ...]] = {name: () for name in sent if takes(name)}
        self.updating = threading.Lock()

    def update(self) -> None:
        """Bring the remote folder up to date; one thread after the other."""
        with self.updating:
            self._update()

    def _update(self) -> None:
        there = self._there()
        sources: dict[tuple[int, ...], str] = {}
        for name, version in sorted(there.items(), key=lambda item: Path(item[0]).name == self.last):
            if self.sent.get(name) != version:
                if version in sources:  # another name of one file, such as the best weights have
                    self.remote.repeat(sources[version], name)
                else:
                    self.remote.send(self.local / name, name)
                self.sent[name] = version
            sources.setdefault(version, name)
        gone = [name for name in self.sent if name not in there]
        self.remote.remove(gone)
        for name in gone:
            del self.sent[name]

    def _there(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for path in self.local.rglob("*"):
            inside = path.relative_to(self.local)
            name = inside.as_posix()
            # What begins with a dot is being written, to be renamed when it is whole.
            if not self.takes(name) or any(part.startswith(".") for part in inside.parts):
                continue
            with suppress(FileNotFoundError):  # just replaced by its next version
                if path.is_file():
                    stat = path.stat()
                    found[name] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        return found
