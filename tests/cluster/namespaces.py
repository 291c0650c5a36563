"""Machines made of Linux namespaces: each has its own network, processes, mounts and host name."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

PROGRAMS = ("unshare", "nsenter", "setpriv", "mount", "ip", "tini")
NEW_NAMESPACES = ("unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc")
ENTERED = ("--net", "--pid", "--mount", "--uts")
UP = "up"

# What the tests' own surroundings say must not reach the machines: they have their own SLURM, temp folder and devices.
FOREIGN = ("SLURM", "SBATCH_", "RAY_", "CUDA_", "TMPDIR", "TEMP", "TMP")


class LabError(Exception):
    """The lab cannot do what it is asked for."""


def obstacle(programs: Sequence[str] = ()) -> str | None:
    """Say why no machines can be made here, if so; ``programs`` are needed besides those of this file."""
    missing = [name for name in (*PROGRAMS, *programs) if shutil.which(name, path=search_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "not root"
    # Root of a container may be root in name only: it needs namespaces, network devices, and to become somebody else.
    network = "ip link add name switch type bridge && ip link add name wire type veth"
    attempt = f"{network} && setpriv --reuid 1 --regid 1 --clear-groups true"
    tried = subprocess.run([*NEW_NAMESPACES, "sh", "-c", attempt], capture_output=True, text=True, env=environment())
    return f"cannot make namespaces: {tried.stderr.strip()}" if tried.returncode else None


def search_path() -> str:
    """Return PATH with the folders of the system's own programs, which a user's PATH lacks on Debian."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def environment() -> dict[str, str]:
    """Return this process's environment without what is only true outside the machines."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PATH": search_path()}


class Command(subprocess.Popen[str]):
    """A command inside a machine: signals reach the command itself, not the ``nsenter`` that waits for it outside."""

    def send_signal(self, sig: int) -> None:
        while self.poll() is None:
            with suppress(psutil.NoSuchProcess):
                if inside := psutil.Process(self.pid).children():
                    inside[0].send_signal(sig)
                    return
            time.sleep(0.005)  # nsenter has not come so far

    def kill(self) -> None:
        """Kill the command and what it has started, unless that has left its session."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the command, read no more of what it says, and wait until it is gone."""
        self.kill()
        self.wait()
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()


class Machine:
    """A machine that runs until ``end``, or until the thread that made it is gone, however that came about.

    It ends with its process 1, and with the machine ``within`` whose processes its own are among.
    """

    def __init__(self, name: str, boot: Sequence[Sequence[str]], within: Machine | None = None) -> None:
        self.name = name
        steps = [("hostname", name), ("ip", "link", "set", "lo", "up"), *boot, ("echo", UP)]
        script = " && ".join(map(shlex.join, steps)) + " && exec tini -- sleep infinity"
        holder = within.entry("--pid") if within else ["setpriv", "--pdeathsig", "KILL"]
        self._process = subprocess.Popen(
            [*holder, *NEW_NAMESPACES, "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        self._depth = 2 if within else 1
        self.pid = 0

    def wait_until_up(self) -> None:
        """Wait for the end of the boot; machines boot side by side until somebody waits."""
        assert self._process.stdout is not None
        said: list[str] = []
        for line in self._process.stdout:
            if line == f"{UP}\n":
                break
            said.append(line)
        else:
            raise LabError(f"{self.name} does not boot: {''.join(said).strip()}")
        process = psutil.Process(self._process.pid)
        for _ in range(self._depth):
            (process,) = process.children()
        self.pid = process.pid

    def entry(self, *namespaces: str) -> list[str]:
        """Return the words that make a command run in this machine, or only in some of its namespaces."""
        return ["nsenter", "--target", str(self.pid), *(namespaces or ENTERED)]

    def run(self, *command: str, namespaces: Sequence[str] = ENTERED) -> str:
        """Run a command of the machine's own set-up and return what it printed."""
        done = subprocess.run(
            [*self.entry(*namespaces), *command], capture_output=True, text=True, env=environment(), timeout=60
        )
        if done.returncode:
            raise LabError(f"{self.name}: {shlex.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def popen(self, command: Sequence[str], env: Mapping[str, str]) -> Command:
        """Start a command in this machine; ``env`` is added to the usual environment."""
        return Command(
            [*self.entry(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | dict(env),
            start_new_session=True,
        )

    def end(self) -> None:
        """Kill all processes of the machine at once, and wait until they are gone."""
        if self._process.poll() is None:
            # Without process 1 the kernel kills the others; the one outside returns when the last of them is gone.
            with suppress(ProcessLookupError):
                os.kill(self.pid or self._process.pid, signal.SIGKILL)
        self.wait_until_gone()

    def wait_until_gone(self) -> None:
        """Wait for the end of a machine that has been ended with the one it is within."""
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
