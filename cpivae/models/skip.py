"""Frozen linear maps from one platform to the other, which a network's prediction is added to."""

from __future__ import annotations

from typing import cast, final

import torch
from torch import Tensor, nn

from cpivae.batch import Direction, LinearMap, LinearMaps

RESIDUAL_LEARNING_RATE = 0.1
"""Learning rate of what is added to a linear map, relative to the rest of the model: at the full rate the first epochs
on a few hundred samples only take it away from a good start, and not all of that is made good."""


@final
class LinearSkip(nn.Module):
    """A linear map that is never trained: (B, D_source) -> (B, D_target)."""

    bias: Tensor

    def __init__(self, given: LinearMap) -> None:
        super().__init__()
        self.factors = [f"factor_{i}" for i in range(len(given.factors))]
        for name, array in zip([*self.factors, "bias"], [*given.factors, given.bias], strict=True):
            # Not persistent: a map is stored once, in its own file, and not in every checkpoint.
            self.register_buffer(name, torch.from_numpy(array.copy()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # In full precision under autocast too: the network learns what is left, not the rounding.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.bias.dtype)
            for name in self.factors:
                x = x @ getattr(self, name)
            return x + self.bias


@final
class LinearSkips(nn.Module):
    """The linear maps by direction; without one, the map to zero."""

    def __init__(self, linear_maps: LinearMaps) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({self.name(d): LinearSkip(given) for d, given in linear_maps.items()})

    @staticmethod
    def name(direction: Direction) -> str:
        """Name a direction: ``b_from_a``."""
        source, target = direction
        return f"{target}_from_{source}"

    def slow_down(self, part: nn.Module) -> None:
        """Let a part that adds to these maps learn at a rate of its own."""
        part.learning_rate_factor = RESIDUAL_LEARNING_RATE  # type: ignore[assignment]

    def __contains__(self, direction: Direction) -> bool:
        return self.name(direction) in self.maps

    def forward(self, x: Tensor, direction: Direction) -> Tensor:
        """Map rows (B, D_source) to (B, D_target), or to a zero that fits any shape."""
        if direction not in self:
            return x.new_zeros(())
        return cast(LinearSkip, self.maps[self.name(direction)])(x)
