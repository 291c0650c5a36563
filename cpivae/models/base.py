"""The contract between a model and the rest of the program.

Shape letters, here and in every model file: B rows of a batch, D features of a platform, H hidden units, L latent
dimensions, K draws of the latent code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from cpivae.batch import Batch


class CrossPlatformModel(nn.Module, ABC):
    """A model of samples measured on several platforms.  Nothing else about it is known outside ``models``."""

    @abstractmethod
    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms by name, unweighted scalars; each name has a weight in the settings."""

    @abstractmethod
    def impute(self, x: Tensor, source: str, target: str) -> Tensor:
        """Predict platform ``target`` (B, D_target) from rows of ``source`` (B, D_source), in scaled units."""

    @abstractmethod
    def code(self, x: Tensor, source: str) -> Tensor:
        """Return the latent code (B, L) of rows of ``source``."""
