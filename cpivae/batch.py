"""What the data room yields and the model room takes; the two share nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

Direction = tuple[str, str]
"""(source, target) platforms of a prediction."""


class Batch(NamedTuple):
    """Rows of the same samples on every platform, in scaled units.  Keys are platforms, D differs between them."""

    inputs: dict[str, Tensor]
    """(B, D): what the model sees; gaps are filled, training noise is added."""
    targets: dict[str, Tensor]
    """(B, D): what it is to predict; gaps are filled, but no loss or metric counts them."""
    observed: dict[str, Tensor]
    """(B, D) bool: which cells were measured."""


class LinearMap(NamedTuple):
    """``y = x @ factors[0] @ ... + bias``, from scaled rows of one platform to scaled rows of the other."""

    factors: tuple[npt.NDArray[np.float32], ...]
    """One matrix (D_source, D_target), or (D_source, R) and (R, D_target) where the rank R makes that smaller."""
    bias: npt.NDArray[np.float32]
    """(D_target,)."""

    def predict(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Map rows (N, D_source) to (N, D_target)."""
        for factor in self.factors:
            x = x @ factor
        return x + self.bias

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(part.nbytes for part in (*self.factors, self.bias))


LinearMaps = Mapping[Direction, LinearMap]
