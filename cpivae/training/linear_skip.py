"""The file of frozen linear maps in a run folder or a bundle, there only where the settings ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from cpivae.batch import Direction, LinearMap, LinearMaps
from cpivae.config.schema import Config
from cpivae.errors import FolderError
from cpivae.files import written_whole
from cpivae.names import DIRECTIONS, RunFiles, prediction


def has_linear_skip(config: Config) -> bool:
    """Say whether a model with these settings needs linear maps."""
    return config.model.linear_skip != "none"


def write_linear_maps(folder: Path, linear_maps: LinearMaps) -> None:
    """Write the maps into a folder."""
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for direction, given in linear_maps.items():
        name = prediction(*direction)
        arrays |= {f"{name}.factor_{i}": factor for i, factor in enumerate(given.factors)}
        arrays[f"{name}.bias"] = given.bias
    with written_whole(folder / RunFiles.LINEAR_SKIP) as beside:
        beside.write_bytes(save(arrays))


def read_linear_maps(folder: Path, config: Config) -> dict[Direction, LinearMap]:
    """Read what :func:`write_linear_maps` wrote; nothing where the settings ask for no linear skip.

    Raises
    ------
    FolderError
        The file is missing or damaged.
    """
    if not has_linear_skip(config):
        return {}
    path = folder / RunFiles.LINEAR_SKIP
    try:
        arrays = load_file(path)
        return {(s, t): _map(arrays, prediction(s, t)) for s, t in DIRECTIONS if s != t}
    except FileNotFoundError:
        raise FolderError(f"{folder} lacks {path.name}, the linear maps that its model adds to.") from None
    except (SafetensorError, KeyError) as error:
        raise FolderError(f"{path} is damaged ({error}).") from None


def _map(arrays: dict[str, npt.NDArray[np.float32]], name: str) -> LinearMap:
    n_factors = sum(key.startswith(f"{name}.factor_") for key in arrays)
    return LinearMap(tuple(arrays[f"{name}.factor_{i}"] for i in range(max(1, n_factors))), arrays[f"{name}.bias"])
