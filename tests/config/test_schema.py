"""The typed settings: what they accept, what they refuse, and what they derive."""

from typing import Any

import pytest
from pydantic import ValidationError

from cpivae.config.base import Ramp, Section
from cpivae.config.load import make_config
from cpivae.config.schema import Config
from cpivae.config.variant_class import config_class
from cpivae.config.variants import load_variant, variant_names
from cpivae.errors import ConfigError
from cpivae.names import STATISTICS, Goal


def changed(path: str, value: Any) -> Config:
    section, *inner = path.split(".")
    for key in reversed(inner):
        value = {key: value}
    return make_config({section: value}, "settings")


def refusal(path: str, value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        changed(path, value)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


# ---------------------------------------------------------------------------------------------- types and bounds


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.latent_dim", True),
        ("model.latent_dim", 8.0),
        ("model.latent_dim", "8"),
        ("model.batch_norm", 1),
        ("model.batch_norm", "true"),
        ("model.dropout_rate", True),
        ("model.dropout_rate", "0.1"),
        ("model.encoder_layers", 64),
        ("model.encoder_layers", "64"),
        ("training.learning_rate", "fast"),
        ("training.learning_rate", float("nan")),
        ("training.learning_rate", float("inf")),
        ("training.seed", 1.5),
        ("data.groups", 3),
        ("data.samples_table", 3),
        ("tuning.cpus_per_trial", True),
    ],
)
def test_types_are_not_guessed(path: str, value: Any) -> None:
    problem = refusal(path, value)
    assert problem.startswith(f"{path}: ")
    assert problem.endswith(f"got {value!r}" if not isinstance(value, str) else f"got '{value}' (text)")


def test_whole_numbers_are_numbers() -> None:
    assert changed("model.dropout_rate", 0).model.dropout_rate == 0.0
    assert type(changed("training.learning_rate", 1).training.learning_rate) is float


@pytest.mark.parametrize(
    ("path", "inside", "outside"),
    [
        ("model.latent_dim", [1, 65_536], [0, 65_537]),
        ("model.dropout_rate", [0.0, 0.999], [-1e-9, 1.0]),
        ("model.encoder_layers", [[], [1], [65_536, 2]], [[0], [65_537]]),
        ("loss_weights.reconstruction", [0.0, 1e6], [-1e-9]),
        ("training.max_epochs", [1], [0]),
        ("training.batch_size", [3], [2, 0]),  # two could leave a batch of one row
        ("training.learning_rate", [1e-12, 10], [0, 10.1]),
        ("training.gradient_clip_val", [None, 1e-6], [0]),
        ("training.data_augmentation.gaussian_noise_std", [0, 10], [-0.1, 10.1]),
        ("training.seed", [0, 2**32 - 1], [-1, 2**32]),
        ("data.random_seed", [0, 2**32 - 1], [-1, 2**32]),
        ("hardware.devices", [1], [0]),
        ("hardware.threads", [None, 1], [0]),
        ("tuning.seed", [0, 2**31 - 1], [-1, 2**31]),
        ("tuning.asha.reduction_factor", [2], [1]),
        ("tuning.gpus_per_trial", [0, 0.25, "auto"], [-1, "all", None]),
        ("tuning.cpus_per_trial", [0.5, "auto"], [0, "all", float("nan")]),
    ],
)
def test_bounds(path: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        changed(path, value)
    for value in outside:
        assert refusal(path, value).startswith(path)


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("model.activation", "swish", "'gelu'"),
        ("loss_weights.alignment_type", "cosine", "'mmd'"),
        ("training.optimizer", "sgd", "'adamw'"),
        ("training.scheduler", "step", "'cosine'"),
        ("data.normalization_method", "standard", "'zscore'"),
        ("data.missing_value_strategy", "zero", "'median'"),
        ("hardware.accelerator", "tpu", "'cpu'"),
        ("callbacks.model_checkpoint.mode", "maximum", "'max'"),
    ],
)
def test_words_name_the_allowed_ones(path: str, value: str, allowed: str) -> None:
    problem = refusal(path, value)
    assert problem.startswith(f"{path}: ")
    assert allowed in problem
    assert f"'{value}'" in problem


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        (32, "32-true"),
        ("64", "64-true"),
        ("16-mixed", "16-mixed"),
    ],
)
def test_precision_in_lightnings_short_forms(given: int | str, meant: str) -> None:
    assert changed("hardware.precision", given).hardware.precision == meant


