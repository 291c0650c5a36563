"""Which process runs a sweep that is kept on a remote file system: it says so there, again and again.

Such file systems have no locks.  What is said is believed for a minute, so a process that was suspended or cut off for
longer may find that another one has gone on.  It therefore looks before whatever it sends, and stops for good.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from cpivae.errors import FolderError, InterruptedSweepError
from cpivae.tuning.remote import Remote

FILE = "running.json"
"""Says which process runs the sweep, and when it last said so."""
BELIEVED = 60.0
"""Seconds without another word of it."""
SETTLES = 1.0
"""Seconds after which a file that is being replaced is there again; not every file system does it at once."""


class LostClaimError(InterruptedSweepError):
    """Another process has gone on with the sweep that this one runs."""


class Claim:
    """A process's claim to run a sweep.  A copy of it, in a trial's process, holds as long as the original does."""

    def __init__(self, remote: Remote, working_copy: Path) -> None:
        self.remote, self.working_copy = remote, working_copy
        self.token = secrets.token_hex(8)
        self.lost = False
        """Known once; it stays so."""

    def take(self) -> None:
        """Claim the sweep, after a wait until a process that was killed is believed no longer.

        Raises
        ------
        FolderError
            Another process runs it.
        """
        first = told = self.remote.read(FILE)
        if first is not None:
            print(f"{self.remote} was in use a moment ago; waiting whether it still is", flush=True)
        until = time.monotonic() + BELIEVED  # by the clock of this machine: others may be wrong
        while told is not None and time.monotonic() < until:
            time.sleep(BELIEVED / 20)
            told = self.remote.read(FILE)
            if told not in (None, first):
                self._refuse(json.loads(told))
        self._say()
        owner = self._owner()  # of two that began at once, the one that spoke last runs it
        if owner.get("token") != self.token:
            self._refuse(owner)

    def require(self) -> None:
        """Notice that the claim is lost.

        Raises
        ------
        LostClaimError
            It is.
        """
        self.lost = self.lost or not self._holds()
        if self.lost:
            raise LostClaimError(
                f"another process has gone on with the sweep in {self.remote} while this one was not heard of. This "
                "one has stopped, and sends nothing more. What it has written is in "
                f"{self.working_copy}: copy what you need of it before the same command with --resume fetches what "
                "the other one has."
            )

    def lose(self) -> None:
        """Give the claim up for good because of something else that was seen; raises as ``require`` does."""
        self.lost = True
        self.require()

    def renew(self) -> None:
        """Say once more that this process runs the sweep; raises as ``require`` does."""
        self.require()
        self._say()

    def release(self) -> None:
        """Let another process have the sweep."""
        if self._owner().get("token") == self.token:
            self.remote.remove([FILE])

    def _holds(self) -> bool:
        owner = self._owner()
        if not owner:
            time.sleep(SETTLES)
            owner = self._owner()
        return bool(owner.get("token") == self.token)

    def _owner(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.remote.patient().read(FILE) or b"{}")
        return told

    def _say(self) -> None:
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time(), "token": self.token}
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump(owner, file)
            file.flush()
            self.remote.send(Path(file.name), FILE)

    def _refuse(self, owner: dict[str, Any]) -> None:
        raise FolderError(
            f"process {owner.get('pid')} on {owner.get('host')} is running the sweep in {self.remote}. Wait for it, "
            "or end it."
        )
