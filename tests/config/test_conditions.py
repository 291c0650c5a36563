"""Conditional settings and spaces that extend others: what is drawn together, what is one parameter, what is wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from cpivae.config.draws import sample
from cpivae.config.load import make_config, with_values
from cpivae.config.space import Space, load_space, make_space
from cpivae.config.tuning import TuningSettings
from cpivae.config.variants import load_variant, variant_names
from cpivae.config.yaml import dump_yaml, parse_yaml
from cpivae.errors import ConfigError
from cpivae.tuning.samplers import make_sampler

optuna.logging.set_verbosity(optuna.logging.ERROR)

CONFIG = make_config({}, "defaults")


def space(text: str) -> Space:
    return make_space(parse_yaml(text, "space"), CONFIG, "space")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        space(text)
    return caught.value.problems


def suggestions(searched: Space, n: int, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [searched.suggest(study.ask()) for _ in range(n)]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


NESTED = """
model.linear_skip: {choice: [none, ridge]}
model.latent_dim: {randint: [8, 16]}
when:
  model.linear_skip:
    none:
      model.batch_norm: {choice: [true, false]}
      when:
        model.batch_norm:
          false: {model.dropout_rate: {uniform: [0.1, 0.2]}}
    ridge:
      loss_weights.linear_skip_residual: {uniform: [1, 2]}
      model.latent_dim: {randint: [100, 110]}