@pytest.mark.parametrize("value", [8, 16.0, "fp16", True, None])
def test_other_precisions(value: Any) -> None:
    assert refusal("hardware.precision", value).startswith("hardware.precision: ")


def test_settings_are_frozen_all_the_way_down() -> None:
    config = make_config({}, "defaults")
    for section in (config, config.model, config.training.data_augmentation, config.data.splits):
        name = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, getattr(section, name))
    assert isinstance(config.model.encoder_layers, tuple)


def sections(of: type[Section]) -> list[type[Section]]:
    inner = [f.annotation for f in of.model_fields.values() if isinstance(f.annotation, type)]
    below = [s for kind in inner if issubclass(kind, Section) for s in sections(kind)]
    return [of, *below]


@pytest.mark.parametrize("variant", variant_names())
def test_every_setting_is_explained(variant: str) -> None:
    found = sections(config_class(variant))
    assert len(found) >= 17
    for section in found:
        assert section.__doc__ or section is config_class(variant)
        for name, field in section.model_fields.items():
            is_section = isinstance(field.annotation, type) and issubclass(field.annotation, Section)
            assert is_section or field.description, f"{section.__name__}.{name}"


# ---------------------------------------------------------------------------------------------- combinations


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"training": {"max_epochs": 3, "stop_epoch": 4}}, "training: stop_epoch is 4, but max_epochs is only 3"),
        ({"data": {"splits": {"train": 0.5}}}, "data.splits: train + val + test is 0.8"),
        ({"data": {"splits": {"train": 1, "val": 0, "test": 0}}}, "data.splits.val: input should be greater than 0"),
        ({"data": {"groups": "subject"}}, "data: groups and samples_table go together"),
        ({"data": {"samples_table": "samples.csv"}}, "data: groups and samples_table go together"),
        ({"hardware": {"precision": 16, "accelerator": "cpu"}}, "hardware.precision: 16-mixed needs a GPU"),
        (
            {"tuning": {"metric": "val_cross_a_cor_mean"}},
            "tuning.metric: no epoch reports a metric 'val_cross_a_cor_mean'. Did you mean 'val_cross_a_corr_mean'?",
        ),
        (
            {"callbacks": {"early_stopping": {"monitor": "val_total_los"}}},
            "callbacks.early_stopping.monitor: no epoch reports a metric 'val_total_los'. "
            "Did you mean 'val_total_loss'?",
        ),
        (
            {"callbacks": {"model_checkpoint": {"monitor": "train_total_loss"}}},
            "callbacks.model_checkpoint.monitor: no epoch reports a metric 'train_total_loss'",
        ),
    ],
)
def test_impossible_combinations(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(data, "settings")
    assert any(problem.startswith(expected) for problem in caught.value.problems), caught.value.problems


def test_the_neighbours_of_impossible_combinations_are_possible() -> None:
    make_config({"training": {"max_epochs": 3, "stop_epoch": 3}}, "settings")
    make_config({"data": {"splits": {"train": 0.8, "val": 0.2, "test": 0}}}, "settings")
    make_config({"data": {"groups": "subject", "samples_table": "samples.csv"}}, "settings")
    make_config({"hardware": {"precision": 16, "accelerator": "gpu"}}, "settings")
    make_config({"hardware": {"precision": "bf16", "accelerator": "cpu"}}, "settings")


@pytest.mark.parametrize("variant", variant_names())
def test_a_loss_of_nothing_is_refused_and_of_one_term_accepted(variant: str) -> None:
    model = {"model_type": variant}
    terms = list(make_config({"model": model}, "settings").term_weights())
    with pytest.raises(ConfigError, match="every weight is zero"):
        make_config({"model": model, "loss_weights": dict.fromkeys(terms, 0)}, "settings")
    for term in terms:
        weights = dict.fromkeys(terms, 0.0) | {term: 1.0}
        assert make_config({"model": model, "loss_weights": weights}, "settings").term_weights() == weights


def test_a_term_that_the_model_lacks_does_not_count() -> None:
    """With decoder_type ddpm there is no critic, so its weight alone is a loss of nothing."""
    terms = dict.fromkeys(load_variant("generative_vae").loss_weights.terms(), 0.0) | {"critic": 1.0}
    model = {"model_type": "generative_vae", "decoder_type": "ddpm"}
    with pytest.raises(ConfigError, match="every weight is zero"):
        make_config({"model": model, "loss_weights": terms}, "settings")
    config = make_config({"model": model | {"decoder_type": "gan"}, "loss_weights": terms}, "settings")
    assert config.term_weights()["critic"] == 1.0
    assert "val_noise_prediction_loss" not in config.metric_keys()


# ---------------------------------------------------------------------------------------------- what is derived


@pytest.mark.parametrize("variant", variant_names())
def test_metric_keys_are_distinct_and_complete(variant: str) -> None:
    config = make_config({"model": {"model_type": variant}}, "settings")
    keys = config.metric_keys()
    assert len(keys) == len(set(keys)) == 1 + len(config.term_weights()) + 4 * len(STATISTICS)
    assert {"val_total_loss", "val_recon_a_corr", "val_cross_a_corr_mean", "val_recon_b_rmse"} <= set(keys)


def test_directions_of_goals() -> None:
    goal = {
        m: changed("tuning.metric", m).tuning.goal() for m in ("val_total_loss", "val_cross_b_rmse", "val_recon_a_r2")
    }
    assert [g.mode for g in goal.values()] == ["min", "min", "max"]
    forced = make_config({"callbacks": {"model_checkpoint": {"mode": "min"}}}, "settings")
    assert forced.callbacks.model_checkpoint.goal() == Goal("val_cross_a_corr_mean", "min")


def test_early_stopping_follows_the_checkpoint_unless_told() -> None:
    config = changed("callbacks.model_checkpoint.monitor", "val_total_loss")
    assert config.callbacks.stopping_goal() == Goal("val_total_loss", "min")
    own = changed("callbacks.early_stopping.monitor", "val_total_loss")
    assert own.callbacks.stopping_goal() == Goal("val_total_loss", "min")
    assert own.callbacks.model_checkpoint.goal() == Goal("val_cross_a_corr_mean", "max")


def test_unknown_variants_get_a_hint() -> None:
    with pytest.raises(
        ConfigError, match=r"model 'joint_vea' is unknown\. Did you mean 'joint_vae'\? Known: joint_vae"
    ):
        config_class("joint_vea")


def test_what_counts_as_better() -> None:
    up, down, nan = Goal("r", "max"), Goal("loss", "min"), float("nan")
    assert up.better(2, 1) and not up.better(1, 1) and not up.better(1, 2)
    assert down.better(1, 2) and not down.better(2, 2) and not down.better(2, 1)
    for goal in (up, down):
        assert goal.better(0, nan) and not goal.better(nan, 0) and not goal.better(nan, nan)


# ---------------------------------------------------------------------------------------------- ramps


@pytest.mark.parametrize(
    ("ramp", "factors"),
    [
        (Ramp(), [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (Ramp(shape="linear", epochs=4), [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        (Ramp(shape="linear", epochs=1), [0, 1, 1, 1, 1, 1, 1, 1, 1]),
        (Ramp(shape="cyclical", epochs=4), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0]),
        (Ramp(shape="cyclical", epochs=2), [0, 1, 0, 1, 0, 1, 0, 1, 0]),
    ],
)
def test_a_ramp_rises_as_its_shape_says(ramp: Ramp, factors: list[float]) -> None:
    """Cyclical: Fu et al. 2019, eq. 6 with R = 1/2."""
    assert [ramp.factor(epoch) for epoch in range(9)] == factors


def test_a_cycle_needs_room_to_rise() -> None:
    problem = refusal("loss_weights.kl_divergence_ramp", {"shape": "cyclical", "epochs": 1})
    assert problem.startswith("loss_weights.kl_divergence_ramp: a cycle of 1 epoch never rises")
