"""Where the memory of a running sweep goes, seen from the outside; see ``sweep_cost.py`` for what the words mean."""

from __future__ import annotations

import statistics
import weakref
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from common import every

from cpivae.data.prepare import PreparedData

MB = 1e6


@dataclass
class Memory:
    """What the sampling thread saw, in bytes."""

    data: int
    original: weakref.ref[Any]
    """To an array of the data as they were prepared."""
    held_here: bool = False
    """Whether it was still there while trials ran."""
    shared: int = 0
    """Peak of the object store's pages in use, each counted once."""
    mapped: int = 0
    """Most processes that had the object store's data mapped at a time."""
    workers: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Private memory of every worker, over time."""

    def worker_peak(self) -> float:
        return statistics.median(max(seen) for seen in self.workers.values())


@contextmanager
def sampled(data: PreparedData) -> Iterator[Memory]:
    """Watch memory while the block runs."""
    memory = Memory(data.nbytes, weakref.ref(data.values["b"]))
    del data
    with every(0.5, lambda: sample(memory)):
        yield memory


def sample(memory: Memory) -> None:
    """Add one look at this process and the Ray processes below it."""
    me, shared, mapped = psutil.Process(), 0, 0
    for process in [me, *me.children(recursive=True)]:
        try:
            is_trial = process.cmdline()[:1] in (["ray::ImplicitFunc"], ["ray::ImplicitFunc.train"])
            maps = [m for m in process.memory_maps(grouped=True) if "plasma" in m.path]
            shared += sum(m.pss for m in maps)
            mapped += any(m.rss > memory.data / 2 for m in maps)
            if is_trial:
                memory.workers[process.pid].append(process.memory_full_info().uss)
        except psutil.Error:
            continue
    memory.shared, memory.mapped = max(memory.shared, shared), max(memory.mapped, mapped)
    if memory.workers:
        memory.held_here = memory.original() is not None


def report_memory(seen: Memory) -> None:
    print(f"data {seen.data / MB:.0f} MB, mapped by up to {seen.mapped} processes at a time;")
    print(f"    shared memory in use: {seen.shared / seen.data:.2f} x data (target: about 1)")
    print(f"    a second copy in the sweep's own process: {'yes' if seen.held_here else 'no'} (target: no)")
    traces = [trace for trace in seen.workers.values() if len(trace) >= 8]
    halves = [max(trace[len(trace) // 2 :]) / max(trace[: len(trace) // 2]) for trace in traces]
    if halves:
        print(f"    a worker's private peak, second half of the sweep over the first: {max(halves):.2f} x")


def report_growth(small: Memory, large: Memory) -> None:
    more = large.data - small.data
    growth = (large.worker_peak() - small.worker_peak()) / more
    print(f"    a worker's private memory per byte of data: {growth:+.2f} (target: about 0; 1 would be a copy)")
