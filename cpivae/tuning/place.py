"""Where the trials of a sweep run: on this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from cpivae.config.tuning import TuningSettings
from cpivae.errors import ResourceError
from cpivae.training.hardware import cpus, gpus


@dataclass(frozen=True)
class Node:
    """What trials may use of one machine."""

    cpus: float
    gpus: float = 0
    memory: float | None = None
    """Bytes; None where it is not known."""

    def trials(self, tuning: TuningSettings) -> int:
        """Return how many trials it holds side by side."""
        fits = math.floor(self.cpus / tuning.cpus)
        return min(fits, self.on_gpus(tuning.gpus)) if tuning.gpus else fits

    def on_gpus(self, gpus: float) -> int:
        """Return how many trials its GPUs hold; a part of a GPU is a part of one, not of two."""
        return math.floor(self.gpus) * math.floor(1 / gpus) if gpus <= 1 else math.floor(self.gpus / gpus)


@dataclass(frozen=True)
class Place:
    """The machines of a sweep."""

    nodes: tuple[Node, ...]
    name: str = "this machine"
    address: str = ""
    """Of the Ray cluster that they form; empty for a private one on this machine."""
    here: bool = True
    """Whether this process runs on one of them, so that what is measured here holds there."""

    @property
    def has_gpus(self) -> bool:
        """Whether any of them has a GPU."""
        return any(node.gpus for node in self.nodes)

    @property
    def memory(self) -> float | None:
        """Bytes of the smallest node, which has a copy of the data like the others; None where it is not known."""
        return min((node.memory for node in self.nodes if node.memory is not None), default=None)

    def trials(self, tuning: TuningSettings) -> int:
        """Return how many trials run side by side: what is asked for, and never more than the nodes hold."""
        asked = [tuning.max_concurrent] if tuning.max_concurrent else []
        return max(1, min([sum(node.trials(tuning) for node in self.nodes), tuning.n_trials, *asked]))

    def require(self, tuning: TuningSettings) -> None:
        """Refuse what no node has: Ray would wait for it for ever.

        Raises
        ------
        ResourceError
            A trial asks for more CPUs or GPUs than any node has.
        """
        there = {"CPU": max(n.cpus for n in self.nodes), "GPU": max(n.gpus for n in self.nodes)}
        for kind, asked in (("CPU", tuning.cpus), ("GPU", tuning.gpus)):
            if asked > there[kind]:
                has = f"{self.name} has" if len(self.nodes) == 1 else f"a node of {self.name} has at most"
                raise ResourceError(
                    f"a trial asks for {asked:g} {kind}(s), but {has} {there[kind]:g}: it would wait for ever. "
                    f"Lower --{kind.lower()}s_per_trial."
                )
        if not any(node.trials(tuning) for node in self.nodes):
            raise ResourceError(
                f"a trial asks for {tuning.cpus:g} CPU(s) and {tuning.gpus:g} GPU(s), and no node "
                f"of {self.name} has both. Lower --cpus_per_trial or --gpus_per_trial."
            )


def this_machine() -> Place:
    """Return this machine as a place."""
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Place((Node(cpus(), gpus(), memory),))
