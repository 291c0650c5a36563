"""One of the models that a run trains side by side: its scales, its scores, and random draws of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import cast

import torch
import torchmetrics
from torch import Tensor, nn

from cpivae.batch import Batch
from cpivae.config.schema import Config
from cpivae.data.preprocess import Affine
from cpivae.models.base import CrossPlatformModel
from cpivae.names import DIRECTIONS, TOTAL_LOSS, prediction
from cpivae.training.metrics import OriginalScale, PredictionScores


def replica_seed(seed: int, number: int) -> int:
    """Return the seed of a run's replica; the first has the run's own, so that a plain run is its first replica."""
    return (seed + 1_000_003 * number) % 2**32


def seeds_of(config: Config) -> list[int]:
    """Return the seed of every replica of a run."""
    return [replica_seed(config.training.seed, number) for number in range(config.n_replicas())]


class Replica(nn.Module):
    """A model with what it takes to train and score it; nothing in it depends on the other replicas of a run."""

    def __init__(self, model: CrossPlatformModel, scales: dict[str, Affine], seed: int, terms: Sequence[str]) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self.scales = nn.ModuleDict({p: OriginalScale(affine) for p, affine in scales.items()})
        names = [TOTAL_LOSS, *map(_loss, terms)]
        self.losses = nn.ModuleDict({f"in_{stage}": TermMeans(names) for stage in ("train", "val", "test")})
        self.scores = nn.ModuleDict(
            {prediction(s, t): PredictionScores(self.scales[t].origin) for s, t in DIRECTIONS}  # type: ignore[arg-type]
        )

    def draw_afresh(self, *moment: int) -> None:
        """Make all random draws that follow depend on the seed and ``moment`` alone.

        So a resumed run repeats them, and a replica draws what it would draw in a run of its own.
        """
        digest = hashlib.blake2b(repr((self.seed, *moment)).encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest))

    def note_losses(self, stage: str, loss: Tensor, terms: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch's losses to the means over rows."""
        n_rows = next(iter(batch.targets.values())).shape[0]
        self._losses(stage).update({TOTAL_LOSS: loss} | {_loss(name): value for name, value in terms.items()}, n_rows)

    def predict(self, batch: Batch, source: str, target: str) -> Tensor:
        """Return rows (B, D) of ``target`` as imputed from ``source``, in original units."""
        return cast(Tensor, self.scales[target](self.model.impute(batch.inputs[source], source, target)))

    def note_scores(self, batch: Batch) -> None:
        """Score the imputation of a batch in every direction."""
        measured = self.measured(batch)
        for source, target in DIRECTIONS:
            scores = cast(PredictionScores, self.scores[prediction(source, target)])
            scores.update(self.predict(batch, source, target), measured[target], batch.observed[target])

    def measured(self, batch: Batch) -> dict[str, Tensor]:
        """Return a batch's rows (B, D) of every platform in original units; only observed cells mean something."""
        return {p: cast(Tensor, self.scales[p](rows)) for p, rows in batch.targets.items()}

    def take_losses(self, stage: str) -> dict[str, Tensor]:
        """Return a stage's mean losses by metric key, and begin anew."""
        return _taken(self._losses(stage), stage)

    def take_scores(self, stage: str) -> dict[str, Tensor]:
        """Return the scores by metric key, and begin anew."""
        taken: dict[str, Tensor] = {}
        for name, scores in self.scores.items():
            taken |= _taken(cast(PredictionScores, scores), f"{stage}_{name}")
        return taken

    def _losses(self, stage: str) -> TermMeans:
        return cast(TermMeans, self.losses[f"in_{stage}"])


class TermMeans(torchmetrics.Metric):
    """Means over rows of named losses, by sums that add up over batches and processes."""

    full_state_update = False
    total: Tensor
    n: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.add_state("total", torch.zeros(len(self.names), dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("n", torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")

    def update(self, values: dict[str, Tensor], n_rows: int) -> None:
        """Add a batch's means over its rows, one for every name."""
        self.total += n_rows * torch.stack([values[name].detach().double() for name in self.names])
        self.n += n_rows

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name."""
        return dict(zip(self.names, self.total / self.n, strict=True))


def _loss(term: str) -> str:
    return f"{term}_loss"


def _taken(metric: torchmetrics.Metric, prefix: str) -> dict[str, Tensor]:
    values = {f"{prefix}_{name}": value for name, value in metric.compute().items()}
    metric.reset()
    return values
