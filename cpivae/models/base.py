"""The contract between a model and the rest of the program.

Shape letters, here and in every model file: B rows of a batch, D features of a platform, H hidden units, L latent
dimensions, K draws of the latent code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, cast, runtime_checkable

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

    def draws(self, x: Tensor, source: str, target: str, n: int, seed: int = 0) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield ``n`` draws (B, D_target) of what the posterior allows platform ``target`` to be, in scaled units.

        All rows share the random numbers of a draw, so that a row is drawn alike in any batch.  A model without a
        posterior yields nothing.
        """
        return iter(())


@runtime_checkable
class StartsFromRows(Protocol):
    """A part whose initial weights come from training rows."""

    def start_from(self, rows: Mapping[str, Tensor]) -> None:
        """Set initial weights from scaled training rows (N, D) of every platform."""
        ...


@runtime_checkable
class LearnsAtItsOwnRate(Protocol):
    """A part that learns faster or slower than the rest of its model."""

    learning_rate_factor: float
    """Its learning rate, relative to that of the rest."""


def start_from_rows(model: nn.Module, rows: Callable[[], Mapping[str, Tensor]]) -> None:
    """Let every part that wants to start from training rows do so; ``rows`` is asked only if there is one."""
    parts = [part for part in model.modules() if isinstance(part, StartsFromRows)]
    if parts:
        given = rows()
        for part in parts:
            part.start_from(given)


def by_learning_rate(model: nn.Module) -> dict[float, list[nn.Parameter]]:
    """Return the parameters by their share of the learning rate: that of the part they are in, 1 unless it has one."""
    own = {
        parameter: part.learning_rate_factor
        for part in model.modules()
        if isinstance(part, LearnsAtItsOwnRate)
        for parameter in cast(nn.Module, part).parameters()
    }
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in model.parameters():
        groups.setdefault(own.get(parameter, 1.0), []).append(parameter)
    return groups
