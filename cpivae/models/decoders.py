"""From a latent draw back to a platform's row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import cast, final

from torch import Tensor, nn

from cpivae.batch import Direction, LinearMaps
from cpivae.models.skip import LinearSkips


class Decoder(nn.Module, ABC):
    """How well does a draw explain a row, and what is the row?"""

    @abstractmethod
    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Score draws z (K, B, L) against rows x (B, D), of which only ``observed`` (B, D) cells count.

        Returns {name: (K, B)}: ``reconstruction`` (mean squared error), ``size`` (mean square of the predicted row),
        and whatever else the decoder learns from.
        """

    @abstractmethod
    def predict(self, z: Tensor) -> Tensor:
        """Decode draws (K, B, L) to rows (K, B, D)."""

    @abstractmethod
    def start_at_zero(self) -> None:
        """Set the last layer to zero, so that every predicted row is zero until something is learnt."""


@final
class PointDecoder(Decoder):
    """A row is predicted as one point; its loss is the mean squared error over the row's observed cells."""

    def __init__(self, net: nn.Sequential) -> None:
        """``net`` maps (rows, L) to (rows, D) and ends with a linear layer."""
        super().__init__()
        self.net = net

    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return ``reconstruction`` and ``size``, (K, B) each; a row without an observed cell scores 0."""
        predicted = self.predict(z)  # (K, B, D)
        return {
            "reconstruction": observed_mean((predicted - x).square(), observed),
            "size": observed_mean(predicted.square(), observed),
        }

    def predict(self, z: Tensor) -> Tensor:
        # Batch norm takes (rows, features): fold the draws into the rows.
        return self.net(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def start_at_zero(self) -> None:
        zero_last_layer(self.net)


def observed_mean(values: Tensor, observed: Tensor) -> Tensor:
    """Average (K, B, D) over the observed (B, D) cells of each row: (K, B), 0 where there is none."""
    return (values * observed).sum(-1) / observed.sum(-1).clamp(min=1)


def zero_last_layer(net: nn.Sequential) -> None:
    """Set the last layer's weights and bias to zero."""
    for parameter in net[-1].parameters():
        nn.init.zeros_(parameter)


@final
class Decoders(nn.Module):
    """The decoders of a model: one per platform, and, with linear skips, one more per cross prediction.

    With a skip a cross prediction is ``skip(x_source) + decoder(z)``.  That decoder is its own, starting at zero,
    because what is left over by a linear map is another thing than the row itself.
    """

    def __init__(self, make: Callable[[str], Decoder], platforms: Iterable[str], linear_maps: LinearMaps) -> None:
        """``make(platform)`` returns an untrained decoder of that platform."""
        super().__init__()
        self.own = nn.ModuleDict({platform: make(platform) for platform in platforms})
        self.skips = LinearSkips(linear_maps)
        self.residual = nn.ModuleDict({self.skips.name(direction): make(direction[1]) for direction in linear_maps})
        for decoder in self.residual.values():
            cast(Decoder, decoder).start_at_zero()
            self.skips.slow_down(decoder)

    def decoder(self, direction: Direction) -> Decoder:
        """Return the decoder of a (source, target) prediction."""
        name = self.skips.name(direction)
        return cast(Decoder, self.residual[name] if name in self.residual else self.own[direction[1]])

    def losses(self, x: Tensor, target: Tensor, observed: Tensor, z: Tensor, direction: Direction) -> dict[str, Tensor]:
        """Score draws z (K, B, L), made from rows x (B, D_source), against rows (B, D_target) of the target."""
        return self.decoder(direction).losses(target - self.skips(x, direction), observed, z)

    def predict(self, x: Tensor, z: Tensor, direction: Direction) -> Tensor:
        """Decode draws z (K, B, L), made from rows x (B, D_source): (K, B, D_target)."""
        return self.decoder(direction).predict(z) + self.skips(x, direction)
