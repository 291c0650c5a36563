"""From residuals on validation rows to a standard deviation for every cell of a new table.

For a cell of feature f whose prediction has slope g (see :class:`~cpivae.uncertainty.predict.Prediction`) and spread u,

    sd² = g² s_f² ((1 - λ) + λ u / ū_f) + b

with s_f the feature's residual scale, ū_f its mean spread, b the disagreement of folds.  λ, one number for all features
of a direction, says how far the spread tells which cells are uncertain: 0 where it does not help on validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cpivae.uncertainty.coverage import (
    HALF_WIDTH,
    INTERVAL,
    Coverage,
    Floats,
    Integers,
    coverages,
    deviations,
    share_inside,
)
from cpivae.uncertainty.predict import Prediction
from cpivae.uncertainty.shrinkage import Common, common_variance

_SHARES = np.arange(11) / 10
"""Values of λ that are tried."""
PARTS = 10
"""Parts that validation rows are dealt to for their own coverage, all rows of a person to the same one."""


@dataclass(frozen=True)
class Calibration:
    """How uncertain the prediction of one platform from another is."""

    n: Integers
    """(D,) validation rows in which each feature was observed."""
    corr: Floats
    """(D,) its correlation there; NaN where there is none (fewer than three values, or no variance)."""
    residual_sd: Floats
    """(D,) s_f, in log2 units where the platform's logarithm was taken, otherwise in units of the table."""
    spread: Floats
    """(D,) ū_f, a variance in the same units; 0 where the model draws nothing."""
    follows_spread: float
    """λ."""
    rows: int
    """Validation rows."""
    validation_coverage: float
    """Share of observed validation cells inside their interval, each part of the rows left out in turn."""
    test_coverage: float | None = None
    """The same on test rows; None where these have not been read."""
    levels: tuple[Coverage, ...] = ()
    """Both at more levels than one, as they were measured; files do not keep it."""

    def sd(self, predicted: Prediction) -> Floats:
        """Return the standard deviation (n, D) of every predicted cell, in units of the table."""
        factor = self.residual_sd**2 * relative_spread(predicted.spread, self.spread, self.follows_spread)
        sd: Floats = np.sqrt(predicted.slope**2 * factor + predicted.between_folds)
        return sd

    def tested(self, predicted: Prediction, measured: Floats, persons: Integers) -> Calibration:
        """Return this with its coverage on test rows (n, D), NaN where not measured; ``persons`` as for calibrate."""
        sd = self.sd(predicted)
        deviation = deviations(measured - predicted.values, sd)
        levels = self.levels + coverages("test", deviation, sd, measured, persons)
        return replace(self, test_coverage=share_inside(deviation), levels=levels)


def relative_spread(spread: Floats, mean_spread: Floats, share: float) -> Floats:
    """Return (1 - λ) + λ u / ū (n, D); 1 for features without any spread."""
    ratio = np.divide(spread, mean_spread, out=np.ones_like(spread), where=mean_spread > 0)
    relative: Floats = (1 - share) + share * ratio
    return relative


def calibrate(predicted: Prediction, measured: Floats, unit: Floats, persons: Integers) -> Calibration:
    """Learn residual scales from validation rows.

    Parameters
    ----------
    predicted : of n rows that none of the models has learnt from.
    measured : (n, D) what was measured, in units of the table, NaN where missing.
    unit : (D,) a typical deviation of each feature, in which scales of features compare.
    persons : (n,) whose row it is, numbered from 0.

    The width is a conformal quantile of |residual| / scale, the scale of a row's cells estimated without the rows of
    that person, so that it is as far off as it would be for a new one; scores of all features are pooled ("pooling
    CDFs" in Dunn, Wasserman & Ramdas 2023, Distribution-Free Prediction Sets for Two-Layer Hierarchical Models).
    """
    error = (measured - predicted.values) / (predicted.slope * unit)  # (n, D), comparable between features
    observed = np.isfinite(error)
    error = np.where(observed, error, 0.0)
    n = observed.sum(axis=0)
    mean_spread = predicted.spread.mean(axis=0)
    share = _share(error, observed, predicted.spread, mean_spread, persons)
    relative = relative_spread(predicted.spread, mean_spread, share)
    squares = error**2 / relative
    common = common_variance(squares.sum(axis=0), n)
    scores = _left_out(squares, observed, common, persons)
    residual_sd = np.sqrt(common.mixed(squares.sum(axis=0), n)) * width(scores, observed)
    deviation = _own_deviations(scores, observed, persons)
    found = Calibration(
        n=n,
        corr=correlations(predicted.values, np.where(observed, measured, np.nan)),
        residual_sd=residual_sd * unit,
        spread=mean_spread,
        follows_spread=share,
        rows=len(error),
        validation_coverage=share_inside(deviation),
    )
    return replace(found, levels=coverages("val", deviation, found.sd(predicted), measured, persons))


