"""The one LightningModule: any model's named terms are weighted, optimised, logged and scored here."""

from __future__ import annotations

import math
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from cpivae.batch import Batch
from cpivae.config.base import Ramp
from cpivae.config.schema import TrainingSettings
from cpivae.data.preprocess import Affine
from cpivae.errors import ConfigError, listed
from cpivae.models.base import CrossPlatformModel, by_learning_rate
from cpivae.names import DIRECTIONS, TOTAL_LOSS, prediction
from cpivae.training.metrics import OriginalScale, PredictionScores

FINGERPRINT, SETTINGS = "cpivae_data", "cpivae_settings"
"""What checkpoints of ours hold beside Lightning's keys."""

_VALIDATION_SEED = 0
"""Every epoch is validated with the same random draws, so that epochs compare."""


class PairLightning(pl.LightningModule):
    """Trains a cross-platform model on paired rows."""

    def __init__(
        self,
        model: CrossPlatformModel,
        weights: dict[str, float],
        training: TrainingSettings,
        scales: dict[str, Affine],
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
        self.model = model
        self.weights, self.ramps = weights, ramps or {}
        self.training_settings = training
        self.fingerprint, self.described = fingerprint, described or {}
        self.scales = nn.ModuleDict({p: OriginalScale(affine) for p, affine in scales.items()})
        self.scores = nn.ModuleDict(
            {
                stage: nn.ModuleDict(
                    {prediction(s, t): PredictionScores(self.scales[t].origin) for s, t in DIRECTIONS}  # type: ignore[arg-type]
                )
                for stage in ("val", "test")
            }
        )

    def total_loss(self, terms: dict[str, Tensor], epoch: int | None = None) -> Tensor:
        """Weight and add the terms, with the weights of a training epoch or with the full ones.

        Raises
        ------
        ConfigError
            A term has no weight.
        """
        unweighted = [name for name in terms if name not in self.weights]
        if unweighted:
            raise ConfigError("loss_weights", [f"the model's loss terms {listed(unweighted)} have no weight"])
        return torch.stack([self._weight(name, epoch) * value for name, value in terms.items()]).sum()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[FINGERPRINT] = self.fingerprint
        checkpoint[SETTINGS] = self.described

    def on_train_epoch_start(self) -> None:
        # Dropout, noise and draws depend on (seed, epoch, process) alone: a resumed run repeats them.
        torch.manual_seed(self.training_settings.seed + 1_000_003 * (self.current_epoch + 1) + 7 * self.global_rank)

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        terms = self.model.terms(self._with_noise(batch))
        loss = self.total_loss(terms, self.current_epoch)
        self._log_losses("train", loss, terms, batch)
        return loss

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(_VALIDATION_SEED)

    def validation_step(self, batch: Batch, _index: int) -> None:
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val")

    def on_test_epoch_start(self) -> None:
        torch.manual_seed(_VALIDATION_SEED)

    def test_step(self, batch: Batch, _index: int) -> None:
        self._evaluate("test", batch)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        s = self.training_settings
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        groups = [
            {"params": parameters, "lr": factor * s.learning_rate}
            for factor, parameters in by_learning_rate(self.model).items()
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

    def _evaluate(self, stage: str, batch: Batch) -> None:
        terms = self.model.terms(batch)
        self._log_losses(stage, self.total_loss(terms), terms, batch)
        measured = {p: self.scales[p](x) for p, x in batch.targets.items()}
        for source, target in DIRECTIONS:
            predicted = self.scales[target](self.model.impute(batch.inputs[source], source, target))
            scores = self._scores(stage)[prediction(source, target)]
            scores.update(predicted, measured[target], batch.observed[target])

    def _scores(self, stage: str) -> dict[str, PredictionScores]:
        return cast(dict[str, PredictionScores], cast(Any, self.scores)[stage])

    def _log_losses(self, stage: str, loss: Tensor, terms: dict[str, Tensor], batch: Batch) -> None:
        values = {f"{stage}_{TOTAL_LOSS}": loss.detach()}
        values |= {f"{stage}_{name}_loss": value.detach() for name, value in terms.items()}
        n_rows = next(iter(batch.targets.values())).shape[0]
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=n_rows, sync_dist=self.trainer.world_size > 1)

    def _log_scores(self, stage: str) -> None:
        for name, scores in self._scores(stage).items():
            values = {f"{stage}_{name}_{key}": value for key, value in scores.compute().items()}
            # The sums are shared already, so all processes agree; Lightning warns unless it may average them.
            self.log_dict(values, sync_dist=self.trainer.world_size > 1)
            scores.reset()
