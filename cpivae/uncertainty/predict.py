"""What trained models predict of new rows, and how far their draws and their opinions lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpivae.data.preprocess import Preprocessor
from cpivae.models.base import CrossPlatformModel

Floats = npt.NDArray[np.float64]

DRAWS = 32
"""Draws from each model's posterior.  Their seed is fixed where scales are learnt and where they are used, so that what
chance does to a feature's spread is the same in both."""

ROWS = 256
"""Rows predicted at a time: enough to be fast, few enough for the memory that many models of many features need."""


class Trained(NamedTuple):
    """A trained model and the preprocessing it was trained with."""

    model: CrossPlatformModel
    preprocessors: dict[str, Preprocessor]
    fold: int = 0
    """Whose validation rows it has not learnt from."""


class Prediction(NamedTuple):
    """What models predict of n rows: (n, D) each, but for the codes."""

    values: Floats
    """The mean of what each model predicts, in units of the table."""
    spread: Floats
    """Variance of the posterior draws, plus that of the models of one fold around their mean; in log2 units where the
    logarithm was taken, otherwise in units of the table.  Zero for a single model that draws nothing."""
    slope: Floats
    """How far a value moves when its logarithm moves by one; 1 where none is taken."""
    between_folds: Floats
    """Variance of the means of folds around their mean, in units of the table; zero for a single fold.  No validation
    row is new to models of two folds, so this cannot be calibrated; it is added as it is, as in CV+ (Barber et al.
    2021), where every fold's model puts its residuals around its own prediction."""
    codes: list[Floats]
    """Every model's latent codes (n, L); none where predictions have been joined."""


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Put predictions of different rows below each other; the codes are left out."""
    tables = zip(*(part[:-1] for part in parts), strict=True)
    values, spread, slope, between_folds = (np.concatenate([*of_parts]) for of_parts in tables)
    return Prediction(values, spread, slope, between_folds, [])


class _Opinion(NamedTuple):
    """What one model predicts."""

    values: Floats
    spread: Floats
    slope: Floats
    code: Floats


def predict(trained: Sequence[Trained], measured: Floats, source: str, target: str) -> Prediction:
    """Predict rows (n, D_source), NaN where missing, with their spread; all at once, for some thousand rows."""
    return joined([piece for _, piece in predict_in_pieces(trained, measured, source, target, draws=DRAWS)])


def predict_in_pieces(
    trained: Sequence[Trained], measured: Floats, source: str, target: str, *, draws: int, seed: int = 0
) -> Iterator[tuple[slice, Prediction]]:
    """Predict rows (n, D_source), NaN where missing, some at a time; yield which rows, and what is predicted of them.

    ``draws`` 0 leaves out the posterior's.  ``seed`` is that of ``model.sampling_noise``, which the values themselves
    hold.
    """
    for start in range(0, len(measured), ROWS):
        rows = slice(start, start + ROWS)
        with torch.no_grad(), torch.random.fork_rng():
            opinions = [_opinion(one, measured[rows], source, target, draws, seed + start) for one in trained]
        yield rows, _combined(opinions, [one.fold for one in trained])


def _opinion(one: Trained, measured: Floats, source: str, target: str, draws: int, seed: int) -> _Opinion:
    x = torch.from_numpy(one.preprocessors[source].transform(measured))
    torch.manual_seed(seed)
    scaled = one.model.impute(x, source, target)
    code = one.model.code(x, source)
    affine = one.preprocessors[target].affine()
    spread = np.zeros(tuple(scaled.shape))
    if draws:
        spread = _variance(one.model.draws(x, source, target, draws), scaled).numpy() * affine.scale**2
    return _Opinion(
        values=one.preprocessors[target].inverse(scaled.numpy()),
        spread=spread,
        slope=affine.slope(scaled.numpy()),
        code=code.numpy().astype(np.float64),
    )


def _variance(draws: Iterator[Tensor], like: Tensor) -> Tensor:
    """Return the variance of draws (B, D) by Welford's running sums: no more than one draw is held at a time."""
    mean, squares, n = torch.zeros_like(like, dtype=torch.double), torch.zeros_like(like, dtype=torch.double), 0
    for n, draw in enumerate(draws, start=1):
        off = draw.double() - mean
        mean += off / n
        squares += off * (draw.double() - mean)
    return squares / max(1, n - 1)


def _combined(opinions: list[_Opinion], folds: list[int]) -> Prediction:
    groups = [[o for o, fold in zip(opinions, folds, strict=True) if fold == f] for f in dict.fromkeys(folds)]
    slope = np.mean([o.slope for o in opinions], axis=0)
    means = [np.mean([o.values for o in group], axis=0) for group in groups]
    within = [np.mean([o.spread for o in group], axis=0) for group in groups]
    apart = [
        np.var([o.values for o in group], axis=0, ddof=1) / slope**2 if len(group) > 1 else 0.0 for group in groups
    ]
    return Prediction(
        values=np.mean([o.values for o in opinions], axis=0),
        spread=np.mean([w + a for w, a in zip(within, apart, strict=True)], axis=0),
        slope=slope,
        between_folds=np.var(means, axis=0),
        codes=[o.code for o in opinions],
    )
