"""A bundle (or a run folder, or the best trials of a sweep) and a new table: the other platform's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.bundle import is_bundle, read_weights, verify
from cpivae.config.load import load_config
from cpivae.config.schema import Config
from cpivae.data.measured import Origin
from cpivae.data.scale import Scales, doubts, require_same_scale, samples_far_off
from cpivae.data.tables import alike_names
from cpivae.ensemble import best_trials
from cpivae.errors import BundleError, DataError, FolderError, listed
from cpivae.names import RunFiles
from cpivae.training.again import Again
from cpivae.training.calibration import calibrations_of
from cpivae.training.folder import RunFolder
from cpivae.training.trained import load_trained
from cpivae.uncertainty.calibrate import Calibration
from cpivae.uncertainty.files import Calibrations, read_calibrations
from cpivae.uncertainty.predict import DRAWS, Floats, Trained, predict_in_pieces


@dataclass(frozen=True)
class Imputed:
    """What a model makes of a new table."""

    values: pd.DataFrame
    """(n, D_target) in the units of the training table, samples in the order given."""
    latent: pd.DataFrame
    """(n, L) the latent code of every sample."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: columns ignored, features and cells filled."""
    sd: pd.DataFrame | None = None
    """(n, D_target) standard deviation of every value, in its units, where it was asked for."""


class Imputer:
    """One trained model or several, ready for new samples."""

    def __init__(
        self,
        config: Config,
        replicas: Sequence[Trained],
        calibrations: Callable[[], Calibrations] | None = None,
        scales: Scales | None = None,
    ) -> None:
        """``calibrations``: how uncertain the predictions are; asked only when somebody wants to know.

        ``scales``: what the training tables were, by platform, where that is known.
        """
        self.config, self.replicas = config, list(replicas)
        self._calibrations, self._scales = calibrations, scales or {}

    def impute(
        self,
        table: pd.DataFrame,
        source: str,
        target: str,
        *,
        allow_missing: bool = False,
        seed: int = 0,
        uncertainty: bool = False,
        min_corr: float | None = None,
        origin: Origin | None = None,
    ) -> Imputed:
        """Predict platform ``target`` from a table (n samples, features of ``source``), NaN where missing.

        The table must be in the units of the training table: ``origin``, what its file says of it, and its values are
        compared with what is known of that one.

        Several models impute the mean of what each predicts; their latent codes stand side by side.
        ``seed`` matters only to a model that draws (``model.sampling_noise`` above 0): the same seed, the same values.
        With ``uncertainty`` every value comes with its standard deviation.  A gap of the input is filled as ever, and
        the standard deviation is that of a sample which had the filled value: it is no wider for the gap.  ``min_corr``
        leaves out features with a smaller correlation on validation rows, and those without one.

        Raises
        ------
        DataError
            The table lacks features the model was trained on, and ``allow_missing`` is off; or it has none of them; or
            ``min_corr`` leaves no feature; or it is in other units than the training table.
        BundleError
            Uncertainty or ``min_corr`` is asked of a bundle that does not know.
        FolderError
            It is asked of a run whose training tables are not where they were.
        """
        known = self.replicas[0].preprocessors[source].features  # the same for all
        notes = self._match(table, known, source, allow_missing=allow_missing)
        calibration = self.calibration(source, target) if uncertainty or min_corr is not None else None
        kept = np.arange(len(self.replicas[0].preprocessors[target].features))
        if min_corr is not None and calibration is not None:
            kept, told = _expected(calibration, min_corr)
            notes += told
        matched = table.reindex(columns=known)
        measured = matched.to_numpy(dtype=np.float64)
        notes += self._of_scale(matched, measured, source, origin)
        notes += _gaps(measured, list(table.index))
        values = np.empty((len(measured), len(kept)))
        sd = np.empty_like(values) if uncertainty else None
        codes = []
        draws = DRAWS if uncertainty else 0
        for rows, piece in predict_in_pieces(self.replicas, measured, source, target, draws=draws, seed=seed):
            values[rows] = piece.values[:, kept]
            codes.append(piece.codes)
            if sd is not None and calibration is not None:
                sd[rows] = calibration.sd(piece)[:, kept]
        names = [self.replicas[0].preprocessors[target].features[i] for i in kept]

        def framed(cells: np.ndarray) -> pd.DataFrame:
            return pd.DataFrame(cells, index=table.index, columns=names)

        latent = pd.DataFrame(_side_by_side(codes), index=table.index)
        return Imputed(framed(values), latent, notes, None if sd is None else framed(sd))

    def calibration(self, source: str, target: str) -> Calibration:
        """Return how uncertain a prediction is.

        Raises
        ------
        BundleError, FolderError
            See :meth:`impute`.
        """
        if self._calibrations is not None:
            known = self._calibrations()
            if known:
                return known[source, target]
        raise BundleError(
            "this bundle does not say how uncertain its predictions are: it was exported by an older version of the "
            "program, or without its training tables. Export it again with cpivae export, where these tables are; "
            "without --uncertainty and --min_corr it imputes as it is."
        )

    def _of_scale(self, table: pd.DataFrame, measured: Floats, source: str, origin: Origin | None) -> list[str]:
        """Refuse a table on another scale than the training table; return warnings of one that seems to be."""
        trained = self._scales.get(source)
        require_same_scale(trained, origin, table, source)
        far = samples_far_off(self.replicas[0].preprocessors[source], measured, list(table.index))
        logged = self.config.data.log_enabled(source)
        return doubts(trained, origin, logged=logged, far=far, n_samples=len(table), platform=source)

    @staticmethod
    def _match(table: pd.DataFrame, known: list[str], source: str, *, allow_missing: bool) -> list[str]:
        notes = []
        missing = [name for name in known if name not in table.columns]
        alike = alike_names(missing, table.columns[~table.columns.isin(known)])
        hint = f" {len(alike)} of them differ only by case or blanks: {_pairs(alike)}." if alike else ""
        if len(missing) == len(known):
            raise DataError(
                f"the table has none of the {len(known)} features of platform {source} that the model knows: it "
                f"expects {listed(known, 3)}, the table has {listed(table.columns, 3)}. "
                f"Is it the other platform, or transposed?{hint}"
            )
        if missing and not allow_missing:
            raise DataError(
                f"the table lacks {len(missing)} of the {len(known)} features of platform {source} that the model "
                f"was trained on: {listed(missing)}. Add them, or use --allow_missing to fill them with training "
                f"statistics.{hint}"
            )
        if missing:
            notes.append(f"{len(missing)} missing features filled with training statistics: {listed(missing)}")
        extra = list(table.columns[~table.columns.isin(known)])
        if extra:
            notes.append(f"{len(extra)} columns that the model does not know were ignored: {listed(extra)}")
        return notes


