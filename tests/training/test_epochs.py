"""What happens in an epoch: losses, gradients, optimisers, schedules, noise, precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from cpivae.batch import Batch
from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData
from cpivae.errors import ConfigError
from cpivae.models.latent import LatentModel
from cpivae.models.skip import RESIDUAL_LEARNING_RATE
from cpivae.names import PLATFORMS
from cpivae.training.folder import read_checkpoint
from cpivae.training.run import RunResult, build_module

TinyConfig = Callable[..., Config]

#: Nothing moves but the learning rate.
FROZEN = {
    "model__batch_norm": False,
    "model__dropout_rate": 0.0,
    "training__learning_rate": 1e-7,
    "training__weight_decay": 0.0,
}


def adam_state(result: RunResult) -> dict[str, Any]:
    state: dict[str, Any] = read_checkpoint(result.folder.checkpoints / "last.ckpt")["optimizer_states"][0]
    return state


def test_the_losses_add_up_to_the_weighted_total(train: Callable[..., RunResult]) -> None:
    weights = {"reconstruction": 0.5, "kl_divergence": 0.25, "cross_reconstruction": 2.0, "latent_alignment": 3.0}
    history = train(loss_weights=weights).folder.history()
    for stage in ("train", "val"):
        total = sum(weight * history[f"{stage}_{term}_loss"] for term, weight in weights.items())
        np.testing.assert_allclose(history[f"{stage}_total_loss"], total, rtol=1e-5)


def test_a_ramp_holds_in_training_and_not_in_validation(train: Callable[..., RunResult]) -> None:
    weights = {"reconstruction": 0.0, "cross_reconstruction": 0.0, "latent_alignment": 0.0, "kl_divergence": 2.0}
    ramp = {"kl_divergence_ramp": {"shape": "cyclical", "epochs": 4}}
    history = train(loss_weights=weights | ramp, training__max_epochs=6).folder.history()
    for stage, factors in (("train", [0, 0.5, 1, 1, 0, 0.5]), ("val", [1, 1, 1, 1, 1, 1])):
        expected = 2.0 * np.array(factors) * history[f"{stage}_kl_divergence_loss"]
        np.testing.assert_allclose(history[f"{stage}_total_loss"], expected, rtol=1e-5)


def test_a_term_without_weight_is_named(tiny_config: TinyConfig, prepared: PreparedData) -> None:
    module = build_module(tiny_config(), [prepared])
    with pytest.raises(ConfigError, match="total_correlation"):
        module.total_loss({"reconstruction": torch.ones(()), "total_correlation": torch.ones(())})


@pytest.mark.parametrize(("optimizer", "decoupled"), [("adam", False), ("adamw", True)])
def test_each_optimiser_trains(optimizer: str, decoupled: bool, train: Callable[..., RunResult]) -> None:
    result = train(training__optimizer=optimizer, training__weight_decay=0.07, training__learning_rate=0.01)
    (group,) = adam_state(result)["param_groups"]
    assert (group["decoupled_weight_decay"], group["weight_decay"]) == (decoupled, 0.07)
    assert result.folder.history()["val_total_loss"].is_monotonic_decreasing


@pytest.mark.parametrize("batches", [1, 3, 4])
def test_gradients_are_accumulated(batches: int, train: Callable[..., RunResult]) -> None:
    result = train(training__accumulate_grad_batches=batches)
    steps = {int(state["step"]) for state in adam_state(result)["state"].values()}
    assert steps == {3 * math.ceil(6 / batches)}  # 168 training rows are 6 batches of 28


def test_gradients_are_clipped(
    train: Callable[..., RunResult], tiny_config: TinyConfig, prepared: PreparedData
) -> None:
    """Far below Adam's epsilon a gradient moves nothing."""
    before = dict(build_module(tiny_config(), [prepared]).each()[0].model.named_parameters())

    def moved(clip: float | None) -> float:
        after = train(training__gradient_clip_val=clip, training__weight_decay=0.0).folder.weights()[0]
        return max((after[name] - value).abs().max().item() for name, value in before.items())

    assert moved(1e-14) < 1e-5
    assert moved(None) > 1e-3


def test_the_learning_rate_is_constant_without_a_schedule(train: Callable[..., RunResult]) -> None:
    assert set(train(training__scheduler="none").folder.history()["learning_rate"]) == {1e-3}


def test_the_cosine_schedule_ends_at_zero(train: Callable[..., RunResult]) -> None:
    rates = train(training__scheduler="cosine", training__max_epochs=4).folder.history()["learning_rate"]
    np.testing.assert_allclose(rates, [5e-4 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)])


