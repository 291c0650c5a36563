"""The model class of variants without a shared latent space: one network per direction."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast, final

import torch
from torch import Tensor, nn

from cpivae.batch import Batch, Direction, LinearMaps
from cpivae.config.base import ModelSettings
from cpivae.models.base import CrossPlatformModel
from cpivae.models.blocks import hidden_layer, mlp, width_after
from cpivae.models.decoders import observed_mean, zero_last_layer
from cpivae.models.skip import LinearSkips


@final
class UNet(nn.Module):
    """A U-shaped map (B, D_in) -> (B, D_out) between tables (after Ronneberger et al. 2015, figure 1).

    Layers narrow down to a code (B, L) and widen again; each layer on the way up also sees the layer of the same depth
    on the way down.
    """

    def __init__(self, d_in: int, d_out: int, settings: ModelSettings) -> None:
        super().__init__()
        down, up = settings.encoder_layers, settings.decoder_layers
        self.down = nn.ModuleList([hidden_layer(a, b, settings) for a, b in pairwise([d_in, *down])])
        self.bottom = nn.Linear(width_after(d_in, down), settings.latent_dim)
        # The i-th layer on the way up meets the i-th from the bottom; surplus layers on either side meet none.
        beside = [*reversed(down), *[0] * len(up)][: len(up)]
        below = [settings.latent_dim, *up]
        self.up = nn.ModuleList(
            [hidden_layer(a + s, b, settings) for (a, b), s in zip(pairwise(below), beside, strict=True)]
        )
        self.last = mlp(width_after(settings.latent_dim, up), [], settings, d_out=d_out)

    def forward(self, x: Tensor) -> Tensor:
        code, levels = self._descend(x)
        h = code
        for i, layer in enumerate(self.up):
            h = layer(torch.cat([h, levels[-1 - i]], dim=-1) if i < len(levels) else h)
        return self.last(h)

    def code(self, x: Tensor) -> Tensor:
        """Return the narrowest layer (B, L)."""
        return self._descend(x)[0]

    def _descend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        levels = []
        for layer in self.down:
            x = layer(x)
            levels.append(x)
        return self.bottom(x), levels


@final
class DirectModel(CrossPlatformModel):
    """Maps each platform to the other, and to itself by way of the other (Zhu et al. 2017, eq. 2: the cycle)."""

    def __init__(self, nets: Mapping[Direction, UNet], linear_maps: LinearMaps) -> None:
        super().__init__()
        self.directions = tuple(nets)
        self.skips = LinearSkips(linear_maps)
        self.nets = nn.ModuleDict({self.skips.name(direction): net for direction, net in nets.items()})
        for direction in linear_maps:
            zero_last_layer(self._net(direction).last)
            self.skips.slow_down(self._net(direction))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        cross, cycle, size = [], [], []
        for source, target in self.directions:
            x, observed = batch.inputs[source], batch.observed
            added = self._net((source, target))(x)
            predicted = added + self.skips(x, (source, target))
            back = self._map(predicted, (target, source))
            cross.append(observed_mean((predicted - batch.targets[target]).square(), observed[target]).mean())
            cycle.append(observed_mean((back - batch.targets[source]).square(), observed[source]).mean())
            size.append(observed_mean(added.square(), observed[target]).mean())
        terms = {"cross_reconstruction": torch.stack(cross).mean(), "cycle_reconstruction": torch.stack(cycle).mean()}
        return terms | ({"linear_skip_residual": torch.stack(size).mean()} if len(self.skips.maps) else {})

    def impute(self, x: Tensor, source: str, target: str) -> Tensor:
        if source != target:
            return self._map(x, (source, target))
        there = self._from(source)
        return self._map(self._map(x, there), there[::-1])

    def code(self, x: Tensor, source: str) -> Tensor:
        return self._net(self._from(source)).code(x)

    def _map(self, x: Tensor, direction: Direction) -> Tensor:
        return self._net(direction)(x) + self.skips(x, direction)

    def _net(self, direction: Direction) -> UNet:
        return cast(UNet, self.nets[self.skips.name(direction)])

    def _from(self, source: str) -> Direction:
        """Return the first direction that leads away from a platform."""
        return next(direction for direction in self.directions if direction[0] == source)
