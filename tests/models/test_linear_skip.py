"""A linear skip: ridge regression before training, never less than a start, and the rest of the model as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cpivae.batch import Batch
from cpivae.config.load import make_config
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant, variant_names
from cpivae.data.prepare import PreparedData
from cpivae.models.base import CrossPlatformModel, by_learning_rate
from cpivae.models.build import build_model
from cpivae.models.decoders import Decoders, PointDecoder, observed_mean
from cpivae.models.skip import RESIDUAL_LEARNING_RATE
from cpivae.names import PLATFORMS

ACROSS = [("a", "b"), ("b", "a")]
every_variant = pytest.mark.parametrize("variant", variant_names())


def settings(variant: str, skip: str) -> Config:
    return make_config({"model": {"model_type": variant, "latent_dim": 8, "linear_skip": skip}}, "skip")


def built(variant: str, skip: str, data: PreparedData) -> CrossPlatformModel:
    torch.manual_seed(0)
    return build_model(settings(variant, skip), data.n_features, data.linear_maps)


def whole_batch(data: PreparedData) -> Batch:
    values = {p: torch.from_numpy(x) for p, x in data.values.items()}
    return Batch(values, values, {p: torch.from_numpy(x) for p, x in data.observed.items()})


def loss(model: CrossPlatformModel, variant: str, batch: Batch) -> torch.Tensor:
    weights = settings(variant, "ridge").term_weights()
    torch.manual_seed(1)
    return torch.stack([weights[name] * term for name, term in model.terms(batch).items()]).sum()


@every_variant
def test_before_training_a_cross_prediction_is_ridge_regression(variant: str, prepared: PreparedData) -> None:
    model = built(variant, "ridge", prepared).eval()
    for source, target in ACROSS:
        x = prepared.values[source]
        expected = prepared.linear_maps[source, target].predict(x)
        with torch.no_grad():
            imputed = model.impute(torch.from_numpy(x), source, target).numpy()
        np.testing.assert_allclose(imputed, expected, rtol=0, atol=1e-5)


@every_variant
def test_before_training_the_cross_term_is_ridges_error(variant: str, prepared: PreparedData) -> None:
    terms = built(variant, "ridge", prepared).eval().terms(whole_batch(prepared))
    errors = []
    for source, target in ACROSS:
        predicted = prepared.linear_maps[source, target].predict(prepared.values[source])
        squared = (predicted - prepared.values[target]) ** 2
        errors.append(np.ma.masked_array(squared, ~prepared.observed[target]).mean(axis=1).mean())
    if "cross_reconstruction" in terms:
        assert terms["cross_reconstruction"].item() == pytest.approx(np.mean(errors), rel=1e-4)
    else:
        assert "cross_reconstruction" not in load_variant(variant).loss_weights.terms()


def test_what_is_scored_is_what_is_predicted(prepared: PreparedData) -> None:
    """A loss on cross predictions must see the skip as well: bounds are made of these losses too."""
    skips = prepared.linear_maps
    torch.manual_seed(0)
    decoders = Decoders(lambda p: PointDecoder(nn.Sequential(nn.Linear(4, prepared.n_features[p]))), "ab", skips)
    for parameter in decoders.parameters():
        nn.init.normal_(parameter)
    values = {p: torch.from_numpy(x[:9]) for p, x in prepared.values.items()}
    z = torch.randn(3, 9, 4)
    for source, target in [*ACROSS, ("a", "a")]:
        observed = torch.from_numpy(prepared.observed[target][:9])
        found = decoders.losses(values[source], values[target], observed, z, (source, target))["reconstruction"]
        wrong = decoders.predict(values[source], z, (source, target)) - values[target]
        torch.testing.assert_close(found, observed_mean(wrong.square(), observed))


@every_variant
def test_a_prediction_of_the_platform_itself_knows_of_no_skip(variant: str, prepared: PreparedData) -> None:
    """Where a platform has a decoder of its own; without one it is predicted by way of the other, skips and all."""
    plain, skipping = (built(variant, skip, prepared).eval() for skip in ("none", "ridge"))
    if not any(name.startswith("decoders.own.") for name in dict(plain.named_parameters())):
        x = prepared.values["a"]
        there, back = prepared.linear_maps["a", "b"], prepared.linear_maps["b", "a"]
        expected = back.predict(there.predict(x))
        imputed = skipping.impute(torch.from_numpy(x), "a", "a")
        np.testing.assert_allclose(imputed.detach().numpy(), expected, rtol=0, atol=1e-4)
        return
    skipping.load_state_dict(plain.state_dict(), strict=False)
    for platform in PLATFORMS:
        x = torch.from_numpy(prepared.values[platform])
        torch.testing.assert_close(skipping.impute(x, platform, platform), plain.impute(x, platform, platform))


@every_variant
def test_the_map_is_frozen_and_everything_else_learns(variant: str, prepared: PreparedData) -> None:
    model, batch = built(variant, "ridge", prepared).train(), whole_batch(prepared)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers() if ".maps." in name}
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model, variant, batch).backward()
        optimizer.step()
    assert len(buffers) == sum(len(m.factors) + 1 for m in prepared.linear_maps.values())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers() if name in buffers)
    assert [name for name, p in model.named_parameters() if torch.equal(p, before[name])] == []
    assert not any(".maps." in name for name in model.state_dict())


@every_variant
def test_the_term_is_the_mean_square_of_what_is_added(variant: str, prepared: PreparedData) -> None:
    batch = whole_batch(prepared)
    assert "linear_skip_residual" not in built(variant, "none", prepared).terms(batch)
    model = built(variant, "ridge", prepared)
    assert model.terms(batch)["linear_skip_residual"].item() == 0
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        loss(model, variant, batch).backward()
        optimizer.step()
    assert model.terms(batch)["linear_skip_residual"].item() > 0


@every_variant
def test_what_is_added_learns_slowly(variant: str, prepared: PreparedData) -> None:
    plain, skipping = (by_learning_rate(built(variant, skip, prepared)) for skip in ("none", "ridge"))
    assert list(plain) == [1.0]
    assert set(skipping) == {1.0, RESIDUAL_LEARNING_RATE}
    assert all(parameters for rate, parameters in skipping.items() if rate != 1.0)


def test_a_part_with_its_own_rate_takes_its_parameters_out_of_the_rest(prepared: PreparedData) -> None:
    config = make_config(
        {
            "model": {
                "model_type": "generative_vae",
                "decoder_type": "gan",
                "critic_learning_rate_factor": 2.5,
            }
        },
        "gan",
    )
    model = build_model(config, prepared.n_features)
    groups = by_learning_rate(model)
    critics = {p for part in model.decoders.own.values() for p in part.critic.parameters()}  # type: ignore[union-attr, operator]
    assert set(groups[2.5]) == critics
    assert len(groups[1.0]) + len(groups[2.5]) == len(list(model.parameters()))