def width(scores: Floats, observed: npt.NDArray[np.bool_]) -> float:
    """Return the factor that takes scales to standard deviations of which HALF_WIDTH cover the wanted share.

    The plain quantile, without the (n + 1) / n of split conformal prediction: that holds for one score per row, and on
    17 rows of many features covers 95 % instead of 90 %.
    """
    known = scores[observed]
    if known.size == 0:
        return 1.0
    return float(np.quantile(known, INTERVAL)) / HALF_WIDTH


def correlations(values: Floats, measured: Floats) -> Floats:
    """Return Pearson's r (D,) over measured cells; 0 for a constant prediction, NaN where nothing can be said."""
    observed = ~np.isnan(measured)
    n = observed.sum(axis=0)
    x, y = (np.where(observed, v, 0.0) for v in (values, measured))
    x, y = (np.where(observed, v - v.sum(axis=0) / np.maximum(n, 1), 0.0) for v in (x, y))
    xx, yy, xy = (x * x).sum(axis=0), (y * y).sum(axis=0), (x * y).sum(axis=0)
    corr = np.divide(xy, np.sqrt(xx * yy), out=np.zeros_like(xy), where=(xx > 0) & (yy > 0))
    return np.where((n >= 3) & (yy > 0), corr.clip(-1, 1), np.nan)


def _share(
    error: Floats, observed: npt.NDArray[np.bool_], spread: Floats, mean_spread: Floats, persons: Integers
) -> float:
    """Choose λ by the Gaussian likelihood of the residuals, each feature with its own best scale.

    A share is worth its mean gain over λ = 0 less a standard error over persons, because cells of a person err
    together: with few nothing is gained by chance.
    """
    n = np.maximum(observed.sum(axis=0), 1)

    def by_person(share: float) -> Floats:
        relative = np.maximum(relative_spread(spread, mean_spread, share), 1e-12)
        squares = error**2 / relative
        scale = np.maximum(squares.sum(axis=0) / n, 1e-300)
        losses = ((np.log(relative * scale) + squares / scale) * observed).sum(axis=1)
        return np.bincount(persons, losses).astype(np.float64)

    if not (mean_spread > 0).any() or not persons.any():
        return 0.0
    plain = by_person(0.0)
    worth = []
    for share in _SHARES:
        gain = plain - by_person(share)
        worth.append(gain.mean() - gain.std(ddof=1) / np.sqrt(len(gain)))
    return float(_SHARES[int(np.argmax(worth))])


def _left_out(squares: Floats, observed: npt.NDArray[np.bool_], common: Common, persons: Integers) -> Floats:
    """Return |residual| / scale (n, D), the scale of every cell estimated from the rows of other persons."""

    def of_others(cells: Floats) -> Floats:
        own = np.zeros((persons.max() + 1, cells.shape[1]))
        np.add.at(own, persons, cells)
        return (cells.sum(axis=0) - own)[persons].clip(min=0)

    scale = common.mixed(of_others(squares), of_others(observed.astype(np.float64)))
    scores: Floats = np.sqrt(np.divide(squares, scale, out=np.zeros_like(squares), where=scale > 0))
    return scores


def _own_deviations(scores: Floats, observed: npt.NDArray[np.bool_], persons: Integers) -> Floats:
    """Return |residual| / sd (n, D), the sd of a row from the width that the other parts of the rows decide."""
    part = persons % PARTS
    widths = np.ones((len(scores), 1))
    for p in np.unique(part):
        widths[part == p] = width(scores[part != p], observed[part != p])
    return deviations(np.where(observed, scores, np.nan), widths * np.ones_like(scores))
