"""A run that is over, looked at again: its models, the data they were trained on, how uncertain they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cpivae.config.load import with_values
from cpivae.data.prepare import Folds, prepare_folds
from cpivae.data.tables import read_pair
from cpivae.errors import CpivaeError, FolderError
from cpivae.files import sha256
from cpivae.names import PLATFORMS, RunFiles
from cpivae.training.folder import RunFolder
from cpivae.training.trained import load_trained
from cpivae.uncertainty.files import Calibrations
from cpivae.uncertainty.measure import measure
from cpivae.uncertainty.predict import Trained


class Again:
    """What is made of a finished run once more, each part when somebody first asks for it, for all who ask."""

    def __init__(self, run: RunFolder, prepare: Callable[[], Folds] | None = None) -> None:
        """``prepare`` returns the data that ``run`` was trained on; by default its tables are read again."""
        self.run = run
        self._prepare = prepare or (lambda: prepare_again(run))

    @cached_property
    def folds(self) -> Folds:
        """The data that the run was trained on; see :func:`prepare_again` for errors."""
        return self._prepare()

    @cached_property
    def trained(self) -> list[Trained]:
        """Its models with their kept weights.

        Raises
        ------
        FolderError, CheckpointError, BundleError
            The run has not ended, or its weights are gone, damaged, or do not fit its settings.
        """
        run = RunFolder.open(self.run.path)
        return load_trained(run.path, run.config(), run.weights())

    @cached_property
    def calibrations(self) -> Calibrations:
        """How uncertain they are, measured now.  Test rows are read only where the run has been scored on them."""
        return measure(self.trained, self.folds, test=bool(self.run.test_metrics()))


def prepare_again(run: RunFolder, now_at: Mapping[str, Any] | None = None, samples_table: Path | None = None) -> Folds:
    """Read the tables that a run was trained on and prepare them as it did.

    ``now_at``: where they have been read since, like ``data`` in the run's own description, and ``samples_table``; by
    default where the run's own files say.

    Raises
    ------
    FolderError
        A table is gone, has changed or never was in a file, or samples or features are not what they were.
    """
    sources = run.sources()
    if not sources:
        raise FolderError(f"{run.path} lacks {RunFiles.ENVIRONMENT}, which says where its tables are.")
    paths = {}
    for platform in PLATFORMS:
        own = sources[f"platform_{platform}"]
        path = (now_at or sources)[f"platform_{platform}"]["path"]
        paths[platform] = _table(platform, path or own["path"], own["sha256"], run.path)
    config = run.config()
    if samples_table is not None:
        config = with_values(config, {"data.samples_table": str(samples_table)})
    try:
        folds = prepare_folds(read_pair(paths, config.data), config.data)
    except CpivaeError as error:
        raise FolderError(f"the tables that {run.path} was trained on cannot be read again: {error}") from None
    _require_same(run, folds)
    return folds


def _table(platform: str, recorded: str | None, digest: str | None, run: Path) -> Path:
    if recorded is None:
        raise FolderError(f"the table of platform {platform} that {run} was trained on was never in a file.")
    path, told = Path(recorded), "nothing more can be measured of its models"
    if not path.is_file():
        raise FolderError(
            f"the table of platform {platform} that {run} was trained on is no longer at {path}, and without it "
            f"{told}. Put it back there."
        )
    if sha256(path) != digest:
        raise FolderError(
            f"{path} has changed since {run} was trained on it, and without what it was {told}. Put back the table "
            "that it was trained on."
        )
    return path


def _require_same(run: RunFolder, folds: Folds) -> None:
    """Refuse what the same tables may still be made of: by another table of samples, or by another version."""
    for fold, data in zip(run.folds(), folds, strict=True):
        splits = pd.read_csv(fold / RunFiles.SPLITS, index_col=0, dtype=str, keep_default_na=False)["split"]
        if splits.to_dict() != data.splits.to_dict():
            raise FolderError(
                f"the samples of {run.path} fall into other splits than they did when it was trained; has its "
                "data.samples_table changed?"
            )
    known = {p: fitted.features for p, fitted in run.preprocessors().items()}
    if known != {p: fitted.features for p, fitted in folds[0].preprocessors.items()}:
        raise FolderError(
            f"the tables of {run.path} have other features than they had when it was trained; was that done by another "
            "version of this program?"
        )
