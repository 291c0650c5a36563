"""What every variant owes the rest of the program.  A new variant is covered on the day it is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from cpivae.batch import Batch
from cpivae.config.base import Activation, AlignmentType
from cpivae.config.load import make_config
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant, variant_names
from cpivae.data.prepare import PreparedData
from cpivae.models.base import CrossPlatformModel
from cpivae.models.build import build_model
from cpivae.names import DIRECTIONS, PLATFORMS, prediction
from cpivae.training.run import fit

WIDTHS = {"a": 7, "b": 9}
ROWS = 16

SHAPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"encoder_layers": [], "decoder_layers": []},
    "deep": {"encoder_layers": [12, 10], "decoder_layers": [10, 12]},
    "no_batch_norm": {"batch_norm": False},
    "no_dropout": {"dropout_rate": 0.0},
    "residual": {"use_residual_blocks": True, "encoder_layers": [12, 12]},
    **{activation: {"activation": activation} for activation in get_args(Activation)},
}

every_variant = pytest.mark.parametrize("variant", variant_names())
every_shape = pytest.mark.parametrize("shape", SHAPES)


def settings(variant: str, shape: str = "default", **weights: Any) -> Config:
    model = {"model_type": variant, "latent_dim": 32, "encoder_layers": [12], "decoder_layers": [12]}
    return make_config({"model": model | SHAPES[shape], "loss_weights": weights}, "contract")


def built(config: Config, seed: int = 0) -> CrossPlatformModel:
    torch.manual_seed(seed)
    return build_model(config, WIDTHS)


def random_batch(rows: int = ROWS) -> Batch:
    generator = torch.Generator().manual_seed(1)
    values = {p: torch.randn(rows, d, generator=generator) for p, d in WIDTHS.items()}
    observed = {p: torch.rand(rows, d, generator=generator) > 0.2 for p, d in WIDTHS.items()}
    return Batch(inputs=values, targets=values, observed=observed)


def seeded_terms(model: CrossPlatformModel, batch: Batch) -> dict[str, float]:
    torch.manual_seed(2)
    with torch.no_grad():
        return {name: value.item() for name, value in model.terms(batch).items()}


@every_variant
@every_shape
def test_terms_are_finite_scalars_and_each_has_a_weight(variant: str, shape: str) -> None:
    config = settings(variant, shape)
    for mode in (True, False):
        terms = built(config).train(mode).terms(random_batch())
        assert set(terms) == set(config.term_weights())
        for name, value in terms.items():
            assert value.shape == (), name
            assert torch.isfinite(value), name


@every_variant
@every_shape
def test_every_parameter_learns_from_the_default_loss(variant: str, shape: str) -> None:
    assert_every_parameter_learns(settings(variant, shape))


ALIGNED = [v for v in variant_names() if "alignment_type" in load_variant(v).loss_weights.model_fields]


@pytest.mark.parametrize("variant", ALIGNED)
@pytest.mark.parametrize("alignment_type", get_args(AlignmentType))
def test_every_parameter_learns_with_each_alignment(variant: str, alignment_type: str) -> None:
    assert_every_parameter_learns(settings(variant, alignment_type=alignment_type))


def assert_every_parameter_learns(config: Config) -> None:
    model = built(config).train()
    weights = config.term_weights()
    loss = sum((weights[name] * value for name, value in model.terms(random_batch()).items()), torch.zeros(()))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients
    assert all(g is None or g.isfinite().all() for g in gradients.values())
    # Rounding errors, such as those of a bias before batch norm, are no gradient.
    idle = [name for name, g in gradients.items() if g is None or g.abs().max() < 1e-6]
    assert idle == []


@pytest.mark.parametrize("variant", ALIGNED)
def test_alignment_types_differ(variant: str) -> None:
    values = set()
    for alignment_type in get_args(AlignmentType):
        config = settings(variant, alignment_type=alignment_type)
        values.add(round(seeded_terms(built(config).eval(), random_batch())["latent_alignment"], 6))
    assert len(values) == len(get_args(AlignmentType))


@every_variant
@every_shape
def test_imputation_has_the_shape_of_the_target(variant: str, shape: str) -> None:
    model, batch = built(settings(variant, shape)).eval(), random_batch()
    for source, target in DIRECTIONS:
        imputed = model.impute(batch.inputs[source], source, target)
        assert imputed.shape == (ROWS, WIDTHS[target])
        assert imputed.isfinite().all()


@every_variant
@pytest.mark.parametrize("answer", ["impute", "code"])
def test_evaluation_is_not_random(variant: str, answer: str) -> None:
    ask = asked(built(settings(variant)).eval(), answer)
    torch.manual_seed(3)
    first = ask(random_batch().inputs)
    torch.manual_seed(4)
    torch.testing.assert_close(ask(random_batch().inputs), first, rtol=0, atol=0)


@every_variant
@every_shape
@pytest.mark.parametrize("answer", ["impute", "code"])
def test_a_row_is_evaluated_regardless_of_its_batch_mates(variant: str, shape: str, answer: str) -> None:
    model = built(settings(variant, shape)).train()
    for _ in range(3):  # batch norm has something to remember
        model.terms(random_batch())
    ask = asked(model.eval(), answer)
    inputs = random_batch().inputs
    together = ask(inputs)
    alone = torch.cat([ask({p: x[i : i + 1] for p, x in inputs.items()}) for i in range(ROWS)])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    among_others = ask({p: torch.cat([x[:1], 10 + 5 * x[1:]]) for p, x in inputs.items()})
    torch.testing.assert_close(among_others[:1], together[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(among_others[1:], together[1:])


def asked(model: CrossPlatformModel, answer: str) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """Return a function of {platform: rows} that puts all answers of one kind side by side: (B, anything)."""

    def impute(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([model.impute(inputs[s], s, t) for s, t in DIRECTIONS], dim=1)

    def code(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([model.code(inputs[p], p) for p in PLATFORMS], dim=1)

    return torch.no_grad()({"impute": impute, "code": code}[answer])


@every_variant
@every_shape
def test_weights_survive_a_file(variant: str, shape: str, tmp_path: Path) -> None:
    config, batch = settings(variant, shape), random_batch()
    model = built(config, seed=0)
    model.train().terms(batch)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = built(config, seed=1)
    untouched = asked(other.eval(), "impute")(batch.inputs)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = asked(model.eval(), "impute")(batch.inputs)
    assert not torch.allclose(untouched, expected)
    torch.testing.assert_close(asked(other.eval(), "impute")(batch.inputs), expected, rtol=0, atol=0)
    assert seeded_terms(other, batch) == seeded_terms(model.eval(), batch)


@every_variant
@every_shape
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_no_term_reads_the_target_of_a_missing_cell(variant: str, shape: str, training: bool) -> None:
    model, batch = built(settings(variant, shape)).train(training), random_batch()
    before = seeded_terms(model, batch)
    gaps_filled_otherwise = {p: x.where(batch.observed[p], 100 + x) for p, x in batch.targets.items()}
    assert seeded_terms(model, batch._replace(targets=gaps_filled_otherwise)) == before
    for platform in PLATFORMS:
        cells_changed = batch.targets[platform].where(~batch.observed[platform], 100.0)
        after = seeded_terms(model, batch._replace(targets=batch.targets | {platform: cells_changed}))
        assert after != before, platform


@every_variant
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_sample_without_any_measurement_leaves_terms_finite(variant: str, platform: str) -> None:
    batch = random_batch()
    batch.observed[platform][0] = False
    model = built(settings(variant)).train()
    terms = model.terms(batch)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_variant
def test_a_single_row_can_be_validated(variant: str) -> None:
    assert all(np.isfinite(v) for v in seeded_terms(built(settings(variant)).eval(), random_batch(rows=1)).values())


@every_variant
def test_initial_weights_are_those_of_the_seed(variant: str) -> None:
    config = settings(variant)
    first, again, other = (built(config, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.slow
@every_variant
def test_it_learns(variant: str, prepared: PreparedData, tmp_path: Path) -> None:
    """On data that are linear, default settings come close to ridge regression, which is made for such data."""
    config = make_config(
        {
            "model": {"model_type": variant},
            "training": {"max_epochs": 25},
            "hardware": {"accelerator": "cpu", "threads": 1},
            "logging": {"tensorboard": False},
        },
        "learning test",
    )
    reached = fit(config, prepared, tmp_path / "run", name="learning").folder.selected_epoch()
    for source, target in (("b", "a"), ("a", "b")):
        by_ridge = ridge_correlation(prepared, source, target)
        assert by_ridge > 0.8
        assert reached[f"val_{prediction(source, target)}_corr_mean"] >= 0.9 * by_ridge


def ridge_correlation(data: PreparedData, source: str, target: str) -> float:
    train, val = data.rows("train"), data.rows("val")
    ridge = RidgeCV(alphas=np.logspace(-2, 4, 25)).fit(data.values[source][train], data.values[target][train])
    predicted, measured, observed = (
        ridge.predict(data.values[source][val]),
        data.values[target][val],
        data.observed[target][val],
    )
    columns = zip(predicted.T, measured.T, observed.T, strict=True)
    return float(np.mean([np.corrcoef(x[o], y[o])[0, 1] for x, y, o in columns]))
