"""The run folder: what is in it, how it is written and read.  ``train`` and every trial of a sweep leave the same."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cpivae.config.load import load_config, to_yaml
from cpivae.config.schema import Config
from cpivae.config.yaml import dump_yaml
from cpivae.data.prepare import Folds, PreparedData
from cpivae.data.preprocess import Preprocessor, load_preprocessor, save_preprocessor
from cpivae.data.scale import Scales, scales_of_run
from cpivae.errors import CheckpointError, FolderError
from cpivae.files import folder_written_whole, link_or_copy, write_text
from cpivae.names import PLATFORMS, RunFiles, fold_of
from cpivae.training.environment import environment
from cpivae.training.history import read_rows
from cpivae.training.linear_skip import has_linear_skip, write_linear_maps
from cpivae.training.replica import seeds_of


@dataclass(frozen=True)
class RunFolder:
    """A folder of one training run."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: Config, folds: Folds, linear_maps_in: Path | None = None) -> RunFolder:
        """Make the folder with everything that is known before the first epoch, whole or not at all.

        What is fitted to a fold lies in a folder of its own, where there are several.
        ``linear_maps_in``: a folder that holds the linear maps of these data already; trials share those files.

        Raises
        ------
        FolderError
            ``path`` is occupied.
        """
        with folder_written_whole(path) as beside:
            (beside / RunFiles.CHECKPOINTS).mkdir()
            write_text(beside / RunFiles.CONFIG, to_yaml(config))
            for i, (data, of_fold) in enumerate(zip(folds, RunFiles.folds(beside, len(folds)), strict=True)):
                of_fold.mkdir(exist_ok=True)
                _write_fitted(of_fold, data)
                if not has_linear_skip(config):
                    continue
                if linear_maps_in is None:
                    write_linear_maps(of_fold, data.linear_maps)
                else:
                    shared = RunFiles.folds(linear_maps_in, len(folds))[i]
                    link_or_copy(shared / RunFiles.LINEAR_SKIP, of_fold / RunFiles.LINEAR_SKIP)
            described = environment() | {
                "data": folds[0].sources,
                "features": folds[0].n_features,
                "replicas": [
                    {"seed": seed, "fold": fold_of(replica, len(folds))}
                    for replica, seed in enumerate(seeds_of(config))
                ],
            }
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
        missing = [name for name in needed if not (path / name).is_file()]
        if not missing:
            of_fold = [name(p) for p in PLATFORMS for name in (RunFiles.preprocess, RunFiles.feature_names)]
            files = [fold / name for fold in cls(path).folds() for name in of_fold]
            missing = [str(file.relative_to(path)) for file in files if not file.is_file()]
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

    def folds(self) -> list[Path]:
        """Return the folders of what was fitted to each fold."""
        return RunFiles.folds(self.path, self.config().data.folds or 1)

    def preprocessors(self) -> dict[str, Preprocessor]:
        """Return the fitted preprocessing of the (first) fold; features are the same in all."""
        return read_preprocessors(self.folds()[0])

    def sources(self) -> dict[str, Any]:
        """Return what is recorded of the tables that the run was trained on; nothing where nothing is."""
        path = self.path / RunFiles.ENVIRONMENT
        sources: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["data"] if path.is_file() else {}
        return sources

    def scales(self) -> Scales:
        """Return in which units these tables were, where that is recorded."""
        return scales_of_run(self.sources())

    def history(self) -> pd.DataFrame:
        """Return the metrics of every epoch, one row each."""
        return read_rows(self.path / RunFiles.METRICS)

    def selected_epoch(self) -> pd.Series:
        """Return the metrics of the epoch whose weights are kept: the best one, the first among equals."""
        history, goal = self.history(), self.config().callbacks.model_checkpoint.goal()
        scores = history[goal.metric].to_numpy()
        return history.iloc[int(scores.argmax() if goal.mode == "max" else scores.argmin())]

    def replicas(self) -> pd.DataFrame:
        """Return every replica's metrics of every epoch; for a plain run, those of its one model."""
        path = self.path / RunFiles.REPLICAS
        return read_rows(path) if path.is_file() else self.history().assign(replica=0)

    def test_metrics(self) -> dict[str, float]:
        """Return the scores on the test samples; nothing while these have not been looked at."""
        path = self.path / RunFiles.TEST_METRICS
        metrics: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return metrics

    def weights(self) -> list[dict[str, torch.Tensor]]:
        """Return every replica's weights at the selected epoch.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or lacks a replica.
        """
        state = read_checkpoint(self.final_model)["state_dict"]
        weights = [
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            for prefix in (f"replicas.{r}.model." for r in range(self.config().n_replicas()))
        ]
        if not all(weights):
            raise CheckpointError(f"{self.final_model} does not hold the {len(weights)} models of its settings.")
        return weights


def _write_fitted(folder: Path, data: PreparedData) -> None:
    data.splits.to_csv(folder / RunFiles.SPLITS)
    for platform, preprocessor in data.preprocessors.items():
        write_preprocessor(folder, platform, preprocessor)
        # For people who want to look inside; nothing of ours reads it back.
        (folder / RunFiles.scaler(platform)).write_bytes(pickle.dumps(preprocessor.pipeline))
    write_text(folder / RunFiles.LOG_PARAMS, dump_yaml(_log_parameters(data)))


def read_preprocessors(folder: Path) -> dict[str, Preprocessor]:
    """Return the fitted preprocessing by platform."""
    return {platform: read_preprocessor(folder, platform) for platform in PLATFORMS}


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
