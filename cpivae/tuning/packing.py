"""CPUs and GPUs of a trial where the settings say ``auto``: a number, from what the largest configuration takes.

The rest of the program sees numbers only.  A sweep records them, and goes on with them when it is resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.config.tuning import AUTO, TuningSettings
from cpivae.data.prepare import Folds
from cpivae.errors import ResourceError
from cpivae.names import plural
from cpivae.terminal.times import in_words
from cpivae.training.hardware import cpus, gpus
from cpivae.training.probe import Probe, probe
from cpivae.tuning.extremes import Sized, sizes_of
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.place import Node, Place
from cpivae.tuning.preflight import described
from cpivae.tuning.sweep import fit_linear_maps

CONTEXT = 2**29
"""Bytes that CUDA takes in every process, beside what torch holds."""
MARGIN = 1.2
"""For a run that takes more than a few batches did: other layers beside the same number of weights, fragments."""
CROWDING = 1.25
"""Sum of busy shares on a GPU: trials compute by turns, and somewhat more of them than fit fill each other's gaps."""
MOST = 99
"""Trials on a GPU: more cannot be told apart in the four decimals that Ray reads."""
TIE = 1.05
"""Times that differ by less are the same: a probe is short."""


class Packing(NamedTuple):
    """Settings with numbers in place of ``auto``, and lines that say why."""

    config: Config
    lines: list[str]


def autos(tuning: TuningSettings) -> list[str]:
    """List what is to be measured."""
    return [name for name in ("gpus_per_trial", "cpus_per_trial") if getattr(tuning, name) == AUTO]


def with_numbers(config: Config, place: Place, begun: SweepFolder | None) -> Config:
    """Return settings with numbers before anything is measured.

    They are those of ``begun``, a sweep that is to be gone on with, if a node has so much and no GPU is left idle; or
    else a whole GPU for a trial, where there are some, and its share of the CPUs.
    """
    tuning, accelerator = config.tuning, config.hardware.accelerator
    if not autos(tuning):
        return config
    if begun is not None:
        then = begun.config().tuning
        as_begun = _chosen(config, then.cpus, then.gpus)
        idle = accelerator != "cpu" and place.has_gpus and not as_begun.tuning.gpus
        if any(node.trials(as_begun.tuning) for node in place.nodes) and not idle:
            return as_begun
    of_gpus = float(accelerator == "gpu" or (accelerator == "auto" and place.has_gpus))
    of_gpus = of_gpus if tuning.gpus_per_trial == AUTO else tuning.gpus
    return _chosen(config, cpus_beside(place.nodes, of_gpus) if of_gpus else 1.0, of_gpus)


def measured(asked: Config, assumed: Config, space: Space, folds: Folds, place: Place) -> Packing:
    """Try the largest configuration, and choose; with a ``place`` that is elsewhere leave it at what is assumed.

    ``asked`` has ``auto``, ``assumed`` (the settings of all trials) has the numbers of :func:`with_numbers` instead.

    Raises
    ------
    ResourceError
        The largest configuration does not run, or the nodes have GPUs and this machine has none to measure on.
    """
    names, of_cpus, of_gpus = autos(asked.tuning), assumed.tuning.cpus, assumed.tuning.gpus
    if not place.here:
        taken = {name: getattr(assumed.tuning, name) for name in names}
        told = [f"{n}: auto, measured where the trials run; estimates here take it for {v:g}" for n, v in taken.items()]
        return Packing(_chosen(asked, of_cpus, of_gpus), told)
    lines = []
    if "gpus_per_trial" in names:
        of_gpus, why = _gpus(assumed, space, folds, place, 1.0 if "cpus_per_trial" in names else of_cpus)
        lines.append(f"gpus_per_trial: {of_gpus:g}, because {why}")
    if "cpus_per_trial" in names:
        of_cpus, why = _cpus(assumed, space, folds, place, of_gpus)
        lines.append(f"cpus_per_trial: {of_cpus:g}, because {why}")
    config = _chosen(asked, of_cpus, of_gpus)
    return Packing(config, [f"{line}; {plural(place.trials(config.tuning), 'trial')} at a time" for line in lines])


