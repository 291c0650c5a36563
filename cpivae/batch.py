"""What the data room yields and the model room takes; the two share nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Batch(NamedTuple):
    """Rows of the same samples on every platform, in scaled units.  Keys are platforms, D differs between them."""

    inputs: dict[str, Tensor]
    """(B, D): what the model sees; gaps are filled, training noise is added."""
    targets: dict[str, Tensor]
    """(B, D): what it is to predict; gaps are filled, but no loss or metric counts them."""
    observed: dict[str, Tensor]
    """(B, D) bool: which cells were measured."""