@pytest.mark.parametrize("scheduler", ["none", "cosine", "reduce_on_plateau"])
def test_parts_with_a_rate_of_their_own_keep_their_share_of_it(
    scheduler: str, tiny_config: TinyConfig, prepared: PreparedData
) -> None:
    config = tiny_config(model__linear_skip="ridge", training__scheduler=scheduler, training__learning_rate=1e-2)
    module = build_module(config, [prepared])
    configured = module.configure_optimizers()
    optimizer = configured if scheduler == "none" else configured["optimizer"]
    slow = set(module.each()[0].model.decoders.residual.parameters())
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert set(rates) == set(module.each()[0].model.parameters())
    for parameter, rate in rates.items():
        assert rate == pytest.approx(1e-2 * (RESIDUAL_LEARNING_RATE if parameter in slow else 1))


def test_the_rate_is_halved_when_the_loss_stalls(train: Callable[..., RunResult]) -> None:
    overrides = FROZEN | {
        "training__scheduler": "reduce_on_plateau",
        "training__early_stopping_patience": 4,
        "callbacks__early_stopping__patience": 50,
        "training__max_epochs": 8,
    }
    rates = train(**overrides).folder.history()["learning_rate"]
    # Two epochs without improvement are forgiven, the third is not.
    np.testing.assert_allclose(rates, [1e-7] * 4 + [5e-8] * 3 + [2.5e-8])


def test_the_rate_is_kept_while_the_loss_falls(train: Callable[..., RunResult]) -> None:
    falling = {"training__learning_rate": 5e-3, "training__data_augmentation__gaussian_noise_std": 0.0}
    kept = {"training__scheduler": "reduce_on_plateau", "training__early_stopping_patience": 2}
    history = train(training__max_epochs=5, **falling, **kept).folder.history()
    assert history["val_total_loss"].is_monotonic_decreasing
    assert set(history["learning_rate"]) == {5e-3}


def test_noise_is_added_to_training_inputs_only(
    train: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = LatentModel.terms
    seen: dict[bool, list[Batch]] = {}

    def watch(model: LatentModel, batch: Batch) -> dict[str, torch.Tensor]:
        seen[model.training].append(batch)
        return terms(model, batch)

    monkeypatch.setattr(LatentModel, "terms", watch)

    def batches(std: float) -> tuple[list[Batch], list[Batch]]:
        seen.update({True: [], False: []})
        train(training__data_augmentation__gaussian_noise_std=std)
        return seen[True], seen[False]

    quiet_training, quiet_evaluation = batches(0.0)
    noisy_training, noisy_evaluation = batches(0.5)
    for quiet, noisy in zip(quiet_evaluation, noisy_evaluation, strict=True):
        assert all(torch.equal(quiet.inputs[p], noisy.inputs[p]) for p in PLATFORMS)
    added = []
    for quiet, noisy in zip(quiet_training + quiet_evaluation, noisy_training + noisy_evaluation, strict=True):
        for p in PLATFORMS:
            assert torch.equal(quiet.targets[p], noisy.targets[p])
            assert torch.equal(quiet.observed[p], noisy.observed[p])
            added.append((noisy.inputs[p] - quiet.inputs[p]).flatten())
    first_batches = [added[2 * len(quiet_training) * epoch // 3] for epoch in range(3)]
    repeated = [torch.allclose(one, other, atol=1e-4) for one, other in combinations(first_batches, 2)]
    assert not any(repeated)  # every epoch has its own noise
    in_training = torch.cat(added[: 2 * len(quiet_training)])
    assert in_training.std().item() == pytest.approx(0.5, rel=0.05)
    assert in_training.mean().item() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_agree_with_single(precision: str, train: Callable[..., RunResult]) -> None:
    single, other = train().folder.history(), train(hardware__precision=precision).folder.history()
    np.testing.assert_allclose(other["val_total_loss"], single["val_total_loss"], rtol=0.05)
    assert np.isfinite(other.to_numpy()).all()


def test_every_epoch_has_its_own_random_numbers(train: Callable[..., RunResult]) -> None:
    """With frozen weights epochs differ by draws, noise and the order of rows alone; validation by nothing."""
    history = train(**FROZEN).folder.history()
    assert history["train_total_loss"].nunique() == 3
    np.testing.assert_allclose(history["val_total_loss"], history["val_total_loss"][0], rtol=1e-5)
    np.testing.assert_allclose(history["val_kl_divergence_loss"], history["val_kl_divergence_loss"][0], rtol=1e-5)
