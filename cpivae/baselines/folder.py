"""The folder of measured baselines: what is in it, how it is written, how it is read back and compared with a model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cpivae.baselines.evaluate import BY, OF_FEATURES, Scores
from cpivae.config.yaml import dump_yaml
from cpivae.errors import FolderError
from cpivae.files import folder_written_whole, in_place_of, write_text

SUMMARY: Final = "summary.csv"
FEATURES: Final = "features.csv"
DESCRIPTION: Final = "baseline.yaml"
SPLITS: Final = "splits.csv"

_SHARED: Final = ["source", "target", "split", "feature"]


def write_baselines(path: Path, scores: Scores, splits: pd.DataFrame, description: Mapping[str, Any]) -> None:
    """Write a new folder: the two tables of scores, the split of every sample (a column per fold), what was measured.

    Raises
    ------
    FolderError
        ``path`` is a file, or a folder with contents.
    """
    with folder_written_whole(path) as folder:
        for name, table in ((SUMMARY, scores.summary), (FEATURES, scores.features)):
            write_text(folder / name, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
        write_text(folder / SPLITS, splits.to_csv(lineterminator="\n"))
        write_text(folder / DESCRIPTION, dump_yaml(dict(description)))


def copy_baselines(source: Path, target: Path) -> None:
    """Put a copy of what :func:`read_baselines` reads, and what it was measured on, in the place of ``target``."""
    with in_place_of(target) as folder:
        folder.mkdir()
        for name in (SUMMARY, FEATURES, DESCRIPTION):
            shutil.copyfile(source / name, folder / name)


def read_baselines(path: Path) -> Scores:
    """Read back what :func:`write_baselines` wrote.

    Raises
    ------
    FolderError
        The folder is not one of ``cpivae baseline``, or is damaged.
    """
    try:
        summary, features = (_read(path / name) for name in (SUMMARY, FEATURES))
        return Scores(summary, features[OF_FEATURES])
    except OSError as error:
        raise FolderError(
            f"{path} is not a folder of cpivae baseline: {Path(error.filename).name} cannot be read ({error.strerror})."
        ) from None
    except (KeyError, ValueError) as error:
        raise FolderError(f"{path} is damaged ({error}). Run cpivae baseline again.") from None


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)  # a feature may be called NA
    for column in table.columns.difference([*BY, "feature", "setting"]):
        table[column] = pd.to_numeric(table[column])
    return table


def paired_differences(model: pd.DataFrame, baselines: pd.DataFrame, value: str = "corr") -> pd.DataFrame:
    """Compare a model with baselines protein by protein, each the mean over its folds.

    Parameters
    ----------
    model : a table like :attr:`Scores.features` without the column ``method`` (see
        :func:`cpivae.baselines.evaluate.scored`).
    baselines : :attr:`Scores.features`; only what the model has as well is compared, split by split.
    value : corr, r2 or rmse.

    Returns
    -------
    A row for each of method, source, target, split and feature: ``model``, ``baseline``, and ``difference``, which is
    positive where the model is ahead (rmse: where it is lower).
    """
    own = model.groupby(_SHARED)[value].mean().rename("model").reset_index()
    theirs = baselines.groupby(["method", *_SHARED], sort=False)[value].mean().rename("baseline").reset_index()
    both = theirs.merge(own, on=_SHARED).dropna(subset=["model", "baseline"])
    ahead = -1 if value == "rmse" else 1
    return both.assign(difference=ahead * (both["model"] - both["baseline"]))


def verdicts(differences: pd.DataFrame) -> pd.DataFrame:
    """Sum up :func:`paired_differences`: a row for each method, direction and split, and whether the baseline wins.

    Columns beside those: ``features``, the mean and the median difference, ``share_ahead`` (proteins for which the
    model is ahead), and ``baseline_wins`` (the mean difference is negative).  Proteins of one table depend on each
    other, so no interval is given: how sure a difference is, other folds and seeds have to tell.
    """
    grouped = differences.groupby(BY, sort=False)["difference"]
    table = grouped.agg(features="size", mean="mean", median="median", share_ahead=lambda d: float((d > 0).mean()))
    return table.assign(baseline_wins=table["mean"] < 0).reset_index()
