"""The registry: names however they are spelt, whose setting it is, and what survives a change of model."""

from __future__ import annotations

import pytest

from cpivae.config.base import LossWeights, ModelSettings
from cpivae.config.load import load_config, make_config, with_values
from cpivae.config.variants import load_variant, variant_name, variant_names
from cpivae.errors import ConfigError

OTHERS = [(own, other) for own in variant_names() for other in variant_names() if own != other]


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("joint_vae", "joint_vae"),
        ("JointVAE", "joint_vae"),
        ("joint-vae-plus", "joint_vae_plus"),
        ("jointvaevampprior", "JointVAEVampPrior"),
        ("joint_vae_vamp_prior", "JointVAEVampPrior"),
        ("joint_iwae", "JointIWAE"),
        ("jointvq", "JointVQ"),
        ("joint_mm", "JointMM"),
        ("ResUNet", "res_unet"),
        ("GenerativeVAE", "generative_vae"),
    ],
)
def test_a_name_may_be_spelt_in_lower_or_snake_case(spelt: str, name: str) -> None:
    assert variant_name(spelt) == name
    assert make_config({"model": {"model_type": spelt}}, "settings").model.model_type == name
    assert load_config(spelt) == load_config(name)


@pytest.mark.parametrize("wrong", ["", "vae", "joint_vae_plusplus", "JointIWAEE", "3"])
def test_an_unknown_name_is_answered_with_all_names(wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_config({"model": {"model_type": wrong}}, "settings")
    assert f"model '{wrong}' is unknown" in str(error.value)
    assert all(name in str(error.value) for name in variant_names())


@pytest.mark.parametrize(("own", "other"), OTHERS)
def test_a_setting_of_another_model_is_refused_with_its_owners(own: str, other: str) -> None:
    mine, theirs = load_variant(own), load_variant(other)
    foreign = [("model", n) for n in theirs.settings.model_fields if n not in mine.settings.model_fields]
    foreign += [
        ("loss_weights", n) for n in theirs.loss_weights.model_fields if n not in mine.loss_weights.model_fields
    ]
    for section, name in foreign:
        data = {"model": {"model_type": own}}
        data.setdefault(section, {})[name] = 1  # type: ignore[assignment]
        with pytest.raises(ConfigError) as error:
            make_config(data, "settings")
        (problem,) = (p for p in error.value.problems if p.startswith(f"{section}.{name}:"))
        assert "is a setting of" in problem
        assert other in problem
        assert problem.endswith(f"the model here is {own}")


@pytest.mark.parametrize("variant", variant_names())
def test_an_impossible_size_is_refused_with_the_allowed_range(variant: str) -> None:
    """Every number of a variant has bounds: none may be below zero, and no count of a thing may be nought."""
    recipe, tried = load_variant(variant), 0
    for section, settings in (("model", recipe.settings), ("loss_weights", recipe.loss_weights)):
        for name, field in settings.model_fields.items():
            if field.annotation not in (int, float):
                continue
            data: dict[str, dict[str, object]] = {"model": {"model_type": variant}}
            data.setdefault(section, {})[name] = -1
            with pytest.raises(ConfigError) as error:
                make_config(data, "settings")
            (problem,) = error.value.problems
            assert problem.startswith(f"{section}.{name}: input should be greater than")
            assert problem.endswith("got -1")
            tried += 1
    assert tried > 2


@pytest.mark.parametrize(
    ("variant", "name", "value", "allowed"),
    [
        ("joint_vae", "latent_dim", 0, "greater than or equal to 1"),
        ("joint_vae", "latent_dim", 10**6, "less than or equal to 65536"),
        ("joint_vae", "encoder_layers", [0], "greater than or equal to 1"),
        ("JointVQ", "codebook_size", 1, "greater than or equal to 2"),
        ("JointVQ", "code_dim", 0, "greater than or equal to 1"),
        ("JointIWAE", "n_draws", 0, "greater than or equal to 1"),
        ("JointMM", "noise_scale", 0, "greater than 0"),
        ("JointVAEVampPrior", "n_components", 0, "greater than or equal to 1"),
        ("joint_vae_plus", "n_flows", 65, "less than or equal to 64"),
        ("generative_vae", "diffusion_steps", 1, "greater than or equal to 2"),
        ("generative_vae", "sampling_steps", 101, "sampling_steps must be at most diffusion_steps (100)"),
    ],
)
def test_sizes_that_no_network_can_have(variant: str, name: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_config({"model": {"model_type": variant, name: value}}, "settings")
    (problem,) = error.value.problems
    assert allowed in problem


def test_every_model_has_the_shared_settings() -> None:
    for name in variant_names():
        recipe = load_variant(name)
        assert set(ModelSettings.model_fields) <= set(recipe.settings.model_fields)
        assert set(LossWeights.model_fields) <= set(recipe.loss_weights.model_fields)
        assert set(recipe.loss_weights().ramps()) <= set(recipe.loss_weights.terms())
        assert recipe.summary and recipe.parts and recipe.paper


def test_another_model_takes_its_own_defaults_and_what_was_chosen_on_purpose() -> None:
    config = make_config(
        {
            "model": {"dropout_rate": 0.3, "decoder_layers": [64]},
            "loss_weights": {"cross_reconstruction": 2.0, "kl_divergence": 0.5},
            "training": {"learning_rate": 1e-4},
        },
        "settings",
    )
    other = with_values(config, {"model.model_type": "joint_iwae", "model.n_draws": 3})
    assert other.model.model_type == "JointIWAE"
    assert (other.model.dropout_rate, other.model.decoder_layers) == (0.3, (64,))
    assert other.loss_weights.by_term(other.model)["cross_reconstruction"] == 2.0
    assert other.training.learning_rate == 1e-4
    plus = with_values(config, {"model.model_type": "joint_vae_plus"})
    assert plus.model.decoder_layers == (64,)
    untouched = with_values(make_config({}, "settings"), {"model.model_type": "joint_vae_plus"})
    assert untouched == load_config("joint_vae_plus")
    assert with_values(config, {"model.model_type": "joint_vae"}) == config
