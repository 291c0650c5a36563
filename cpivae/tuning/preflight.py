"""What a sweep (or a run) would meet, found out before it starts: does it run, does it fit, how long will it take?"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.data.prepare import Folds
from cpivae.files import existing, size
from cpivae.names import plural
from cpivae.terminal.times import in_words
from cpivae.training.hardware import gpus
from cpivae.training.probe import Probe, probe
from cpivae.tuning.extremes import Sized, Sizes, sizes_of
from cpivae.tuning.place import Place
from cpivae.tuning.sweep import fit_linear_maps

_BYTES = 4
"""Of a weight."""
_OF_A_STATE = 4
"""A trial's full state is its weights, two moments of the optimiser, and the best weights of that time."""
_BETWEEN_TRIALS = 0.3
"""Seconds from a trial's last epoch to the next one's first: 0.2 measured, and the model is moved to its device."""
_OF_A_FOLDER = 300_000
"""Bytes of a trial's other files: metrics, preprocessing, TensorBoard events."""


@dataclass
class Preflight:
    """What was found: lines to read, and one for everything that is wrong."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def preflight(config: Config, space: Space | None, folds: Folds, path: Path | None, place: Place) -> Preflight:
    """Try the smallest and the largest configuration for a few batches, and estimate time and disk.

    ``config`` is that of all trials of a sweep over ``space``; without a space it is that of one run.
    """
    found = Preflight()
    fit_linear_maps(config, space, folds)
    _estimate_memory(found, folds, place)
    sizes = sizes_of(space, config, folds[0].n_features)
    tried = {"smallest": sizes.smallest, "largest": sizes.largest} if space is not None else {"": sizes.largest}
    tried_here = [sized.config for sized in tried.values()]
    if config.hardware.accelerator == "gpu" and not gpus():
        found.lines.append("this machine has no GPU, as the nodes of the sweep have: tried on its CPU")
        tried_here = [with_values(c, {"hardware.accelerator": "cpu"}) for c in tried_here]
    probes = probe(tried_here, folds)
    for (name, sized), result in zip(tried.items(), probes, strict=False):
        told = f"the {f'{name} ' if name else ''}configuration ({described(sized)})"
        if result.problem:
            found.problems.append(f"{told} does not run: {result.problem}")
            continue
        memory = f", {result.peak_bytes / 2**30:.1f} GiB of the GPU" if result.peak_bytes else ""
        found.lines.append(f"{told} runs: about {in_words(result.seconds_per_epoch)} an epoch{memory}")
        if space is not None:
            found.problems += _too_large_a_share(config, told, result)
    n_workers = place.trials(config.tuning) if space is not None else 1
    _estimate_disk(found, config, space, sizes, path, n_workers)
    if not found.problems:
        _estimate_time(found, config, space, probes, n_workers)
    return found


def expected_epochs(config: Config) -> float:
    """Return the epochs of a trial to be expected under ASHA, when trials come in random order of merit.

    One in ``reduction_factor`` goes on at each rung.  Early stopping inside a trial is left aside.
    """
    most, factor = config.tuning.max_epochs, config.tuning.asha.reduction_factor
    rung, share, expected = config.grace_period(), 1.0, 0.0
    done = 0
    while done < most:
        end = min(rung, most)
        expected += share * (end - done)
        done, rung, share = end, rung * factor, share / factor
    return expected


def _estimate_memory(found: Preflight, folds: Folds, place: Place) -> None:
    needed, there = sum(data.nbytes for data in folds), place.memory
    times = f" for {len(folds)} folds" if len(folds) > 1 else ""
    line = f"memory: the prepared data take {size(needed)}{times} once for all trials"
    if there is None:
        found.lines.append(line)
        return
    node = f"in {place.name}" if len(place.nodes) == 1 else f"in a node of {place.name}"
    line += f", {size(there)} {node}"
    if needed > there / 2:  # and as much again for the models, their batches and the operating system
        found.problems.append(f"{line}: at most half of it will do. Use fewer folds or features, or a larger machine.")
    else:
        found.lines.append(line)


def _estimate_disk(
    found: Preflight, config: Config, space: Space | None, sizes: Sizes, path: Path | None, n_workers: int
) -> None:
    n_trials = config.tuning.n_trials if space is not None else 1
    kept = min(n_trials, config.tuning.keep_weights or n_trials)
    running = n_workers * sizes.largest.numbers * _BYTES * _OF_A_STATE
    needed = kept * sizes.typical * _BYTES + running + n_trials * _OF_A_FOLDER
    if path is None:
        found.lines.append(f"disk: about {size(needed)} needed where the sweep is kept")
        return
    where = existing(path.resolve())
    free = shutil.disk_usage(where).free
    line = f"disk: about {size(needed)} needed, {size(free)} free in {where}"
    if needed > free:
        advice = "" if config.tuning.keep_weights or space is None else ", or keep fewer weights (tuning.keep_weights)"
        found.problems.append(f"{line}. Make room{advice}.")
    else:
        found.lines.append(line)


def _estimate_time(
    found: Preflight, config: Config, space: Space | None, probes: Sequence[Probe], n_workers: int
) -> None:
    seconds = sorted(p.seconds_per_epoch for p in probes)
    if space is None:
        found.lines.append(f"time: at most {in_words(config.training.max_epochs * seconds[-1])}")
        return
    n_trials = config.tuning.n_trials
    epochs, most = n_trials * expected_epochs(config), n_trials * config.tuning.max_epochs
    between = n_trials * _BETWEEN_TRIALS
    shortest, longest = (in_words((epochs * s + between) / n_workers) for s in (seconds[0], seconds[-1]))
    found.lines.append(
        f"time: about {epochs:.0f} trial-epochs with ASHA (at most {most}), {plural(n_workers, 'trial')} at a time: "
        f"between {shortest} and {longest}, as models are small or large"
    )


def _too_large_a_share(config: Config, told: str, result: Probe) -> list[str]:
    share = min(1.0, config.tuning.gpus or 1.0)
    if result.peak_bytes <= share * result.device_bytes:
        return []
    return [
        f"{told} takes {result.peak_bytes / 2**30:.1f} GiB of the GPU, more than its share of {share:g} of "
        f"{result.device_bytes / 2**30:.1f} GiB. Raise --gpus_per_trial."
    ]


def described(sized: Sized) -> str:
    """Describe a configuration in a few words."""
    model = sized.config.model
    layers = f"encoder {list(model.encoder_layers)}, latent {model.latent_dim}, decoder {list(model.decoder_layers)}"
    return f"{model.model_type}, {layers}, {sized.numbers:,} weights, batches of {sized.config.training.batch_size}"
