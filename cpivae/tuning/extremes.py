"""How large the models of a space are: counted without giving them memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from cpivae.batch import LinearMap, LinearMaps
from cpivae.config.draws import Leaning, sample
from cpivae.config.load import with_values
from cpivae.config.parameters import Suggests
from cpivae.config.schema import Config
from cpivae.config.space import Space
from cpivae.models.build import build_model
from cpivae.names import DIRECTIONS

_ENDS, _MIDDLE = 60, 24
"""Suggestions: enough to meet every architecture of the space over all with its largest layers, and for a mean."""


class Sized(NamedTuple):
    """Settings and how many numbers their model has."""

    config: Config
    numbers: int


class Sizes(NamedTuple):
    """The sizes of a space's models."""

    smallest: Sized
    largest: Sized
    """With the largest batch of the space."""
    typical: float
    """Mean number of numbers of settings at random."""


def sizes_of(space: Space | None, config: Config, n_features: Mapping[str, int]) -> Sizes:
    """Return the smallest and the largest model that a space may propose, and a mean over random ones.

    Without a space they are all that of ``config``.
    """
    if space is None:
        own = Sized(config, _numbers(config, n_features))
        return Sizes(own, own, own.numbers)
    small, large = Leaning(0, seed=0), Leaning(-1, seed=0)
    base = Sized(config, _numbers(config, n_features))
    ends = [base, *_sized(space, config, n_features, [small, large] * _ENDS)]
    middle = _sized(space, config, n_features, list(sample(_MIDDLE))[2:])
    largest, batch = max(ends, key=lambda s: s.numbers), max(s.config.training.batch_size for s in ends)
    return Sizes(
        min(ends, key=lambda s: s.numbers),
        Sized(with_values(largest.config, {"training.batch_size": batch}), largest.numbers),
        float(np.mean([s.numbers for s in middle])),
    )


def _sized(space: Space, config: Config, n_features: Mapping[str, int], draws: Iterable[Suggests]) -> list[Sized]:
    known: dict[str, int] = {}
    sized = []
    for values in (space.suggest(trial) for trial in draws):
        drawn = with_values(config, values)
        # Neither changes the size, and a model with spectral norm takes a quarter of a second to build.
        shape = drawn.model.model_copy(update={"activation": "relu", "dropout_rate": 0.0}).model_dump_json()
        if shape not in known:
            known[shape] = _numbers(drawn, n_features)
        sized.append(Sized(drawn, known[shape]))
    return sized


def _numbers(config: Config, n_features: Mapping[str, int]) -> int:
    """Count a model's numbers; none where it cannot be built, so that it is the smallest and the probe says why."""
    try:
        with torch.device("meta"):
            model = build_model(config, n_features, _no_maps(n_features))
    except Exception:  # a model may look at values while it is built, which have to be there then
        try:
            model = build_model(config, n_features, _no_maps(n_features))
        except Exception:
            return 0
    return sum(tensor.numel() for tensor in model.state_dict().values()) * config.n_replicas()


def _no_maps(n_features: Mapping[str, int]) -> LinearMaps:
    """Return linear maps that take no room: they are no part of a model's weights."""
    maps = {}
    for source, target in DIRECTIONS:
        if source != target:
            d_in, d_out = n_features[source], n_features[target]
            thin = (np.zeros((d_in, 1), np.float32), np.zeros((1, d_out), np.float32))
            maps[source, target] = LinearMap(thin, np.zeros(d_out, np.float32))
    return maps
