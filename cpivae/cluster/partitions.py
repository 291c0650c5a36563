"""What the partitions of a SLURM cluster have, and what a job asks for that they do not: sbatch itself lets it wait."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cpivae.cluster.slurm import SlurmError, ask, megabytes, minutes
from cpivae.config.slurm import SlurmSettings
from cpivae.errors import did_you_mean

_ASKED = "%P|%a|%l|%L|%s|%B|%D|%c|%m|%G"


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind."""

    number: int
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]
    """Of each node, by their kind; those without a name are of the kind ''."""

    def gpus_of(self, kind: str | None) -> int:
        """Return how many GPUs of a kind, or of any, each node has."""
        return sum(self.gpus.values()) if kind is None else self.gpus.get(kind, 0)


@dataclass(frozen=True)
class Partition:
    """A group of nodes that jobs queue for."""

    name: str
    default: bool
    up: bool
    nodes: tuple[Nodes, ...]
    minutes: float = float("inf")
    """Longest time of a job."""
    minutes_by_default: float = float("inf")
    """Time of a job that asks for none."""
    least_nodes: float = 0
    most_nodes: float = float("inf")
    """Of a job."""
    most_cpus: float = float("inf")
    """Of a job, in a node."""


def partitions() -> list[Partition]:
    """Return the partitions of the cluster, those that are hidden from lists too.

    Raises
    ------
    SlurmError
        The environment names another cluster, or sinfo does not answer.
    """
    for variable in ("SLURM_CLUSTERS", "SBATCH_CLUSTERS"):
        if other := os.environ.get(variable):
            raise SlurmError(
                f"{variable} is {other}, and jobs are handed over to this machine's own cluster alone. Log in to a "
                "machine of that one, or unset the variable."
            )
    found: dict[str, Partition] = {}
    for line in ask("sinfo", "--noheader", "--all", "--exact", "--noconvert", f"--format={_ASKED}").splitlines():
        name, state, longest, usual, size, most_cpus, *node = line.strip().split("|")
        plain, limit = name.removesuffix("*"), minutes(longest)
        by_default = limit if usual.lower() == "n/a" else minutes(usual)
        least, _, most = size.rpartition("-")
        least = least or most  # one number where both are the same
        limits = (float(least) if least.isdigit() else 0, _limit(most), _limit(most_cpus))
        new = Partition(plain, name.endswith("*"), state == "up", (), limit, by_default, *limits)
        part = found.get(plain, new)
        found[plain] = replace(part, nodes=(*part.nodes, _nodes(*node)))
    return list(found.values())


def problems_of(settings: SlurmSettings, there: Sequence[Partition]) -> list[str]:
    """Say what the cluster does not have; sbatch would let a job for it wait for ever."""
    names = ", ".join(p.name for p in there) or "none"
    if settings.partition is None:
        asked = [p for p in there if p.default]
        if not asked:
            return [f"the cluster has no default partition: give --partition, one of {names}"]
    else:
        known = {p.name: p for p in there}
        wanted = settings.partition.split(",")  # the job goes to the first of them that can start it
        if unknown := [name for name in wanted if name not in known]:
            hints = [f"there is no partition '{name}'.{did_you_mean(name, list(known))}" for name in unknown]
            return [f"{hint} There are {names}" for hint in hints]
        asked = [known[name] for name in wanted]
    return min((_problems_in(settings, part) for part in asked), key=len)


def _problems_in(settings: SlurmSettings, part: Partition) -> list[str]:
    name = f"partition {part.name}"
    problems = [] if part.up else [f"{name} is down: its jobs wait until it is up again"]
    memory = 0.0 if settings.mem_per_node is None else megabytes(settings.mem_per_node)
    nodes, any_number = part.nodes, float("inf")
    lacking = []
    for what, option, wanted, there, allowed in (
        ("nodes", "nodes", settings.nodes, sum(n.number for n in nodes), part.most_nodes),
        ("CPUs in a node", "cpus_per_node", settings.cpus_per_node, _most(n.cpus for n in nodes), part.most_cpus),
        ("GPUs in a node", "gpus_per_node", settings.gpus_per_node, _most(n.gpus_of(None) for n in nodes), any_number),
        ("MB of memory in a node", "mem_per_node", memory, _most(n.memory_mb for n in nodes), any_number),
    ):
        if wanted > there:
            lacking.append(f"{wanted:.0f} {what} are asked for, and {name} has {there}. Lower --{option}")
        elif wanted > allowed:
            lacking.append(f"{wanted} {what} are asked for, and {name} lets a job have {allowed:.0f}. Lower --{option}")
    if settings.nodes < part.least_nodes:
        lacking.append(f"{name} takes no job of less than {part.least_nodes:.0f} nodes. Raise --nodes")
    kinds = {kind for n in part.nodes for kind in n.gpus if kind}
    if settings.gpu_type and settings.gpus_per_node and settings.gpu_type not in kinds:
        named = ", ".join(sorted(kinds)) or "none with a name"
        lacking.append(f"there is no GPU '{settings.gpu_type}' in {name}: it has {named}")
    fit = sum(n.number for n in part.nodes if _fits(settings, memory, n))
    if not lacking and settings.nodes > fit:
        lacking.append(
            f"{settings.nodes} nodes are asked for, and {name} has {fit} with all that each is to have. Lower --nodes, "
            "or ask for less of each"
        )
    return [*problems, *lacking, *_problems_of_time(settings, part)]


def _problems_of_time(settings: SlurmSettings, part: Partition) -> list[str]:
    problems = []
    if settings.time is not None and minutes(settings.time) > part.minutes:
        clock = f"{int(part.minutes // 60)}:{int(part.minutes % 60):02}:00"
        problems.append(f"the time {settings.time} is longer than partition {part.name} allows ({clock}). Lower --time")
    limit = part.minutes_by_default if settings.time is None else minutes(settings.time)
    if settings.warn_minutes >= limit:
        problems.append(
            f"the job is to be warned {settings.warn_minutes:g} minutes before its end, and may run {limit:g} minutes "
            "in all. Give a longer --time"
        )
    return problems


def _fits(settings: SlurmSettings, memory: float, nodes: Nodes) -> bool:
    kind = settings.gpu_type if settings.gpus_per_node else None
    return (
        settings.cpus_per_node <= nodes.cpus
        and memory <= nodes.memory_mb
        and settings.gpus_per_node <= nodes.gpus_of(kind)
    )


def _nodes(number: str, cpus: str, memory: str, gres: str) -> Nodes:
    """Read a line's end, such as ``4|64|512000|gpu:a100:8(S:0-1),fpga:1``; some versions write + for "and more"."""
    gpus: dict[str, int] = {}
    for kind, of_kind in re.findall(r"(?:^|,)gpu(?::([^:,()]+))?(?::no_consume)?:(\d+)(?![^,(])", gres):
        gpus[kind] = gpus.get(kind, 0) + int(of_kind)
    return Nodes(int(number), int(cpus.rstrip("+")), int(memory.rstrip("+")), gpus)


def _limit(number: str) -> float:
    return float(number) if number.isdigit() else float("inf")


def _most(numbers: Iterable[int]) -> int:
    return max(numbers, default=0)
