"""What every variant owes the rest of the program.  A new variant is covered on the day it is registered.

A kind is a variant in one of several shapes, with one of the alternatives that its own settings offer, or with a linear
skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from cpivae.batch import Batch, LinearMap
from cpivae.config.base import Activation, LossWeights, ModelSettings
from cpivae.config.load import make_config, set_path
from cpivae.config.schema import Config
from cpivae.config.variants import load_variant, variant_names
from cpivae.models.base import CrossPlatformModel
from cpivae.models.build import build_model
from cpivae.names import DIRECTIONS, PLATFORMS

WIDTHS = {"a": 7, "b": 9}
ROWS = 16

SHAPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"model.encoder_layers": [], "model.decoder_layers": []},
    "deep": {"model.encoder_layers": [12, 10], "model.decoder_layers": [10, 12]},
    "no batch norm": {"model.batch_norm": False},
    "no dropout": {"model.dropout_rate": 0.0},
    "residual": {"model.use_residual_blocks": True, "model.encoder_layers": [12, 12]},
    "ridge": {"model.linear_skip": "ridge"},
    "ridge, linear": {"model.linear_skip": "ridge", "model.encoder_layers": [], "model.decoder_layers": []},
}


def alternatives(variant: str) -> Iterator[tuple[str, Any]]:
    """Yield every (path, value) that a variant's own settings offer beside the default one."""
    recipe = load_variant(variant)
    for section, own, shared in (
        ("model", recipe.settings(model_type=variant), ModelSettings),
        ("loss_weights", recipe.loss_weights(), LossWeights),
    ):
        for name, options in choices(type(own)):
            if name not in shared.model_fields:
                yield from ((f"{section}.{name}", o) for o in options if o != getattr(own, name))


