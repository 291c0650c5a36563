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
    """``y = x @ left @ right + bias``, from scaled rows of one platform to scaled rows of the other."""

    left: npt.NDArray[np.float32]
    """(D_source, R), R the rank: at most the number of training rows."""
    right: npt.NDArray[np.float32]
    """(R, D_target)."""
    bias: npt.NDArray[np.float32]
    """(D_target,)."""


LinearMaps = Mapping[Direction, LinearMap]
