"""faulty_variant: the toy with a setting that makes its training go wrong, in one way for every class of failure."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from toy_variant import ToySettings, ToyWeights
from toy_variant import build as build_toy

from cpivae.batch import LinearMaps
from cpivae.config.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor

    from cpivae.models.latent import LatentModel
    from cpivae.models.objectives import Explained, Objective

SEEN = "FAULTY_VARIANT_SEEN"
"""Environment variable: a folder that remembers, across processes, which faults have happened."""


class FaultySettings(ToySettings):
    """Settings of faulty_variant."""

    fault: Literal[
        "none", "nan", "memory", "memory_once", "hang", "hang_in_c", "error", "exit", "large", "too_large"
    ] = "none"
    """What goes wrong in the second epoch, but hang in the first; memory_once and exit do so at the first
    attempt only.  One that is large has room on a GPU of its own but not beside another one; what is too large has
    none anywhere."""


def build(
    settings: FaultySettings, weights: ToyWeights, n_features: Mapping[str, int], skips: LinearMaps
) -> LatentModel:
    """Put the untrained model together."""
    model = build_toy(settings, weights, n_features, skips)
    model.objective = (*model.objective, _goes_wrong(settings.fault))
    return model


def _goes_wrong(fault: str) -> Objective:
    """Return an objective that goes wrong in training once there has been a validation: in the second epoch."""
    import torch

    validated = filled = False

    def terms(seen: Explained) -> dict[str, Tensor]:
        nonlocal validated, filled
        validated |= not torch.is_grad_enabled()
        if fault == "hang" and torch.is_grad_enabled():
            hang()
        if not (validated and torch.is_grad_enabled()):
            return {}
        if fault == "nan":
            return {"reconstruction": torch.nan * seen.latents["a"].z.sum()}
        if fault == "memory" or (fault == "memory_once" and _is_new(fault)):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if fault in ("large", "too_large") and not filled:
            filled = True
            fill_gpu(0.6 if fault == "large" else 1.2)
        if fault == "hang_in_c":
            hang_in_c()
        if fault == "error":
            raise RuntimeError("wrong shape")
        if fault == "exit" and _is_new(fault):
            os._exit(1)
        return {}

    return terms


def _is_new(fault: str) -> bool:
    """Say whether a fault has not happened before, and remember that now it has."""
    marker = Path(os.environ[SEEN]) / fault
    new = not marker.exists()
    marker.touch()
    return new


def fill_gpu(share: float) -> None:
    """Hold a share of the GPU's memory for long enough that a trial beside this one wants it too."""
    import torch

    _, total = torch.cuda.mem_get_info()
    held = torch.empty(int(share * total), dtype=torch.uint8, device="cuda")
    time.sleep(3)
    del held
    torch.cuda.empty_cache()


def hang() -> None:
    """Never come back, but let other threads run."""
    while True:
        time.sleep(1)


def hang_in_c() -> None:
    """Never come back and never let go of the interpreter's lock, as a hanging kernel or library may."""
    ctypes.PyDLL(None).sleep(1000)


VARIANT = Variant(
    summary="goes wrong as it is told to",
    parts="those of toy_variant",
    paper="none",
    settings=FaultySettings,
    loss_weights=ToyWeights,
    build=build,
)