def choices(settings: type[BaseModel]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the settings that are one of several values, with these."""
    for name, field in settings.model_fields.items():
        if get_origin(field.annotation) is Literal:
            yield name, get_args(field.annotation)
        elif field.annotation is bool:
            yield name, (True, False)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    f"{variant}-{name}": (variant, values)
    for variant in variant_names()
    for name, values in [*SHAPES.items(), *((f"{path}={v}", {path: v}) for path, v in alternatives(variant))]
}
ACTIVATIONS = {
    f"{variant}-{name}": (variant, {"model.activation": name})
    for variant in variant_names()
    for name in get_args(Activation)
}

every_variant = pytest.mark.parametrize("variant", variant_names())
every_kind = pytest.mark.parametrize(
    "config", [pytest.param(kind, id=name) for name, kind in KINDS.items()], indirect=True
)


def settings(variant: str, **values: Any) -> Config:
    """Return small settings; values are by path."""
    data: dict[str, Any] = {
        "model": {"model_type": variant, "latent_dim": 32, "encoder_layers": [12], "decoder_layers": [12]}
    }
    for path, value in values.items():
        set_path(data, path, value)
    return make_config(data, "contract")


@pytest.fixture
def config(request: pytest.FixtureRequest) -> Config:
    variant, values = request.param
    return settings(variant, **values)


def linear_maps() -> dict[tuple[str, str], LinearMap]:
    random = np.random.default_rng(3)
    return {
        (s, t): LinearMap(
            tuple(random.normal(size=shape).astype(np.float32) / 3 for shape in ((WIDTHS[s], 5), (5, WIDTHS[t]))),
            random.normal(size=WIDTHS[t]).astype(np.float32),
        )
        for s, t in DIRECTIONS
        if s != t
    }


def built(config: Config, seed: int = 0) -> CrossPlatformModel:
    torch.manual_seed(seed)
    return build_model(config, WIDTHS, linear_maps())


def after_a_step(model: CrossPlatformModel, config: Config) -> CrossPlatformModel:
    """Train once: what starts at zero hides what lies behind it."""
    loss(model, config).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad.sign()
    model.zero_grad()
    return model


def loss(model: CrossPlatformModel, config: Config) -> torch.Tensor:
    weights = config.term_weights()
    return torch.stack([weights[name] * value for name, value in model.train().terms(random_batch()).items()]).sum()


def random_batch(rows: int = ROWS) -> Batch:
    generator = torch.Generator().manual_seed(1)
    values = {p: torch.randn(rows, d, generator=generator) for p, d in WIDTHS.items()}
    observed = {p: torch.rand(rows, d, generator=generator) > 0.2 for p, d in WIDTHS.items()}
    return Batch(inputs=values, targets=values, observed=observed)


def seeded_terms(model: CrossPlatformModel, batch: Batch) -> dict[str, float]:
    """Return the terms of a copy, because a model may learn by being asked (batch norm, a codebook)."""
    torch.manual_seed(2)
    with torch.no_grad():
        return {name: value.item() for name, value in deepcopy(model).terms(batch).items()}


@every_kind
def test_terms_are_finite_scalars_and_each_has_a_weight(config: Config) -> None:
    for mode in (True, False):
        terms = built(config).train(mode).terms(random_batch())
        assert set(terms) == set(config.term_weights())
        for name, value in terms.items():
            assert value.shape == (), name
            assert torch.isfinite(value), name


@pytest.mark.parametrize(
    "config", [pytest.param(kind, id=name) for name, kind in (KINDS | ACTIVATIONS).items()], indirect=True
)
def test_every_parameter_learns_from_the_loss(config: Config) -> None:
    model = built(config)
    if config.model.linear_skip != "none":
        model = after_a_step(model, config)
    loss(model, config).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert gradients
    assert all(g is None or g.isfinite().all() for g in gradients.values())
    # Rounding errors, such as those of a bias before batch norm, are no gradient.
    idle = [name for name, g in gradients.items() if g is None or g.abs().max() < 1e-6]
    assert idle == []


@every_variant
def test_every_choice_of_a_weights_kind_changes_a_term(variant: str) -> None:
    defaults = settings(variant)
    for path, value in alternatives(variant):
        if path.startswith("loss_weights."):
            found = [
                seeded_terms(built(c).eval(), random_batch()) for c in (defaults, settings(variant, **{path: value}))
            ]
            assert found[0] != found[1], path


@every_kind
def test_asking_leaves_the_mode_as_it_was(config: Config) -> None:
    """A part that evaluates another one must not leave dropout on in validation, or off in training."""
    model = built(config)
    for mode in (True, False):
        model.train(mode).terms(random_batch())
        assert {part.training for part in model.modules()} == {mode}


@every_kind
def test_imputation_has_the_shape_of_the_target(config: Config) -> None:
    model, batch = built(config).eval(), random_batch()
    for source, target in DIRECTIONS:
        imputed = model.impute(batch.inputs[source], source, target)
        assert imputed.shape == (ROWS, WIDTHS[target])
        assert imputed.isfinite().all()


@every_kind
@pytest.mark.parametrize("answer", ["impute", "code"])
def test_evaluation_is_not_random(config: Config, answer: str) -> None:
    ask = asked(built(config).eval(), answer)
    torch.manual_seed(3)
    first = ask(random_batch().inputs)
    torch.manual_seed(4)
    torch.testing.assert_close(ask(random_batch().inputs), first, rtol=0, atol=0)


@every_kind
@pytest.mark.parametrize("answer", ["impute", "code"])
def test_a_row_is_evaluated_regardless_of_its_batch_mates(config: Config, answer: str) -> None:
    model = built(config).train()
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


@every_kind
def test_draws_are_those_of_a_seed_and_the_same_for_a_row_in_any_batch(config: Config) -> None:
    model = after_a_step(built(config), config).eval()
    batch = random_batch()
    without = next(iter(model.draws(batch.inputs["a"], "a", "b", 1)), None) is None
    if load_variant(config.model.model_type).build.__module__.startswith("cpivae."):
        assert without == (config.model.model_type in ("res_unet", "JointVQ")), "nothing in these two is random"
    for source, target in DIRECTIONS:

        def drawn(x: torch.Tensor, seed: int = 0, s: str = source, t: str = target) -> torch.Tensor:
            with torch.no_grad():
                return torch.stack([*model.draws(x, s, t, 4, seed)] or [torch.zeros(len(x), WIDTHS[t])])

        x = batch.inputs[source]
        torch.manual_seed(3)
        first = drawn(x)
        assert first.shape == (1 if without else 4, ROWS, WIDTHS[target])
        assert first.isfinite().all()
        torch.manual_seed(4)
        torch.testing.assert_close(drawn(x), first, rtol=0, atol=0)
        for i in (0, ROWS - 1):
            torch.testing.assert_close(drawn(x[i : i + 1])[:, 0], first[:, i], rtol=1e-4, atol=1e-5)
        if not without:
            assert (first.std(dim=0) > 0).any()
            assert not torch.allclose(drawn(x, seed=1), first)


def asked(model: CrossPlatformModel, answer: str) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """Return a function of {platform: rows} that puts all answers of one kind side by side: (B, anything)."""

    def impute(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([model.impute(inputs[s], s, t) for s, t in DIRECTIONS], dim=1)

    def code(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([model.code(inputs[p], p) for p in PLATFORMS], dim=1)

    return torch.no_grad()({"impute": impute, "code": code}[answer])


@every_kind
def test_weights_survive_a_file(config: Config, tmp_path: Path) -> None:
    batch = random_batch()
    model = after_a_step(built(config, seed=0), config)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = built(config, seed=1)
    untouched = asked(other.eval(), "impute")(batch.inputs)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    expected = asked(model.eval(), "impute")(batch.inputs)
    assert not torch.allclose(untouched, expected)
    torch.testing.assert_close(asked(other.eval(), "impute")(batch.inputs), expected, rtol=0, atol=0)
    assert seeded_terms(other, batch) == seeded_terms(model.eval(), batch)


@every_kind
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_no_term_reads_the_target_of_a_missing_cell(config: Config, training: bool) -> None:
    model, batch = built(config).train(training), random_batch()
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