"""


def test_a_setting_is_drawn_only_while_its_conditions_hold_and_the_innermost_line_counts() -> None:
    drawn = suggestions(space(NESTED), 200)
    seen = Counter()
    for values in drawn:
        seen[tuple(sorted(values))] += 1
        ridge = values["model.linear_skip"] == "ridge"
        assert ("loss_weights.linear_skip_residual" in values) == ridge
        assert ("model.batch_norm" in values) != ridge
        assert ("model.dropout_rate" in values) == (values.get("model.batch_norm") is False)
        assert (values["model.latent_dim"] >= 100) == ridge
        with_values(CONFIG, values)
    assert len(seen) == 3


def test_a_setting_with_two_ranges_is_two_parameters_and_with_one_range_one() -> None:
    names = sorted(space(NESTED).names.values())
    assert [n for n in names if n.startswith("model.latent_dim")] == ["model.latent_dim", "model.latent_dim (ridge)"]
    same = space(NESTED.replace("[100, 110]", "[8, 16]"))
    assert [n for n in same.names.values() if n.startswith("model.latent_dim")] == ["model.latent_dim"]


def test_either_of_two_values_meets_a_condition() -> None:
    searched = space(
        "training.batch_size: {choice: [16, 32, 64]}\n"
        "when: {training.batch_size: {16 | 64: {model.latent_dim: {randint: [8, 9]}}}}\n"
    )
    for values in suggestions(searched, 60):
        assert ("model.latent_dim" in values) == (values["training.batch_size"] != 32)


def test_a_choice_can_be_looked_for_wherever_it_stands() -> None:
    searched = space(
        "model.model_type: {choice: [joint_vae]}\nwhen: {model.model_type: {joint_vae: {extends: common}}}"
    )
    assert searched.may_choose("model.linear_skip", "ridge")
    assert not searched.may_choose("model.linear_skip", "lasso")
    assert not space("model.latent_dim: {randint: [1, 3]}").may_choose("model.latent_dim", 2)


def test_the_record_holds_what_was_extended_and_makes_the_same_space_again() -> None:
    searched = load_space("all_architectures", CONFIG)
    again = make_space(parse_yaml(dump_yaml(searched.text), "record"), CONFIG, "record")
    assert "extends" not in dump_yaml(searched.text)
    assert again.block == searched.block
    assert suggestions(again, 20) == suggestions(searched, 20)


# ------------------------------------------------------------------------------------------ extends


def test_a_line_of_ones_own_replaces_the_inherited_one_wherever_it_stands(tmp_path: Path) -> None:
    write(
        tmp_path,
        base=NESTED,
        own="extends: base.yaml\nloss_weights.linear_skip_residual: {uniform: [7, 8]}\n"
        "training.batch_size: {choice: [16, 32]}\n",
    )
    searched = load_space(tmp_path / "own.yaml", CONFIG)
    residuals = [v.get("loss_weights.linear_skip_residual") for v in suggestions(searched, 50)]
    assert None in residuals
    assert all(7 <= r <= 8 for r in residuals if r is not None)
    assert all("training.batch_size" in v for v in suggestions(searched, 5))


def test_narrowing_an_inherited_choice_drops_what_belonged_to_the_rest(tmp_path: Path) -> None:
    write(tmp_path, own="extends: all_architectures\nmodel.model_type: {choice: [JointIWAE, res_unet]}\n")
    searched = load_space(tmp_path / "own.yaml", CONFIG)
    assert {v["model.model_type"] for v in suggestions(searched, 40)} == {"JointIWAE", "res_unet"}
    assert "codebook" not in dump_yaml(searched.text)


def test_of_several_extended_spaces_the_later_wins_and_conditions_are_joined(tmp_path: Path) -> None:
    write(
        tmp_path,
        one="model.latent_dim: {choice: [1]}\nmodel.linear_skip: {choice: [none, ridge]}\n"
        "when: {model.linear_skip: {ridge: {model.dropout_rate: {uniform: [0.1, 0.2]}}}}\n",
        two="model.latent_dim: {choice: [2]}\n",
        own="extends: [one.yaml, two.yaml]\n"
        "when: {model.linear_skip: {ridge: {loss_weights.linear_skip_residual: {uniform: [1, 2]}}}}\n",
    )
    for values in suggestions(load_space(tmp_path / "own.yaml", CONFIG), 20):
        assert values["model.latent_dim"] == 2
        assert len(values) == (4 if values["model.linear_skip"] == "ridge" else 2)


def test_files_are_looked_for_beside_the_one_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", base="extends: further.yaml\n", further="model.latent_dim: {choice: [3]}\n")
    write(tmp_path, own="extends: inner/base.yaml\n")
    assert suggestions(load_space(tmp_path / "own.yaml", CONFIG), 1) == [{"model.latent_dim": 3}]


# ------------------------------------------------------------------------------------------ refusals


def test_files_that_extend_one_another_in_a_circle(tmp_path: Path) -> None:
    write(tmp_path, one="extends: two.yaml\n", two="when: {a: {b: {extends: one.yaml}}}\n")
    with pytest.raises(ConfigError, match=r"extends itself: one\.yaml -> two\.yaml -> one\.yaml"):
        load_space(tmp_path / "one.yaml", CONFIG)


REFUSED = {
    "extends: comon": "comon: there is no such file, nor a shipped one of that name. Did you mean 'common'?",
    "extends: 3": "extends: must be the name of a space, or a list of names, got 3",
    "extends: [common, [smoke]]": "extends: must be the name of a space",
    "when: 3": "when: must have the form {setting: {value: {lines that hold then}}}, got 3",
    "when: {model.batch_norm: true}": "when model.batch_norm: must have the form",
    "when: {model.batch_norm: {true: null}}": "when model.batch_norm is true: must have the form",
    "when: {model.linear_skip: {ridge: {}}}": (
        "model.linear_skip (when model.linear_skip is ridge): is no choice of this space, neither here"
    ),
    "model.latent_dim: {randint: [1, 2]}\nwhen: {model.latent_dim: {1: {}}}": "is 1): is no choice",
    "model.linear_skip: {choice: [none]}\nwhen: {model.linear_skip: {rigde: {}}}": (
        "model.linear_skip (when model.linear_skip is rigde): never has the value rigde; it may be none"
    ),
    "model.linear_skip: {choice: [none, ridge]}\nwhen: {model.linear_skip: {rigde: {}}}": "Did you mean 'ridge'?",
    "model.activation: {choice: [relu, gelu]}\n"
    "when: {model.activation: {relu: {when: {model.activation: {gelu: {model.latent_dim: {choice: [8]}}}}}}}": (
        "model.activation (when model.activation is relu and model.activation is gelu): can never hold"
    ),
    "model.batch_norm: {choice: [true, false]}\n"
    "when: {model.batch_norm: {true: {model.latent_dim: {randint: [0, 2]}}}}": (
        "model.latent_dim (when model.batch_norm is true): input should be greater than or equal to 1, got 0"
    ),
    "model.batch_norm: {choice: [true, false]}\nmodel.linear_skip: {choice: [none, ridge]}\n"
    "when: {model.batch_norm: {true: {model.latent_dim: {randint: [1, 2]}}}, "
    "model.linear_skip: {ridge: {model.latent_dim: {randint: [3, 4]}}}}": (
        "model.latent_dim (when model.batch_norm is true): given twice: both this and model.linear_skip is ridge may"
    ),
    "model.batch_norm: {choice: [true, false]}\n"
    "when: {model.batch_norm: {true: {model.batch_norm: {choice: [false]}}}}": "decides a condition",
    "model.batch_norm: {choice: [true, false]}\nwhen: {model.batch_norm: "
    "{true: {model.latent_dim: {choice: [1]}}, true | false: {model.latent_dim: {choice: [2]}}}}": (
        "when model.batch_norm is true: model.latent_dim is given twice"
    ),
    "model.linear_skip: {choice: []}\nwhen: {model.linear_skip: {ridge: {model.latent_dim: {choice: [0]}}}}": (
        "model.linear_skip: choice needs a list of at least one value"
    ),
    "model.activation: {choice: [relu, gelu]}\nmodel.batch_norm: {choice: [true, false]}\n"
    "model.use_residual_blocks: {choice: [true, false]}\n"
    "when:\n  model.batch_norm: {true: {when: {model.activation: {relu: {model.latent_dim: {choice: [8]}}}}}}\n"
    "  model.use_residual_blocks: {true: {model.activation: {choice: [silu]}}}": (
        "model.activation (when model.batch_norm is true): given twice: both this and model.use_residual_blocks is true"
    ),
    "loss_weights.kl_divergence_ramp.shape: {choice: [cyclical]}\n"
    "loss_weights.kl_divergence_ramp.epochs: {randint: [1, 25]}": "a cycle of 1 epoch never rises",
    "model.model_type: {choice: [generative_vae]}\nwhen: {model.model_type: {generative_vae: "
    "{model.diffusion_steps: {randint: [5, 500]}, model.sampling_steps: {randint: [1, 100]}}}}": (
        "ranges that do not go together: model: sampling_steps must be at most diffusion_steps ("
    ),
    "model.code_dim: {choice: [2]}": "model.code_dim: is a setting of JointVQ; the model here is joint_vae",
    "model.model_type: {choice: [joint_vae, JointVQ]}\n"
    "when: {model.model_type: {joint_vae: {model.code_dim: {choice: [2]}}}}": (
        "model.code_dim (when model.model_type is joint_vae): is a setting of JointVQ; the model here is joint_vae"
    ),
    "model.model_type: {choice: [joint_vae, JointVQ]}\n"
    "when: {model.model_type: {JointVQ: {loss_weights.alignment_type: {choice: [kl_divergence]}}}}": (
        "loss_weights.alignment_type (when model.model_type is JointVQ): input should be 'mse' or 'mmd'"
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=[reason[:60] for reason in REFUSED.values()])
def test_what_is_refused_and_why(text: str) -> None:
    (problem,) = problems(text)
    assert REFUSED[text] in problem


def test_a_value_is_refused_only_if_nothing_that_may_go_with_it_makes_it_possible() -> None:
    config = make_config({"model": {"model_type": "generative_vae"}}, "generative")
    steps = {"model.sampling_steps": {"randint": [150, 200]}, "model.diffusion_steps": {"randint": [300, 500]}}
    assert make_space(steps, config, "space").may_choose("model.sampling_steps", 150) is False
    with pytest.raises(ConfigError, match="sampling_steps must be at most diffusion_steps"):
        make_space({"model.sampling_steps": {"randint": [150, 200]}}, config, "space")


def test_a_value_that_only_the_settings_under_its_own_condition_make_possible_is_accepted() -> None:
    config = make_config({"model": {"model_type": "generative_vae", "diffusion_steps": 100}}, "generative")
    text: dict[str, Any] = {"model.sampling_steps": {"choice": [50, 150]}}
    with pytest.raises(ConfigError, match="sampling_steps must be at most diffusion_steps"):
        make_space(text, config, "space")
    text["when"] = {"model.sampling_steps": {150: {"model.diffusion_steps": {"choice": [200, 300]}}}}
    made = suggestions(make_space(text, config, "space"), 30)
    assert {v.get("model.diffusion_steps") for v in made if v["model.sampling_steps"] == 150} == {200, 300}
    assert all("model.diffusion_steps" not in v for v in made if v["model.sampling_steps"] == 50)


def test_either_of_two_numbers_however_they_are_written() -> None:
    text = {
        "model.dropout_rate": {"choice": [0.1, 0.01, 0.2]},
        "when": {"model.dropout_rate": {"0.10 | 1e-2": {"model.latent_dim": {"choice": [3]}}}},
    }
    made = suggestions(make_space(text, CONFIG, "space"), 30)
    assert {v["model.dropout_rate"] for v in made if "model.latent_dim" in v} == {0.1, 0.01}


def test_what_another_model_cannot_take_over_is_left_behind() -> None:
    config = make_config({"loss_weights": {"alignment_type": "kl_divergence"}}, "kl")
    searched = load_space("all_architectures", config)
    fixed = make_space({"model.model_type": {"choice": ["JointVQ", "JointIWAE"]}}, config, "space")
    for made in (searched, fixed):
        for values in suggestions(made, 30):
            assert with_values(config, values).model.model_type == values["model.model_type"]
    kept, left = (with_values(config, {"model.model_type": name}).loss_weights for name in ("JointIWAE", "JointVQ"))
    assert (kept.alignment_type, left.alignment_type) == ("kl_divergence", "mse")  # type: ignore[attr-defined]


def test_a_folder_of_a_spaces_name_is_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "joint_vae").mkdir()
    (tmp_path / "common").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_space("joint_vae", CONFIG).block.parameters


def test_what_is_wrong_in_a_shared_file_is_told_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        shared="model.latent_dims: {choice: [1]}\n",
        own="model.batch_norm: {choice: [true, false]}\n"
        "when: {model.batch_norm: {true: {extends: shared.yaml}, false: {extends: shared.yaml}}}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_space(tmp_path / "own.yaml", CONFIG)
    (problem,) = caught.value.problems
    assert "Did you mean 'model.latent_dim'?" in problem


# ------------------------------------------------------------------------------------------ shipped spaces


@pytest.mark.parametrize("variant", variant_names())
def test_a_variants_space_searches_its_every_weight_and_whether_ridge_helps(variant: str) -> None:
    config = make_config({"model": {"model_type": variant}}, variant)
    paths = {path for _, path, _ in load_space(variant, config).block.places()}
    recipe = load_variant(variant)
    assert {f"loss_weights.{term}" for term in recipe.loss_weights.terms()} <= paths
    assert {f"loss_weights.{term}_ramp.shape" for term in recipe.loss_weights().ramps()} <= paths
    assert "model.linear_skip" in paths


SHIPPED = [*variant_names(), "all_architectures", "common", "smoke"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_ten_thousand_suggestions_from_a_shipped_space_are_valid(name: str) -> None:
    base = make_config({"model": {"model_type": name if name in variant_names() else "joint_vae"}}, name)
    searched = load_space(name, base)
    for dice in sample(10_000, seed=1):
        with_values(base, searched.suggest(dice))


@pytest.mark.parametrize("name", SHIPPED)
def test_suggestions_from_a_shipped_space_are_what_the_settings_then_hold(name: str) -> None:
    variant = name if name in variant_names() else "joint_vae"
    base = make_config({"model": {"model_type": variant}}, name)
    for values in suggestions(load_space(name, base), 300):
        config = with_values(base, values)
        for path, value in values.items():
            section, *keys = path.split(".")
            found = getattr(config, section)
            for key in keys:
                found = getattr(found, key)
            assert found == (tuple(value) if isinstance(value, list) else value)
        weights = {path for path in values if path.removeprefix("loss_weights.") in config.loss_weights.terms()}
        assert weights <= {f"loss_weights.{term}" for term in config.term_weights()}  # none that does nothing


def test_every_architecture_is_in_the_space_over_all() -> None:
    drawn = suggestions(load_space("all_architectures", CONFIG), 300)
    assert {values["model.model_type"] for values in drawn} == set(variant_names())
    assert all(next(iter(values)) == "model.model_type" for values in drawn)


def test_a_sampler_learns_over_all_architectures() -> None:
    """Sixty rounds of what a sweep does, scored by a rule that only one branch can follow."""
    searched = load_space("all_architectures", CONFIG)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(TuningSettings(startup_trials=20), 1))
    chosen = []
    for _ in range(60):
        trial = study.ask()
        values = searched.suggest(trial)
        chosen.append(values["model.model_type"])
        study.tell(trial, values.get("model.codebook_size", 0) / 512)
    assert chosen[30:].count("JointVQ") > 2 * 30 / 8
