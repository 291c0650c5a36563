"""A real SLURM on one machine: a login machine and nodes that share nothing but a switch and some folders."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from layout import Layout
from namespaces import Command, LabError, Machine, obstacle
from slurm import PROGRAMS, fields, output_of, write_settings

LOGIN = "login"
FIRST_UID = 20001
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}


def why_not() -> str | None:
    """Say why no lab can be started here, if so."""
    return obstacle(PROGRAMS)


def until(arrived: Callable[[], bool], timeout: float, complaint: Callable[[], str]) -> None:
    """Ask again and again until it is so."""
    end = time.monotonic() + timeout
    while not arrived():
        if time.monotonic() > end:
            raise LabError(f"{complaint()} (after {timeout:g} s)")
        time.sleep(0.05)


class Lab:
    """A SLURM cluster of namespaces, in a ``with`` statement or between ``start`` and ``stop``.

    All machines see ``folder`` under its own path: in it ``shared`` is for everybody and ``home(user)`` is that user's.
    /tmp, /run and /dev/shm are each machine's own. ``settings`` replace lines of slurm.conf, ``more`` are added to it.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 2,
        cpus: int = 4,
        memory_mb: int = 4000,
        gpus: int = 0,
        users: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        uids = {user: FIRST_UID + i for i, user in enumerate(users)}
        self._layout = Layout(folder, [LOGIN, *self.nodes], uids, gpus)
        self.folder, self.shared, self.home = self._layout.folder, self._layout.shared, self._layout.home
        self._layout.write()
        self._conf = write_settings(self.folder, self.nodes, cpus, memory_mb, self._layout.gpus, settings or {}, more)
        self._switch: Machine | None = None
        self._machines: dict[str, Machine] = {}
        self._commands: list[Command] = []

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start all machines and SLURM on them; return when every node takes jobs."""
        try:
            boot = [("ip", "link", "add", "switch", "type", "bridge"), ("ip", "link", "set", "switch", "up")]
            self._switch = Machine("switch", boot)
            self._switch.wait_until_up()
            self._boot(LOGIN, *self.nodes)
            for node in self.nodes:
                self.wait_for_node(node, ("IDLE",))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every process of the lab; its networks and mounts go with them. The folder stays."""
        if self._switch is not None:
            self._switch.end()
        # The processes of all machines were among those of the switch: its end is theirs.
        for machine in self._machines.values():
            machine.wait_until_gone()
        self.end_commands()
        self._switch, self._machines = None, {}

    def end_commands(self) -> None:
        """Kill the commands that ``popen`` started and that still run; what they made a daemon of goes on."""
        for command in self._commands:
            command.end()
        self._commands = []

    def kill(self, machine: str) -> None:
        """Kill all of a machine's processes at once; if it was ``cut`` before, no peer is told."""
        self._machines.pop(machine).end()

    def bring_back(self, machine: str) -> None:
        """Boot a killed machine; its /tmp is as it was. Return when SLURM has the node again."""
        self._boot(machine)
        if machine != LOGIN:
            self.wait_for_node(machine, ("IDLE", "MIXED", "ALLOCATED"))

    def cut(self, machine: str) -> None:
        """Cut a machine off the network: its processes live on, and no connection is told."""
        self._wire("link", "set", machine, "down")

    def mend(self, machine: str) -> None:
        """Undo ``cut``."""
        self._wire("link", "set", machine, "up")

    def popen(
        self,
        machine: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "root",
        cwd: Path | None = None,
    ) -> Command:
        """Start a command on a machine, in the user's home folder unless told; ``env`` is added to the usual one.

        Signals that are sent to what is returned reach the command. Its output is two pipes, to be read.
        """
        home = self.home(user)
        own = {"SLURM_CONF": str(self._conf), "HOME": str(home), "USER": user, "LOGNAME": user, **(env or {})}
        become = ("setpriv", "--reuid", user, "--regid", user, "--init-groups")
        process = self._machines[machine].popen([*become, "env", f"--chdir={cwd or home}", *command], own)
        self._commands.append(process)
        return process

    def run(
        self,
        machine: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "root",
        cwd: Path | None = None,
        check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine to its end; see ``popen``."""
        process = self.popen(machine, command, env=env, user=user, cwd=cwd)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.end()
            raise
        finally:
            self._commands.remove(process)
        if check and process.returncode:
            raise LabError(f"{machine}: {command} ended with {process.returncode}:\n{output}{errors}")
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def job(self, job_id: str | int) -> dict[str, str]:
        """Return what ``scontrol show job`` says."""
        return self._shown("job", str(job_id))

    def node(self, name: str) -> dict[str, str]:
        """Return what ``scontrol show node`` says."""
        return self._shown("node", name)

    def wait_for_job(
        self, job_id: str | int, states: Sequence[str] = ("COMPLETED",), timeout: float = 60
    ) -> dict[str, str]:
        """Wait until a job is in one of the states, and return what SLURM says of it; fail if it ends otherwise."""
        shown: dict[str, str] = {}

        def failed() -> str:
            return f"job {job_id} is {shown['JobState']}, not one of {states}: {shown}\n{output_of(shown)}"

        def arrived() -> bool:
            shown.update(self.job(job_id))
            if shown["JobState"] in ENDED.difference(states):
                raise LabError(failed())
            return shown["JobState"] in states

        until(arrived, timeout, failed)
        return shown

    def wait_for_node(self, name: str, states: Sequence[str], timeout: float = 60) -> dict[str, str]:
        """Wait until a node is in one of the states and, unless it is down, answers."""
        shown: dict[str, str] = {}

        def arrived() -> bool:
            shown.update(self.node(name))
            state, *flags = shown["State"].split("+")
            return state in states and (state == "DOWN" or "NOT_RESPONDING" not in flags)

        until(arrived, timeout, lambda: f"{name} is {shown['State']}, not one of {states}")
        return shown

    def _boot(self, *names: str) -> None:
        made = {name: Machine(name, self._layout.boot(name), within=self._switch) for name in names}
        self._machines |= made
        for name, machine in made.items():
            machine.wait_until_up()
            # A killed machine's own end of its wire goes a moment after it, and takes the other end along.
            self._wire("link", "delete", name, missing_ok=True)
            self._wire("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
            self._wire("link", "set", name, "master", "switch", "up")
            address = f"{self._layout.addresses[name]}/24"
            machine.run("sh", "-c", f"ip address add {address} dev eth0 && ip link set eth0 up")
        for name, machine in made.items():
            daemon = "slurmctld" if name == LOGIN else "slurmd"
            machine.run("env", f"SLURM_CONF={self._conf}", daemon)
            if name == LOGIN:
                # A node that calls before it is answered waits a second before it calls again.
                until(self._controller_answers, 30, lambda: "slurmctld does not answer; its log is in machines/login")

    def _controller_answers(self) -> bool:
        return self.run(LOGIN, ["scontrol", "ping"], check=False).returncode == 0

    def _wire(self, *words: str, missing_ok: bool = False) -> None:
        assert self._switch is not None, "the lab is not started"
        try:
            self._switch.run("ip", *words, namespaces=("--net",))
        except LabError:
            if not missing_ok:
                raise

    def _shown(self, kind: str, name: str) -> dict[str, str]:
        return fields(self.run(LOGIN, ["scontrol", "--oneliner", "show", kind, name]).stdout)


MakeLab = Callable[..., Lab]