def trials_per_gpu(result: Probe, nodes: Sequence[Node], of_cpus: float) -> tuple[int, str]:
    """Return how many trials share a GPU, and why no more; ``of_cpus`` is what each has of CPUs.

    One always may: it has run.
    """
    limits = {
        "more of its memory is not there": result.device_bytes / (MARGIN * result.peak_bytes + CONTEXT),
        # A share that is not known may be anything.
        "more would wait for each other": CROWDING / (result.busy or 1.0),
        "a node has no CPUs for more": min(n.cpus / of_cpus / n.gpus for n in nodes if n.gpus),
        "Ray divides a GPU no further": MOST,
    }
    limit = min(limits, key=lambda name: limits[name])
    return max(1, math.floor(limits[limit])), limit


def fraction(n: int) -> float:
    """Return a part of a GPU of which n fit, and not n + 1, in the four decimals that Ray reads."""
    return math.floor(10_000 / n) / 10_000


def cpus_beside(nodes: Sequence[Node], of_gpus: float) -> float:
    """Return the CPUs, whole ones, that any node has for each of the trials that its GPUs hold."""
    each = [math.floor(n.cpus / n.on_gpus(of_gpus)) for n in nodes if n.gpus and n.on_gpus(of_gpus)]
    return float(max(1, min(each, default=1)))


def best_threads(seconds: Mapping[int, float], tuning: TuningSettings, place: Place) -> int:
    """Return the number of threads with which a sweep is over first; the smallest of those that tie.

    ``seconds``: of an epoch, by number of threads.
    """
    whole = {
        threads: math.ceil(tuning.n_trials / place.trials(tuning.model_copy(update={"cpus_per_trial": float(threads)})))
        * of_an_epoch
        for threads, of_an_epoch in seconds.items()
    }
    return min(threads for threads, time in whole.items() if time <= TIE * min(whole.values()))


def threads_to_try(most: int) -> list[int]:
    """Return 1, 2, 4, ... and the most.

    >>> threads_to_try(6)
    [1, 2, 4, 6]
    """
    return [2**i for i in range(most.bit_length()) if 2**i < most] + [most]


def _gpus(config: Config, space: Space, folds: Folds, place: Place, of_cpus: float) -> tuple[float, str]:
    if not config.tuning.gpus:
        return 0.0, "hardware.accelerator is cpu" if place.has_gpus else f"{place.name} has none"
    if not gpus():
        raise ResourceError(
            f"--gpus_per_trial is auto, but this machine has no GPU to measure on, as nodes of {place.name} have. Give "
            "a number, such as 0.25, or start the sweep on one of those nodes."
        )
    largest = _largest(config, space, folds)
    result = _ran(probe([largest.config], folds, busy=True)[0], largest)
    n, limit = trials_per_gpu(result, place.nodes, of_cpus)
    there, busy = result.device_bytes / 2**30, f"{100 * result.busy:.0f} %"
    kept = f"keeps the GPU busy {busy} of the time" if result.busy else "keeps the GPU busy for an unknown time"
    return fraction(n), (
        f"the largest configuration takes {result.peak_bytes / 2**30:.1f} of {there:.1f} GiB and {kept} ({limit})"
    )


def _cpus(config: Config, space: Space, folds: Folds, place: Place, of_gpus: float) -> tuple[float, str]:
    if of_gpus:
        return cpus_beside(place.nodes, of_gpus), "a node has as many for each trial that its GPUs hold"
    largest = _largest(config, space, folds)
    threads = threads_to_try(max(1, math.floor(min(cpus(), max(node.cpus for node in place.nodes)))))
    probes = probe([with_values(largest.config, {"hardware.threads": n}) for n in threads], folds)
    seconds = {n: _ran(result, largest).seconds_per_epoch for n, result in zip(threads, probes, strict=False)}
    each = ", ".join(f"{in_words(of)} with {n} thread{'s' if n > 1 else ''}" for n, of in seconds.items())
    chosen = float(best_threads(seconds, config.tuning, place))
    return chosen, f"an epoch of the largest configuration takes {each}"


def _largest(config: Config, space: Space, folds: Folds) -> Sized:
    """Return the configuration that decides for all: with it, what smaller ones leave free is not used."""
    fit_linear_maps(config, space, folds)
    return sizes_of(space, config, folds[0].n_features).largest


def _ran(result: Probe, largest: Sized) -> Probe:
    if result.problem:
        raise ResourceError(f"the largest configuration ({described(largest)}) does not run: {result.problem}")
    return result


def _chosen(config: Config, of_cpus: float, of_gpus: float) -> Config:
    """Return the settings with these numbers where there is ``auto``."""
    numbers = {"cpus_per_trial": of_cpus, "gpus_per_trial": of_gpus}
    return with_values(config, {f"tuning.{name}": numbers[name] for name in autos(config.tuning)})
