"""From a latent draw back to a platform's row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """How well does a draw explain a row, and what is the row?"""

    @abstractmethod
    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Score draws z (K, B, L) against rows x (B, D), of which only ``observed`` (B, D) cells count.

        Returns {name: (K, B)}, ``reconstruction`` among them.
        """

    @abstractmethod
    def predict(self, z: Tensor) -> Tensor:
        """Decode draws (K, B, L) to rows (K, B, D)."""


@final
class PointDecoder(Decoder):
    """A row is predicted as one point; its loss is the mean squared error over the row's observed cells."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return {"reconstruction": (K, B)}; a row without an observed cell scores 0."""
        squared = (self.predict(z) - x).square() * observed  # (K, B, D)
        return {"reconstruction": squared.sum(-1) / observed.sum(-1).clamp(min=1)}

    def predict(self, z: Tensor) -> Tensor:
        # Batch norm takes (rows, features): fold the draws into the rows.
        return self.net(z.flatten(0, 1)).unflatten(0, z.shape[:2])