def load_imputer(path: Path, ensemble: int | None = None) -> Imputer:
    """Load a bundle, a run folder, or the ``ensemble`` best trials of a sweep folder.  Nothing in it is executed.

    Raises
    ------
    FolderError
        ``path`` is none of them, or the sweep has fewer trials with weights.
    BundleError
        The bundle is incomplete, damaged, or of another version.
    """
    if not path.is_dir():
        raise FolderError(f"there is no folder {path}; a bundle or a run folder is needed.")
    is_sweep = (path / "trials.csv").is_file()
    if ensemble is not None:
        if not is_sweep:
            raise FolderError(f"{path} is not a sweep folder; --ensemble takes the {ensemble} best trials of one.")
        return Imputer(*best_trials(path, ensemble))
    if is_bundle(path):
        scales = verify(path)
        config = load_config(path / RunFiles.CONFIG)
        trained = load_trained(path, config, read_weights(path, config.n_replicas()))
        features = {p: fitted.features for p, fitted in trained[0].preprocessors.items()}
        return Imputer(config, trained, lambda: read_calibrations(path, features), scales)
    if is_sweep:
        raise FolderError(
            f"{path} is a sweep folder. Use its bundle {path / 'best'}, or one of the folders in trials/, or its best "
            "trials together with --ensemble."
        )
    again = Again(RunFolder.open(path))
    return Imputer(again.run.config(), again.trained, lambda: calibrations_of(again), again.run.scales())


def _expected(calibration: Calibration, min_corr: float) -> tuple[np.ndarray, list[str]]:
    """Return the columns of features that are predicted well enough, and what became of the others."""
    good = calibration.corr >= min_corr  # a NaN is not
    unknown, best = int(np.isnan(calibration.corr).sum()), np.nanmax(calibration.corr, initial=-1.0)
    if not good.any():
        raise DataError(
            f"--min_corr {min_corr:g} would leave out all {len(good)} features; the highest correlation on validation "
            f"samples is {best:.3f}. Choose a lower threshold."
        )
    told = f"{(~good).sum()} of {len(good)} features left out: correlation on validation samples below {min_corr:g}"
    return np.flatnonzero(good), [told + (f", or not known ({unknown})" if unknown else "")] if not good.all() else []


def _side_by_side(pieces: list[list[np.ndarray]]) -> dict[str, np.ndarray]:
    """Name the latent dimensions of every model, in pieces of rows."""
    codes = [np.concatenate(of_model) for of_model in zip(*pieces, strict=True)]
    return {
        f"latent_{i}" if len(codes) == 1 else f"replica_{r}_latent_{i}": column
        for r, code in enumerate(codes)
        for i, column in enumerate(code.T)
    }


def _pairs(alike: list[tuple[str, str]]) -> str:
    return listed((f"'{name}' is '{other}' in the table" for name, other in alike), 3)


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
