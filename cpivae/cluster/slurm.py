"""SLURM's own commands: what a cluster has, what a job is doing, and handing one over."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cpivae.config.slurm import SlurmSettings
from cpivae.errors import CpivaeError, did_you_mean

LIVING = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED", "SUSPENDED", "REQUEUE_HOLD", "STOPPED")
"""States of a job that may still do something."""


class SlurmError(CpivaeError):
    """SLURM is not there, or refuses."""


@dataclass(frozen=True)
class Partition:
    """A group of nodes that jobs queue for, as its largest node is."""

    name: str
    default: bool
    up: bool
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int
    gpu_types: frozenset[str]
    minutes: float
    """Longest time of a job."""


def ask(*command: str) -> str:
    """Run one of SLURM's commands and return what it prints.

    Raises
    ------
    SlurmError
        The command is missing, fails, or does not answer.
    """
    if shutil.which(command[0]) is None:
        raise SlurmError(
            f"there is no {command[0]} here: this machine does not belong to a SLURM cluster. Log in to one of its "
            "login nodes, or run cpivae tune itself."
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} has not answered for a minute; SLURM may be down. Try again later.") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        raise SlurmError(f"{command[0]} refuses: {reason}")
    return done.stdout


def partitions() -> list[Partition]:
    """Return the partitions of the cluster."""
    found: dict[str, Partition] = {}
    for line in ask("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G").splitlines():
        name, state, limit, nodes, cpus, memory, gres = line.strip().split("|")
        gpus = re.findall(r"\bgpu(?::([^:,()]+))??:(\d+)", gres)
        plain = name.removesuffix("*")
        part = found.get(plain, Partition(plain, name.endswith("*"), state == "up", 0, 0, 0, 0, frozenset(), 0))
        found[plain] = Partition(
            plain,
            part.default,
            part.up,
            part.nodes + int(nodes),
            max(part.cpus, int(cpus.rstrip("+"))),
            max(part.memory_mb, int(memory.rstrip("+"))),
            max(part.gpus, sum(int(number) for _, number in gpus)),
            part.gpu_types | {kind for kind, _ in gpus if kind},
            max(part.minutes, minutes(limit)),
        )
    return list(found.values())


def problems_of(settings: SlurmSettings, there: Sequence[Partition]) -> list[str]:
    """Say what the cluster does not have; sbatch would let a job for it wait for ever."""
    if settings.partition is None:
        asked = next((p for p in there if p.default), None)
        if asked is None:
            return [f"the cluster has no default partition: give --partition, one of {_names(there)}"]
    else:
        asked = next((p for p in there if p.name == settings.partition), None)
        if asked is None:
            hint = did_you_mean(settings.partition, [p.name for p in there])
            return [f"there is no partition '{settings.partition}'.{hint} There are {_names(there)}"]
    name = f"partition {asked.name}"
    problems = [] if asked.up else [f"{name} is down: its jobs wait until it is up again"]
    memory = 0.0 if settings.mem_per_node is None else megabytes(settings.mem_per_node)
    for what, option, wanted, most in (
        ("nodes", "nodes", settings.nodes, asked.nodes),
        ("CPUs in a node", "cpus_per_node", settings.cpus_per_node, asked.cpus),
        ("GPUs in a node", "gpus_per_node", settings.gpus_per_node, asked.gpus),
        ("MB of memory in a node", "mem_per_node", memory, asked.memory_mb),
    ):
        if wanted > most:
            problems.append(f"{wanted:g} {what} are asked for, and {name} has {most:g}. Lower --{option}")
    if settings.gpu_type and settings.gpus_per_node and settings.gpu_type not in asked.gpu_types:
        kinds = ", ".join(sorted(asked.gpu_types)) or "none with a name"
        problems.append(f"there is no GPU '{settings.gpu_type}' in {name}: it has {kinds}")
    if settings.time is not None and minutes(settings.time) > asked.minutes:
        problems.append(
            f"the time {settings.time} is longer than {name} allows ({_clock(asked.minutes)}). Lower --time"
        )
    limit = asked.minutes if settings.time is None else minutes(settings.time)
    if settings.warn_minutes >= limit:
        problems.append(
            f"the job is to be warned {settings.warn_minutes:g} minutes before its end, and may run {limit:g} minutes "
            "in all. Give a longer --time"
        )
    return problems


def submitted(script: Path) -> int:
    """Hand a batch script over and return the number of its job."""
    answer = ask("sbatch", "--parsable", str(script))
    return int(answer.strip().split(";")[0])


def job(number: int) -> dict[str, str]:
    """Return what SLURM says of a job, by its own names; nothing where it has forgotten it."""
    try:
        answer = ask("scontrol", "--oneliner", "show", "job", str(number))
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    return dict(re.findall(r"(\S+?)=(.*?)(?=\s+\S+?=|\s*$)", answer.strip()))


def minutes(time: str) -> float:
    """Read a time as SLURM writes it: minutes, m:s, h:m:s, days-h, days-h:m:s or infinite.

    >>> minutes("1-12:00:00")
    2160.0
    """
    if time.lower() in ("infinite", "unlimited", "n/a", "partition_limit"):
        return float("inf")
    days, dash, rest = time.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if dash:
        hours, mins, seconds = [*parts, 0.0, 0.0][:3]
    elif len(parts) < 3:
        hours, (mins, seconds) = 0.0, [*parts, 0.0][:2]
    else:
        hours, mins, seconds = parts
    return (int(days) * 24 if days else 0) * 60 + hours * 60 + mins + seconds / 60


def megabytes(size: str) -> float:
    """Read a size as sbatch does: megabytes unless a unit says otherwise."""
    factor = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}.get(size[-1])
    return float(size) if factor is None else float(size[:-1]) * factor


def _names(there: Sequence[Partition]) -> str:
    return ", ".join(p.name for p in there) or "none"


def _clock(mins: float) -> str:
    return f"{int(mins // 60)}:{int(mins % 60):02}:00"
