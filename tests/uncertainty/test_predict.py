"""What models predict, and how far apart: against closed forms of linear models."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import Pair
from cpivae.models.build import build_model
from cpivae.models.latent import LatentModel
from cpivae.uncertainty.predict import Prediction, Trained, predict, predict_in_pieces

TinyConfig = Callable[..., Config]
LINEAR = {"model__encoder_layers": [], "model__decoder_layers": [], "model__batch_norm": False}


def trained(config: Config, data: PreparedData, seed: int = 0, fold: int = 0) -> Trained:
    torch.manual_seed(seed)
    return Trained(build_model(config, data.n_features).eval(), data.preprocessors, fold)


def rows(pair: Pair, data: PreparedData, platform: str = "a") -> np.ndarray:
    table: np.ndarray = pair.frames[platform][data.preprocessors[platform].features].to_numpy()
    return table


def cells(predicted: Prediction) -> tuple[np.ndarray, ...]:
    return predicted[:-1]


@pytest.fixture(scope="module")
def logged(simulated_pair: Pair, tiny_config: TinyConfig) -> PreparedData:
    return prepare(simulated_pair, tiny_config(data__log_transform__platform_b__enabled=True).data)


@pytest.mark.parametrize("kind", [{}, {"data__log_transform__platform_b__enabled": True}], ids=["plain", "log2"])
def test_the_spread_of_a_linear_model_is_that_of_its_posterior(
    simulated_pair: Pair, tiny_config: TinyConfig, kind: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """z ~ N(m, diag(s²)) decoded by W has variance Σ_l W_dl² s_l²."""
    monkeypatch.setattr("cpivae.uncertainty.predict.DRAWS", 4000)
    config = tiny_config(**LINEAR, **kind)
    data = prepare(simulated_pair, config.data)
    one = trained(config, data)
    assert isinstance(one.model, LatentModel)
    x = rows(simulated_pair, data)[:5]
    found = predict([one], x, "a", "b")
    with torch.no_grad():
        latents = one.model.encode(torch.from_numpy(data.preprocessors["a"].transform(x)), "a")
        weights = one.model.decoders.own["b"].net[-1].weight  # type: ignore[union-attr, index]
        variance = latents.distribution.variance @ weights.square().T  # type: ignore[attr-defined]
    affine = data.preprocessors["b"].affine()
    np.testing.assert_allclose(found.spread, variance.numpy() * affine.scale**2, rtol=0.15)
    assert (found.between_folds == 0).all()


def test_the_slope_is_the_derivative_of_the_inverse_logarithm(logged: PreparedData) -> None:
    affine = logged.preprocessors["b"].affine()
    assert affine.shift is not None
    scaled = np.random.default_rng(0).normal(scale=4, size=(50, len(affine.center)))
    lowest = (np.log2(0.5) - affine.center) / affine.scale
    scaled[0], scaled[1] = lowest - 3, lowest + 1e-3  # on the tangent, and where it begins
    step = 1e-6
    up, down = (logged.preprocessors["b"].inverse(scaled + d / affine.scale) for d in (step, -step))
    np.testing.assert_allclose(affine.slope(scaled), (up - down) / (2 * step), rtol=1e-4)
    assert (logged.preprocessors["a"].affine().slope(np.zeros((3, 20))) == 1).all()


def test_models_of_one_fold_disagree_in_the_spread_and_folds_beside_it(
    simulated_pair: Pair, tiny_config: TinyConfig, logged: PreparedData
) -> None:
    config, x = tiny_config(model__model_type="res_unet"), rows(simulated_pair, logged)[:9]
    several = [trained(config, logged, seed) for seed in range(3)]
    alone = [predict([one], x, "a", "b") for one in several]
    values = np.array([p.values for p in alone])
    assert all((p.spread == 0).all() for p in alone)  # nothing is drawn
    seeds = predict(several, x, "a", "b")
    np.testing.assert_allclose(seeds.values, values.mean(axis=0))
    slope = np.mean([p.slope for p in alone], axis=0)
    np.testing.assert_allclose(seeds.spread, values.var(axis=0, ddof=1) / slope**2)
    assert (seeds.between_folds == 0).all()
    folds = predict([one._replace(fold=i) for i, one in enumerate(several)], x, "a", "b")
    np.testing.assert_allclose(folds.values, values.mean(axis=0))
    np.testing.assert_allclose(folds.between_folds, values.var(axis=0))
    assert (folds.spread == 0).all()


@pytest.mark.parametrize("kind", ["joint_vae", "joint_vae_plus", "generative_vae"])
def test_a_row_is_predicted_alike_alone_in_any_order_and_in_pieces(
    simulated_pair: Pair, tiny_config: TinyConfig, prepared: PreparedData, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [trained(tiny_config(model__model_type=kind), prepared, seed) for seed in range(2)]
    x = rows(simulated_pair, prepared)[:7]
    together = predict(several, x, "a", "b")
    assert (together.spread > 0).all()
    for i in range(len(x)):
        for one, all_of_them in zip(cells(predict(several, x[[i]], "a", "b")), cells(together), strict=True):
            np.testing.assert_allclose(one[0], all_of_them[i], rtol=1e-3)
    turned = predict(several, x[::-1], "a", "b")
    np.testing.assert_allclose(turned.spread[::-1], together.spread, rtol=1e-3)
    monkeypatch.setattr("cpivae.uncertainty.predict.ROWS", 4)
    sizes = [len(piece.values) for _, piece in predict_in_pieces(several, x, "a", "b", draws=2)]
    assert sizes == [4, 3]
    np.testing.assert_allclose(predict(several, x, "a", "b").spread, together.spread, rtol=1e-3)


def test_draws_leave_values_and_the_worlds_randomness_alone(
    simulated_pair: Pair, tiny_config: TinyConfig, prepared: PreparedData
) -> None:
    noisy = tiny_config(model__model_type="generative_vae", model__sampling_noise=0.5)
    several, x = [trained(noisy, prepared, seed) for seed in range(2)], rows(simulated_pair, prepared)[:7]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    (_, without), *_ = predict_in_pieces(several, x, "a", "b", draws=0)
    (_, with_draws), *_ = predict_in_pieces(several, x, "a", "b", draws=8)
    np.testing.assert_array_equal(without.values, with_draws.values)
    assert (without.spread < with_draws.spread).all()
    assert torch.equal(torch.random.get_rng_state(), before)
