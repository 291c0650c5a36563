"""Streaming correlation, R² and RMSE over observed cells, per feature and over all cells."""

from __future__ import annotations

import math

import torch
import torchmetrics
from torch import Tensor, nn

from cpivae.data.preprocess import TANGENT_AT, TANGENT_RUN, Affine

MIN_OBSERVED = 3
"""A feature with fewer observed values has no correlation worth the name."""


class OriginalScale(nn.Module):
    """Takes rows from scaled units to those of the input table, in double precision."""

    center: Tensor
    scale: Tensor
    shift: Tensor | None

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        # Not persistent: preprocessing is stored once, in its own file.
        self.register_buffer("center", torch.as_tensor(affine.center), persistent=False)
        self.register_buffer("scale", torch.as_tensor(affine.scale), persistent=False)
        self.register_buffer("shift", None if affine.shift is None else torch.as_tensor(affine.shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.center + self.scale * x.double()
        if self.shift is None:
            return y
        tangent = TANGENT_AT + (y - math.log2(TANGENT_AT)) * TANGENT_RUN  # as ShiftedLog2.inverse_transform
        return torch.where(y < math.log2(TANGENT_AT), tangent, torch.exp2(y)) - self.shift

    @property
    def origin(self) -> Tensor:
        """A typical value (D,) of each feature, in original units."""
        return self(torch.zeros_like(self.center))


class PredictionScores(torchmetrics.Metric):
    """Scores a prediction (B, D) of a platform against its rows, by sums that add up over batches and processes.

    ``corr``, ``r2`` and ``rmse`` are over all observed cells; ``corr_mean``, ``corr_median`` and ``mean_feature_r2``
    are over features, of which ``n_features`` count: those with at least three observed values that vary.  For such
    a feature a prediction without variance has correlation 0, so that a collapsed model is not excused.
    R² is 1 - SSE / SST with SST around the mean of the scored rows.
    """

    full_state_update = False
    origin: Tensor
    n: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    yy: Tensor
    xy: Tensor

    def __init__(self, origin: Tensor) -> None:
        """``origin`` (D,): a typical value of each feature; sums are taken around it, to keep their digits."""
        super().__init__()
        self.register_buffer("origin", origin.double(), persistent=False)
        for name in ("n", "x", "y", "xx", "yy", "xy"):
            self.add_state(name, torch.zeros_like(origin, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, measured: Tensor, observed: Tensor) -> None:
        """Add a batch: values (B, D) in original units and their mask (B, D)."""
        mask = observed.double()
        x = (predicted - self.origin) * mask
        y = (measured - self.origin) * mask
        self.n += mask.sum(0)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += (x * x).sum(0)
        self.yy += (y * y).sum(0)
        self.xy += (x * y).sum(0)

    def of_features(self) -> dict[str, Tensor]:
        """Return n observed values, corr, r2 and rmse of each feature (D,); NaN where there is nothing to score."""
        corr, r2, var_y = _statistics(self.n, self.x, self.y, self.xx, self.yy, self.xy)
        scored = (self.n >= MIN_OBSERVED) & (var_y > 0)
        squared_error = (self.xx - 2 * self.xy + self.yy).clamp(min=0)
        values = {"corr": corr, "r2": r2, "rmse": (squared_error / self.n).sqrt()}
        return {"n": self.n} | {name: torch.where(scored, value, torch.nan) for name, value in values.items()}

    def compute(self) -> dict[str, Tensor]:
        """Return the statistics by name, each a scalar."""
        corr, r2, var_y = _statistics(self.n, self.x, self.y, self.xx, self.yy, self.xy)
        scored = (self.n >= MIN_OBSERVED) & (var_y > 0)
        # Sums around one common origin instead of each feature's own.
        o = self.origin - self.origin.mean()
        pooled = torch.stack(
            [
                self.n,
                self.x + self.n * o,
                self.y + self.n * o,
                self.xx + 2 * o * self.x + self.n * o**2,
                self.yy + 2 * o * self.y + self.n * o**2,
                self.xy + o * (self.x + self.y) + self.n * o**2,
            ]
        ).sum(-1)
        corr_all, r2_all, _ = _statistics(*pooled)
        squared_error = (self.xx - 2 * self.xy + self.yy).sum().clamp(min=0)
        return {
            "corr": corr_all,
            "corr_mean": corr[scored].mean(),
            "corr_median": corr[scored].quantile(0.5) if scored.any() else corr.new_tensor(torch.nan),
            "r2": r2_all,
            "mean_feature_r2": r2[scored].mean(),
            "rmse": (squared_error / self.n.sum()).sqrt(),
            "n_features": scored.sum().double(),
        }


def _statistics(n: Tensor, x: Tensor, y: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Pearson's r, R² and the variance of y from sums; a variance below rounding error is zero."""
    n = n.clamp(min=1)
    var_x, var_y = (_variance(n, s, ss) for s, ss in ((x, xx), (y, yy)))
    covariance = (xy - x * y / n) / n
    corr = torch.where(var_x > 0, covariance / (var_x * var_y).sqrt(), torch.zeros_like(var_x))
    # A NaN among the predictions must stay visible.
    corr = torch.where(var_x.isnan(), var_x, corr).clamp(-1, 1)
    r2 = 1 - (xx - 2 * xy + yy) / n / var_y
    return corr, r2, var_y


def _variance(n: Tensor, s: Tensor, ss: Tensor) -> Tensor:
    variance = ss / n - (s / n) ** 2
    rounding = 1e-12 * ss / n
    return torch.where(variance <= rounding, torch.zeros_like(variance), variance)
