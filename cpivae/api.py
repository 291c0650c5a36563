"""The program for notebooks: what the commands do, with tables in memory or in files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cpivae.config.load import load_config, with_values
from cpivae.config.schema import Config, DataSettings
from cpivae.data.prepare import Folds, prepare_folds
from cpivae.data.readers import read_measured
from cpivae.data.tables import Pair, pair_from_frames, read_pair, require_frame
from cpivae.errors import DataError
from cpivae.impute import Imputed, Imputer, load_imputer
from cpivae.names import PLATFORMS
from cpivae.training.run import RunResult, fit
from cpivae.tuning.sweep import SweepResult

Table = pd.DataFrame | str | Path
"""n samples x D features with the sample ids in the index, NaN where missing; or a file that has them."""

__all__ = ["Bundle", "load_bundle", "read_table", "train", "tune"]


def read_table(
    path: str | Path, *, transpose: bool = False, drop_qc_warnings: bool = False, strip_ids: bool = False
) -> pd.DataFrame:
    """Read a table of one platform; what kind of file it is, its content tells (docs/data_formats.md).

    Parameters
    ----------
    path
        Olink long or wide, SomaScan ADAT, AnnData, or a plain table.
    transpose
        Features are rows in the file.
    drop_qc_warnings
        Values under a QC warning are missing.
    strip_ids
        Remove blanks around sample ids and feature names.

    Returns
    -------
    pandas.DataFrame
        n samples x D features in the units of the file (log2 RFU for ADAT), NaN where missing.

    Raises
    ------
    DataError
        With what is wrong with the file in a sentence.
    """
    settings = DataSettings(transpose=transpose, drop_qc_warnings=drop_qc_warnings, strip_ids=strip_ids)
    return read_measured(Path(path), settings).values


def train(
    platform_a: Table,
    platform_b: Table,
    output_dir: str | Path,
    *,
    config: str = "default",
    settings: Mapping[str, Any] | None = None,
    name: str = "joint_vae_experiment",
) -> RunResult:
    """Train one configuration, score its best epoch on the test samples, and leave the run folder ``output_dir``.

    Parameters
    ----------
    platform_a, platform_b
        The two tables; samples are joined on their ids.  Of a DataFrame no limits of detection are known, so that
        ``data.min_detected`` counts its missing values alone.
    output_dir
        New folder.
    config, settings
        A YAML file or the name of a shipped one, and what is different: ``{"training.max_epochs": 50}``.
    name
        The start of the names of checkpoints.

    Returns
    -------
    RunResult
        Its ``folder`` has the metrics of every epoch (``folder.history()``) and the weights.

    Raises
    ------
    CpivaeError
        With what is wrong in a sentence: tables, settings, an occupied folder, a loss that is no longer finite.
    """
    settled = _settled(config, settings)
    return fit(settled, _folds(platform_a, platform_b, settled), Path(output_dir), name=name)


def tune(
    platform_a: Table,
    platform_b: Table,
    output_dir: str | Path,
    *,
    search_space: str = "joint_vae",
    n_trials: int | None = None,
    config: str = "default",
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    report: bool = True,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> SweepResult:
    """Search for the best settings on this machine; leave the sweep folder ``output_dir``, the best model in ``best/``.

    Unlike ``cpivae tune`` it tries no configuration beforehand; ``cpivae check`` does.

    Parameters
    ----------
    platform_a, platform_b, config, settings
        As for :func:`train`; ``tuning.*`` are the settings of the search.
    output_dir
        New folder, or with ``resume`` that of a sweep to go on with.
    search_space
        What to vary: a YAML file, or a shipped one's name.
    n_trials
        Settings to try; by default ``tuning.n_trials``.
    report
        Write ``report.html`` at the end.
    quiet
        Leave out the line per trial.
    say
        Hears what else the command would print.

    Returns
    -------
    SweepResult
        ``best`` is the best trial, ``records`` are all; ``load_bundle(result.folder.best_bundle)`` imputes with it.

    Raises
    ------
    CpivaeError
        As for :func:`train`; or an interrupted sweep, which ``resume=True`` goes on with.
    """
    from cpivae.config.space import load_space
    from cpivae.export import replace_bundle
    from cpivae.report.write import try_report
    from cpivae.tuning.folder import SweepFolder
    from cpivae.tuning.sweep import run_sweep, sweep_config

    of_search = {} if n_trials is None else {"tuning.n_trials": n_trials}
    base = sweep_config(_settled(config, {**(settings or {}), **of_search}))
    result = run_sweep(
        base,
        load_space(search_space, base),
        lambda: _folds(platform_a, platform_b, base),
        SweepFolder(Path(output_dir)),
        study_name=Path(output_dir).name,
        resume=resume,
        say=say,
        quiet=quiet,
    )
    folder = result.folder
    again = folder.again(result.best)
    for note in replace_bundle(again, folder.best_bundle, folder.confirmation()):
        say(note)
    if report:
        say(try_report(folder, again))
    return result


class Bundle:
    """A trained model, ready for new samples."""

    def __init__(self, imputer: Imputer) -> None:
        self.imputer = imputer

    @property
    def features(self) -> dict[str, list[str]]:
        """The features of either platform that the model knows."""
        return {p: list(preprocessor.features) for p, preprocessor in self.imputer.replicas[0].preprocessors.items()}

    def impute(
        self,
        table: pd.DataFrame,
        source: str | None = None,
        target: str | None = None,
        *,
        allow_missing: bool = False,
        min_corr: float | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Predict the other platform for new samples.

        Parameters
        ----------
        table
            n samples x features of ``source``, in the units that the model was trained on, NaN where missing.
        source, target
            ``a`` or ``b``.  By default the platform whose features the table has, and the other one.
        allow_missing
            Fill features that the table lacks with training statistics, instead of refusing.
        min_corr
            Leave out features whose correlation on validation rows was smaller, or is not known.
        seed
            Of what is drawn, for a model with ``model.sampling_noise``.

        Returns
        -------
        pandas.DataFrame
            n samples x features of ``target``, in its units.  What was filled or ignored is warned of.

        Raises
        ------
        DataError
            The table lacks features that the model needs, is in other units, or its features tell no platform.
        """
        return self._impute(table, source, target, allow_missing=allow_missing, min_corr=min_corr, seed=seed).values

    def impute_with_sd(
        self,
        table: pd.DataFrame,
        source: str | None = None,
        target: str | None = None,
        *,
        allow_missing: bool = False,
        min_corr: float | None = None,
        seed: int = 0,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Predict as :meth:`impute` does; also return the standard deviation of every value, in the same units."""
        imputed = self._impute(
            table, source, target, allow_missing=allow_missing, min_corr=min_corr, seed=seed, uncertainty=True
        )
        assert imputed.sd is not None
        return imputed.values, imputed.sd

    def _impute(self, table: pd.DataFrame, source: str | None, target: str | None, **how: Any) -> Imputed:
        if not isinstance(table, pd.DataFrame):
            raise DataError(f"a table is needed, got {type(table).__name__}. Read a file with cpivae.read_table first.")
        table = require_frame(table, "the table")
        source = source or self._platform_of(table)
        target = target or next(platform for platform in PLATFORMS if platform != source)
        for platform in (source, target):
            if platform not in PLATFORMS:
                raise DataError(f"there is no platform '{platform}': it is a or b.")
        imputed = self.imputer.impute(table, source, target, **how)
        for note in imputed.notes:
            warnings.warn(note, stacklevel=3)
        return imputed

    def _platform_of(self, table: pd.DataFrame) -> str:
        shared = {platform: len(table.columns.intersection(known)) for platform, known in self.features.items()}
        most = max(shared.values())
        (platform, *others) = [p for p, n in shared.items() if n == most]
        if others or not most:
            raise DataError(
                f"the table has {shared['a']} features of platform a and {shared['b']} of platform b, so that its "
                "platform cannot be told. Give source='a' or source='b'."
            )
        return platform


def load_bundle(path: str | Path) -> Bundle:
    """Load a bundle or a run folder; nothing in it is executed.

    Raises
    ------
    FolderError, BundleError
        It is neither, incomplete, damaged or of another version.
    """
    return Bundle(load_imputer(Path(path)))


def _settled(config: str, settings: Mapping[str, Any] | None) -> Config:
    return with_values(load_config(config), dict(settings or {}), "settings")


def _folds(platform_a: Table, platform_b: Table, config: Config) -> Folds:
    return prepare_folds(_pair({"a": platform_a, "b": platform_b}, config.data), config.data)


def _pair(tables: Mapping[str, Table], settings: DataSettings) -> Pair:
    for platform, table in tables.items():
        if not isinstance(table, pd.DataFrame | str | Path):
            raise DataError(
                f"the table of platform {platform} is a {type(table).__name__}; give a DataFrame or a path."
            )
    if any(isinstance(table, pd.DataFrame) for table in tables.values()):
        of_files = [name for name in ("transpose", "strip_ids", "drop_qc_warnings") if getattr(settings, name)]
        if of_files:
            raise DataError(
                f"data.{of_files[0]} says how files are read, and a DataFrame is none. Give both tables as paths, or "
                f"DataFrames from cpivae.read_table(path, {of_files[0]}=True) and no such setting."
            )
        return pair_from_frames(
            {
                platform: table if isinstance(table, pd.DataFrame) else read_measured(Path(table), settings).values
                for platform, table in tables.items()
            }
        )
    return read_pair({platform: Path(table) for platform, table in tables.items()}, settings)  # type: ignore[arg-type]
