"""The files of a lab's machines: what they share, what each has of its own, and who is known on them."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from namespaces import LabError

# TEST-NET-2, which is routed nowhere; the switch has no other way out either.
ADDRESS = "198.51.100.{}"
# On every machine these are the lab's own. What must be seen below them is mounted there at its usual place, which also
# leads around folders that are closed to users: root's home (it may hold the interpreter) and those that pytest makes.
TMP, ROOT_HOME = Path("/tmp"), Path("/root")
PROGRAM = (Path(__file__).resolve().parents[2], Path(sys.prefix), Path(sys.base_prefix))


class Layout:
    """Folders and files of a lab, and the mounts by which a machine sees them."""

    def __init__(self, folder: Path, machines: Sequence[str], users: Mapping[str, int], n_gpus: int) -> None:
        self.folder = folder.resolve()
        self.shared = self.folder / "shared"
        self.gpus = [self.folder / "dev" / f"gpu{i}" for i in range(n_gpus)]
        self.addresses = {name: ADDRESS.format(i + 1) for i, name in enumerate(machines)}
        self._users = users
        self._seen = list(dict.fromkeys((self.folder, *PROGRAM)))

    def own(self, machine: str) -> Path:
        """Return the folder of what one machine has of its own."""
        return self.folder / "machines" / machine

    def home(self, user: str) -> Path:
        """Return a user's home folder as the machines see it."""
        return ROOT_HOME if user == "root" else self.folder / "home" / user

    def write(self) -> None:
        """Make all folders and files."""
        self._make(self.folder, 0o755)
        self._make(self.shared, 0o1777)
        self._make(self.folder / "home", 0o755)
        self._make(self.folder / "home" / "root", 0o755)
        for user, uid in self._users.items():
            self._make(self.home(user), 0o700)
            os.chown(self.home(user), uid, uid)
        for name in self.addresses:
            self._make(self.own(name), 0o755)
            self._make(self.own(name) / "tmp", 0o1777)
            for part in ("spool", "state"):
                self._make(self.own(name) / part, 0o755)
        for device in self.gpus:
            # SLURM takes only character devices for GPUs; these are /dev/null under other names.
            self._make(device.parent, 0o755)
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for path in self._seen:
            for root, stand_in in ((TMP, None), (ROOT_HOME, self.folder / "home" / "root")):
                if path.is_relative_to(root):
                    stand_ins = [stand_in] if stand_in else [self.own(name) / "tmp" for name in self.addresses]
                    for folder in stand_ins:
                        (folder / path.relative_to(root)).mkdir(parents=True, exist_ok=True)
        self._write_etc()
        self._check_that_users_get_in()

    def boot(self, machine: str) -> list[tuple[str, ...]]:
        """Return the commands by which a machine, inside its namespaces, gets its files and its munge daemon."""
        steps: list[tuple[str, ...]] = []
        for root, stand_in in ((TMP, self.own(machine) / "tmp"), (ROOT_HOME, self.folder / "home" / "root")):
            # First into what will cover the folder: once it is covered, nothing in it can be reached.
            seen = [path for path in self._seen if path.is_relative_to(root)]
            steps += [("mount", "--bind", str(path), str(stand_in / path.relative_to(root))) for path in seen]
        steps += [
            ("mount", "--rbind", str(self.folder / "home" / "root"), str(ROOT_HOME)),
            ("mount", "--rbind", str(self.own(machine) / "tmp"), str(TMP)),
        ]
        etc = self.folder / "etc"
        steps += [("mount", "--bind", str(etc / name), f"/etc/{name}") for name in ("hosts", "passwd", "group")]
        for folder, size in (("/dev/shm", "2g"), ("/run", "64m")):
            steps.append(("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder))
        return [
            *steps,
            ("chmod", "755", "/run"),
            ("mkdir", "/run/munge"),
            ("install", "--mode=600", str(etc / "munge.key"), "/run/munge/munge.key"),
            (
                "munged",
                *("--key-file=/run/munge/munge.key", "--seed-file=/run/munge/seed", "--num-threads=2"),
                *("--pid-file=/run/munge/munged.pid", "--log-file=/run/munge/munged.log"),
            ),
        ]

    def _write_etc(self) -> None:
        etc = self.folder / "etc"
        self._make(etc, 0o755)
        hosts = {"localhost": "127.0.0.1"} | self.addresses
        (etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        people = [f"{user}:x:{uid}:{uid}::{self.home(user)}:/bin/bash" for user, uid in self._users.items()]
        groups = [f"{user}:x:{uid}:" for user, uid in self._users.items()]
        for name, lines in (("passwd", people), ("group", groups)):
            (etc / name).write_text("\n".join([Path("/etc", name).read_text().rstrip("\n"), *lines, ""]))
        for path in etc.iterdir():
            path.chmod(0o644)
        key = etc / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))

    def _check_that_users_get_in(self) -> None:
        for path in self._seen if self._users else ():
            for parent in path.parents:
                covered = any(parent.is_relative_to(root) for root in (TMP, ROOT_HOME))
                if not covered and not parent.stat().st_mode & stat.S_IXOTH:
                    raise LabError(f"users cannot get to {path}: {parent} is closed to them")

    @staticmethod
    def _make(folder: Path, mode: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
