"""The run folder: what is in it, how it is written and read.  ``train`` and every trial of a sweep leave the same."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cpivae.batch import LinearMaps
from cpivae.config.load import load_config, to_yaml
from cpivae.config.schema import Config
from cpivae.config.yaml import dump_yaml
from cpivae.data.prepare import PreparedData
from cpivae.data.preprocess import Preprocessor, load_preprocessor, save_preprocessor
from cpivae.errors import CheckpointError, FolderError
from cpivae.files import folder_written_whole, link_or_copy, write_text
from cpivae.names import PLATFORMS, RunFiles
from cpivae.training.environment import environment
from cpivae.training.linear_skip import has_linear_skip, read_linear_maps, write_linear_maps


@dataclass(frozen=True)
class RunFolder:
    """A folder of one training run."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, data: PreparedData, linear_maps_in: Path | None = None) -> RunFolder:
        """Make the folder with everything that is known before the first epoch, whole or not at all.

        ``linear_maps_in``: a folder that holds the linear maps of these data already; trials share that file.

        Raises
        ------
        FolderError
            ``path`` is occupied.
        """
        with folder_written_whole(path) as beside:
            (beside / RunFiles.CHECKPOINTS).mkdir()
            write_text(beside / RunFiles.CONFIG, to_yaml(config))
            data.splits.to_csv(beside / RunFiles.SPLITS)
            for platform, preprocessor in data.preprocessors.items():
                write_preprocessor(beside, platform, preprocessor)
                # For people who want to look inside; nothing of ours reads it back.
                (beside / RunFiles.scaler(platform)).write_bytes(pickle.dumps(preprocessor.pipeline))
            if has_linear_skip(config):
                if linear_maps_in is None:
                    write_linear_maps(beside, data.linear_maps)
                else:
                    link_or_copy(linear_maps_in / RunFiles.LINEAR_SKIP, beside / RunFiles.LINEAR_SKIP)
            write_text(beside / RunFiles.LOG_PARAMS, dump_yaml(_log_parameters(data)))
            described = environment() | {"data": data.sources, "features": data.n_features}
            write_text(beside / RunFiles.ENVIRONMENT, json.dumps(described, indent=2) + "\n")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return an existing run folder.

        Raises
        ------
        FolderError
            ``path`` is no run folder, or its run has not finished an epoch.
        """
        needed = [RunFiles.CONFIG, RunFiles.FINAL_MODEL]
        needed += [name(p) for p in PLATFORMS for name in (RunFiles.preprocess, RunFiles.feature_names)]
        missing = [name for name in needed if not (path / name).is_file()]
        if missing:
            raise FolderError(f"{path} is not a finished run folder: it lacks {', '.join(missing)}.")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / RunFiles.CHECKPOINTS

    @property
    def final_model(self) -> Path:
        return self.path / RunFiles.FINAL_MODEL

    @property
    def state(self) -> Path:
        """A trial's full state some epochs ago, from which it can be continued; gone once it has ended."""
        return self.checkpoints / RunFiles.STATE

    def best_of_state(self, name: str) -> Path:
        """Return where the best weights that a state knows of are kept beside it; ``name`` is their file's."""
        return self.checkpoints / f"{RunFiles.STATE_BEST}{name}"

    def config(self) -> Config:
        """Return the run's resolved settings."""
        return load_config(self.path / RunFiles.CONFIG)

    def preprocessors(self) -> dict[str, Preprocessor]:
        """Return the fitted preprocessing by platform."""
        return {platform: read_preprocessor(self.path, platform) for platform in PLATFORMS}

    def linear_maps(self) -> LinearMaps:
        """Return the frozen linear maps by direction; nothing where the model has none."""
        return read_linear_maps(self.path, self.config())

    def history(self) -> pd.DataFrame:
        """Return the metrics of every epoch, one row each."""
        return pd.read_csv(self.path / RunFiles.METRICS)

    def selected_epoch(self) -> pd.Series:
        """Return the metrics of the epoch whose weights are kept: the best one, the first among equals."""
        history, goal = self.history(), self.config().callbacks.model_checkpoint.goal()
        scores = history[goal.metric].to_numpy()
        return history.iloc[int(scores.argmax() if goal.mode == "max" else scores.argmin())]

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the model's weights at the selected epoch."""
        state = read_checkpoint(self.final_model)["state_dict"]
        return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def write_preprocessor(folder: Path, platform: str, preprocessor: Preprocessor) -> None:
    """Write a platform's pipeline and feature names."""
    save_preprocessor(preprocessor, folder / RunFiles.preprocess(platform))
    write_text(folder / RunFiles.feature_names(platform), "".join(f"{name}\n" for name in preprocessor.features))


def read_preprocessor(folder: Path, platform: str) -> Preprocessor:
    """Read what :func:`write_preprocessor` wrote."""
    names = (folder / RunFiles.feature_names(platform)).read_text(encoding="utf-8").split("\n")[:-1]
    return load_preprocessor(folder / RunFiles.preprocess(platform), names)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, tensors and plain data only: nothing in it is executed.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is something else
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({first}).") from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} is not a training checkpoint: it holds no weights by name.")
    return checkpoint


def _log_parameters(data: PreparedData) -> dict[str, Any]:
    """Describe each platform's logarithm: base, and the shift of every feature."""
    described: dict[str, Any] = {}
    for platform, preprocessor in data.preprocessors.items():
        shift = preprocessor.affine().shift
        described[f"platform_{platform}"] = (
            {"enabled": False}
            if shift is None
            else {
                "enabled": True,
                "base": 2,
                "shift": dict(zip(preprocessor.features, map(float, shift), strict=True)),
            }
        )
    return described
