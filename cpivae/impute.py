"""A bundle (or a run folder) and a new table: the other platform's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cpivae.bundle import is_bundle, read_weights, verify
from cpivae.config.load import load_config
from cpivae.config.schema import Config
from cpivae.data.preprocess import Preprocessor
from cpivae.errors import BundleError, DataError, FolderError, listed
from cpivae.models.base import CrossPlatformModel
from cpivae.models.build import build_model
from cpivae.names import RunFiles, fold_of
from cpivae.training.folder import RunFolder, read_preprocessors
from cpivae.training.linear_skip import read_linear_maps

_ROWS = 1024
"""Rows predicted at a time: enough to be fast, few enough for any memory."""


@dataclass(frozen=True)
class Imputed:
    """What a model makes of a new table."""

    values: pd.DataFrame
    """(n, D_target) in the units of the training table, samples in the order given."""
    latent: pd.DataFrame
    """(n, L) the latent code of every sample."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: columns ignored, features and cells filled."""


class Trained(NamedTuple):
    """A trained model and the preprocessing it was trained with."""

    model: CrossPlatformModel
    preprocessors: dict[str, Preprocessor]


class Imputer:
    """One trained model or several replicas, ready for new samples."""

    def __init__(self, config: Config, replicas: Sequence[Trained]) -> None:
        self.config, self.replicas = config, list(replicas)
        for replica in self.replicas:
            replica.model.eval()

    def impute(
        self, table: pd.DataFrame, source: str, target: str, *, allow_missing: bool = False, seed: int = 0
    ) -> Imputed:
        """Predict platform ``target`` from a table (n samples, features of ``source``), NaN where missing.

        Several replicas impute the mean of what each predicts; their latent codes stand side by side.
        ``seed`` matters only to a model that draws (``model.sampling_noise`` above 0): the same seed, the same values.

        Raises
        ------
        DataError
            The table lacks features the model was trained on, and ``allow_missing`` is off; or it has none of them.
        """
        known = self.replicas[0].preprocessors[source].features  # the same for all
        notes = self._match(table, known, source, allow_missing=allow_missing)
        measured = table.reindex(columns=known).to_numpy(dtype=np.float64)
        notes += _gaps(measured, list(table.index))
        values, codes = zip(*(_apply(r, measured, source, target, seed) for r in self.replicas), strict=True)
        latent = {
            f"latent_{i}" if len(codes) == 1 else f"replica_{r}_latent_{i}": column
            for r, code in enumerate(codes)
            for i, column in enumerate(code.T)
        }
        names = self.replicas[0].preprocessors[target].features
        return Imputed(
            pd.DataFrame(np.mean(values, axis=0), index=table.index, columns=names),
            pd.DataFrame(latent, index=table.index),
            notes,
        )

    @staticmethod
    def _match(table: pd.DataFrame, known: list[str], source: str, *, allow_missing: bool) -> list[str]:
        notes = []
        missing = [name for name in known if name not in table.columns]
        if len(missing) == len(known):
            raise DataError(
                f"the table has none of the {len(known)} features of platform {source} that the model knows: it "
                f"expects {listed(known, 3)}, the table has {listed(table.columns, 3)}. "
                "Is it the other platform, or transposed?"
            )
        if missing and not allow_missing:
            raise DataError(
                f"the table lacks {len(missing)} of the {len(known)} features of platform {source} that the model "
                f"was trained on: {listed(missing)}. Add them, or use --allow_missing to fill them with training "
                "statistics."
            )
        if missing:
            notes.append(f"{len(missing)} missing features filled with training statistics: {listed(missing)}")
        extra = list(table.columns[~table.columns.isin(known)])
        if extra:
            notes.append(f"{len(extra)} columns that the model does not know were ignored: {listed(extra)}")
        return notes


def _apply(
    replica: Trained, measured: npt.NDArray[np.float64], source: str, target: str, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the imputed rows (n, D_target) in original units and the codes (n, L)."""
    scaled = torch.from_numpy(replica.preprocessors[source].transform(measured))
    predicted, codes = [], []
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for rows in scaled.split(_ROWS):
            predicted.append(replica.model.impute(rows, source, target))
            codes.append(replica.model.code(rows, source))
    values = replica.preprocessors[target].inverse(torch.cat(predicted).numpy())
    return values, torch.cat(codes).numpy().astype(np.float64)


def load_imputer(path: Path) -> Imputer:
    """Load a bundle or a run folder.  Nothing in it is executed.

    Raises
    ------
    FolderError
        ``path`` is neither.
    BundleError
        The bundle is incomplete, damaged, or of another version.
    """
    if not path.is_dir():
        raise FolderError(f"there is no folder {path}; a bundle or a run folder is needed.")
    if is_bundle(path):
        verify(path)
        config = load_config(path / RunFiles.CONFIG)
        weights = read_weights(path, config.n_replicas())
    elif (path / "trials.csv").is_file():
        raise FolderError(
            f"{path} is a sweep folder. Use its bundle {path / 'best'}, or one of the folders in trials/."
        )
    else:
        run = RunFolder.open(path)
        config, weights = run.config(), run.weights()
    folds = [
        (read_preprocessors(fold), read_linear_maps(fold, config))
        for fold in RunFiles.folds(path, config.data.folds or 1)
    ]
    replicas = []
    for r, of_replica in enumerate(weights):
        preprocessors, linear_maps = folds[fold_of(r, len(folds))]
        n_features = {platform: len(p.features) for platform, p in preprocessors.items()}
        model = build_model(config, n_features, linear_maps)
        try:
            model.load_state_dict(of_replica)
        except RuntimeError as error:
            raise BundleError(
                f"the weights in {path} do not fit its {RunFiles.CONFIG}: {str(error).splitlines()[0]}"
            ) from None
        replicas.append(Trained(model, preprocessors))
    return Imputer(config, replicas)


def _gaps(measured: np.ndarray, ids: list[str]) -> list[str]:
    gaps = np.isnan(measured)
    empty = [ids[i] for i in np.flatnonzero(gaps.all(axis=1))]
    notes = []
    if empty:
        notes.append(
            f"warning: {len(empty)} samples have no measured value; what is predicted for them is the "
            f"training average: {listed(empty)}"
        )
    if gaps.any():
        notes.append(f"{gaps.sum()} of {gaps.size} input cells were missing and filled with training statistics")
    return notes
