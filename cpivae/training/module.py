"""The one LightningModule: any model's named terms are weighted, optimised, logged and scored here.

It trains a number of replicas in lockstep, one for a plain run: their losses are summed, their gradients clipped one by
one, their metrics averaged, so that one schedule, one early stopping and one best epoch serve them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from cpivae.batch import Batch
from cpivae.config.base import Ramp
from cpivae.config.schema import TrainingSettings
from cpivae.data.module import Batches
from cpivae.errors import ConfigError, listed
from cpivae.models.base import by_learning_rate
from cpivae.names import DIRECTIONS, TOTAL_LOSS, prediction, sd_of
from cpivae.training.metrics import PredictionScores
from cpivae.training.replica import Replica

FINGERPRINT, SETTINGS = "cpivae_data", "cpivae_settings"
"""What checkpoints of ours hold beside Lightning's keys."""


class PairLightning(pl.LightningModule):
    """Trains cross-platform models on paired rows."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        weights: dict[str, float],
        training: TrainingSettings,
        *,
        ramps: dict[str, Ramp] | None = None,
        fingerprint: str = "",
        described: dict[str, Any] | None = None,
    ) -> None:
        """``ramps``: how weights rise in training; validation and test use the full ones.

        ``fingerprint`` of the data and ``described``, the settings that a checkpoint cannot do without, are kept in
        checkpoints so that none is continued on other samples or with another model.
        """
        super().__init__()
        self.replicas = nn.ModuleList(replicas)
        self.weights, self.ramps = weights, ramps or {}
        self.training_settings = training
        self.fingerprint, self.described = fingerprint, described or {}
        self.last_epoch: list[dict[str, float]] = []
        """Every replica's metrics of the epoch that was validated last."""

    def total_loss(self, terms: dict[str, Tensor], epoch: int | None = None) -> Tensor:
        """Weight and add the terms, with the weights of a training epoch or with the full ones.

        Raises
        ------
        ConfigError
            A term has no weight, or a weight no term.
        """
        if terms.keys() != self.weights.keys():
            unweighted, missing = terms.keys() - self.weights.keys(), self.weights.keys() - terms.keys()
            problems = [f"the model's loss terms {listed(sorted(unweighted))} have no weight"] if unweighted else []
            problems += [f"the model has no loss terms {listed(sorted(missing))}"] if missing else []
            raise ConfigError("loss_weights", problems)
        return torch.stack([self._weight(name, epoch) * value for name, value in terms.items()]).sum()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FINGERPRINT] = self.fingerprint
        checkpoint[SETTINGS] = self.described

    def training_step(self, batches: Batches, index: int) -> Tensor:
        losses = []
        for replica, batch in self._with_replicas(batches):
            replica.draw_afresh(self.current_epoch + 1, index, self.global_rank)
            terms = replica.model.terms(self._with_noise(batch))
            losses.append(self.total_loss(terms, self.current_epoch))
            replica.note_losses("train", losses[-1], terms, batch)
        return torch.stack(losses).sum()

    def validation_step(self, batches: Batches, index: int) -> None:
        for replica, batch in self._with_replicas(batches):
            self._note_losses("val", replica, batch, index)
            replica.note_scores(batch)

    def on_validation_epoch_end(self) -> None:
        stages = ["train", "val"] if self.trainer.state.fn == "fit" else ["val"]
        taken = [
            {k: v for stage in stages for k, v in r.take_losses(stage).items()} | r.take_scores("val")
            for r in self.each()
        ]
        self._log(_means(taken))
        if len(taken) > 1:
            self._log({sd_of(key): torch.stack([t[key] for t in taken]).std() for key in taken[0]})
        self.last_epoch = [{key: float(value) for key, value in t.items()} for t in taken]

    def test_step(self, batches: Batches, index: int) -> None:
        """Score the mean of the replicas' predictions, which is what imputation returns."""
        pairs = self._with_replicas(batches)
        for replica, batch in pairs:
            self._note_losses("test", replica, batch, index)
        first, rows = pairs[0]
        measured = first.measured(rows)
        for source, target in DIRECTIONS:
            predicted = torch.stack([r.predict(batch, source, target) for r, batch in pairs]).mean(0)
            scores = cast(PredictionScores, first.scores[prediction(source, target)])
            scores.update(predicted, measured[target], rows.observed[target])

    def on_test_epoch_end(self) -> None:
        self._log(_means([replica.take_losses("test") for replica in self.each()]))
        self._log(self.each()[0].take_scores("test"))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,  # noqa: ARG002
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,  # noqa: ARG002
    ) -> None:
        """Clip every replica's gradient by its own norm."""
        if gradient_clip_val is not None:
            for replica in self.each():
                nn.utils.clip_grad_norm_(replica.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        s = self.training_settings
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        groups = [
            {"params": parameters, "lr": factor * s.learning_rate}
            for factor, parameters in by_learning_rate(self.replicas).items()
        ]
        optimizer = kinds[s.optimizer](groups, lr=s.learning_rate, weight_decay=s.weight_decay)
        if s.scheduler == "none":
            return optimizer
        if s.scheduler == "cosine":
            # A function of the epoch, where CosineAnnealingLR would keep an earlier run's max_epochs after a resume.
            cosine = LambdaLR(optimizer, lambda epoch: (1 + math.cos(math.pi * epoch / s.max_epochs)) / 2)
            return {"optimizer": optimizer, "lr_scheduler": cosine}
        # Half the patience of early stopping: the smaller step gets a chance before training ends.
        plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=s.early_stopping_patience // 2)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": f"val_{TOTAL_LOSS}"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the schedule, unless it waits for a metric: StepPlateau does that, before the checkpoint is written."""
        if metric is None:
            scheduler.step()

    def _weight(self, term: str, epoch: int | None) -> float:
        ramp = self.ramps.get(term)
        return self.weights[term] * (1.0 if ramp is None or epoch is None else ramp.factor(epoch))

    def _with_noise(self, batch: Batch) -> Batch:
        std = self.training_settings.data_augmentation.gaussian_noise_std
        if std == 0:
            return batch
        return batch._replace(inputs={p: x + std * torch.randn_like(x) for p, x in batch.inputs.items()})

    def _note_losses(self, stage: str, replica: Replica, batch: Batch, index: int) -> None:
        torch.manual_seed(index)  # the same draws in every epoch and every run, so that they compare
        terms = replica.model.terms(batch)
        replica.note_losses(stage, self.total_loss(terms), terms, batch)

    def each(self) -> list[Replica]:
        """Return the replicas, with their type."""
        return list(cast(Any, self.replicas))

    def _with_replicas(self, batches: Batches) -> list[tuple[Replica, Batch]]:
        return list(zip(self.each(), batches, strict=True))

    def _log(self, values: dict[str, Tensor]) -> None:
        # The sums behind them are shared already, so all processes agree; Lightning warns unless it may average them.
        self.log_dict(values, sync_dist=self.trainer.world_size > 1)


def _means(taken: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([values[key] for values in taken]).mean() for key in taken[0]}
