"""From YAML and --set to settings: everything wrong is said at once, and everything right survives the round trip."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.config.load import load_config, make_config, parse_override, set_path, to_plain, to_yaml, with_values
from cpivae.config.variants import variant_names
from cpivae.config.yaml import dump_yaml, parse_yaml
from cpivae.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make_config(data, "my.yaml")
    return caught.value.problems


def leaves(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


DEFAULTS = leaves(to_plain(make_config({}, "defaults")))

# ---------------------------------------------------------------------------------------------- problems


def test_every_unknown_key_and_wrong_type_is_reported_at_once() -> None:
    found = problems(
        {
            "model": {"latent_dims": 8, "dropout_rate": "high"},
            "training": {"max_epoch": 3, "data_augmentation": {"gaussian_noise": 0.1}},
            "data": {"log_transform": {"platform_a": {"enable": True}}, "splits": {"train": 2}},
            "trainig": {},
            "tuning": {"asha": {"zzzz": 1}},
        }
    )
    assert sorted(line.split(": ")[0] for line in found) == [
        "data.log_transform.platform_a.enable",
        "data.splits.train",
        "model.dropout_rate",
        "model.latent_dims",
        "trainig",
        "training.data_augmentation.gaussian_noise",
        "training.max_epoch",
        "tuning.asha.zzzz",
    ]
    assert "model.latent_dims: unknown setting. Did you mean 'latent_dim'?" in found
    assert "training.max_epoch: unknown setting. Did you mean 'max_epochs'?" in found
    assert "trainig: unknown setting. Did you mean 'training'?" in found
    assert "data.log_transform.platform_a.enable: unknown setting. Did you mean 'enabled'?" in found
    assert "tuning.asha.zzzz: unknown setting. Known here: grace_period, reduction_factor, max_t, brackets" in found
    assert "model.dropout_rate: input should be a valid number, got 'high' (text)" in found


def test_impossible_combinations_are_reported_beside_unknown_keys() -> None:
    weights = ("reconstruction", "kl_divergence", "cross_reconstruction", "latent_alignment")
    found = problems(
        {
            "training": {"max_epoch": 5},
            "loss_weights": dict.fromkeys(weights, 0),
            "hardware": {"precision": 16, "accelerator": "cpu"},
            "tuning": {"metric": "val_cross_a_cor_mean"},
        }
    )
    assert sorted(line.split(": ")[0] for line in found) == [
        "hardware.precision",
        "loss_weights",
        "training.max_epoch",
        "tuning.metric",
    ]


def test_an_unknown_variant_does_not_hide_other_problems() -> None:
    found = problems({"model": {"model_type": "joint_vea"}, "training": {"max_epoch": 3}, "data": {"groups": 3}})
    assert len(found) == 3
    assert found[0].startswith("model.model_type: model 'joint_vea' is unknown. Did you mean 'joint_vae'?")
    assert {line.split(": ")[0] for line in found[1:]} == {"training.max_epoch", "data.groups"}


@pytest.mark.parametrize("model", [3, None, [], "joint_vae"])
def test_a_section_that_is_a_value(model: Any) -> None:
    assert [line.split(": ")[0] for line in problems({"model": model})] == ["model"]


def test_one_problem_is_one_line_and_several_are_a_list() -> None:
    with pytest.raises(ConfigError) as one:
        make_config({"modle": {}}, "my.yaml")
    assert str(one.value) == "my.yaml: modle: unknown setting. Did you mean 'model'?"
    with pytest.raises(ConfigError) as two:
        make_config({"modle": {}, "dta": {}}, "my.yaml")
    assert str(two.value).splitlines() == [
        "my.yaml: 2 problems",
        "  - modle: unknown setting. Did you mean 'model'?",
        "  - dta: unknown setting. Did you mean 'data'?",
    ]


yaml_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
sections = st.sampled_from(sorted({path.rpartition(".")[0] for path in DEFAULTS} | set(DEFAULTS)))


@given(st.dictionaries(sections, yaml_like, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_data_is_accepted_or_answered(values: dict[str, Any]) -> None:
    try:
        data: dict[str, Any] = {}
        for path, value in values.items():
            set_path(data, path, value)
        config = make_config(data, "fuzz")
    except ConfigError as error:
        assert error.problems
        assert all(error.problems)
    else:
        assert make_config(to_plain(config), "again") == config


# ---------------------------------------------------------------------------------------------- overrides


def test_there_are_as_many_settings_as_we_think() -> None:
    assert len(DEFAULTS) >= 60


@pytest.mark.parametrize("path", DEFAULTS)
def test_setting_a_default_changes_nothing(path: str) -> None:
    text = dump_yaml(DEFAULTS[path]).removesuffix("...\n").strip()
    assert load_config("default", [f"{path}={text}"]) == make_config({}, "defaults")


OTHER_VALUES = {
    "model.encoder_layers": "[7, 5]",
    "model.batch_norm": "off",
    "loss_weights.alignment_type": "mmd",
    "training.learning_rate": "1e-8",
    "training.data_augmentation.gaussian_noise_std": "0",
    "training.gradient_clip_val": "null",
    "data.log_transform.platform_b.enabled": "true",
    "hardware.precision": "16",
    "callbacks.early_stopping.monitor": "val_total_loss",
    "tuning.asha.grace_period": "2",
}


@pytest.mark.parametrize("path", OTHER_VALUES)
def test_an_override_changes_its_setting_and_no_other(path: str) -> None:
    config = load_config("default", [f"{path}={OTHER_VALUES[path]}"])
    now = leaves(to_plain(config))
    assert {name for name in DEFAULTS if now[name] != DEFAULTS[name]} == {path}


def test_the_last_of_two_overrides_counts() -> None:
    assert load_config("default", ["training.seed=1", "training.seed = 2"]).training.seed == 2


def test_overrides_reach_sections_the_file_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training: {seed: 3}\n")
    config = load_config(tmp_path / "c.yaml", ["tuning.asha.grace_period=2", "training.max_epochs=7"])
    assert (config.tuning.asha.grace_period, config.training.seed, config.training.max_epochs) == (2, 3, 7)


def test_an_override_leaves_an_aliased_section_alone(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("data: {log_transform: {platform_a: &x {enabled: true}, platform_b: *x}}\n")
    config = load_config(tmp_path / "c.yaml", ["data.log_transform.platform_a.enabled=false"])
    assert (config.data.log_enabled("a"), config.data.log_enabled("b")) == (False, True)


def test_all_bad_overrides_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            "default", ["training.max_epochs", "=3", "training.seed.x=1", "model.latent_dim=[", "training.seed=1"]
        )
    assert [line.split(": ")[0] for line in caught.value.problems] == [
        "training.max_epochs",
        "=3",
        "training.seed.x",
        "model.latent_dim=[",
    ]
    assert "must have the form KEY=VALUE" in caught.value.problems[0]
    assert "'seed' is a value, not a section" in caught.value.problems[2]


def test_an_override_of_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.max_epoch: unknown setting\. Did you mean 'max_epochs'\?"):
        load_config("default", ["training.max_epoch=3"])


def test_a_file_is_not_blamed_for_what_was_given_over_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("training: {max_epochs: 0}\nmodel: {latent_dim: 4}\n")
    with pytest.raises(ConfigError) as both:
        load_config(path, ["model.latent_dim=-1"])
    assert both.value.source == str(path)
    theirs, ours = sorted(both.value.problems, key=lambda p: p.startswith("model."))
    assert theirs.startswith("training.max_epochs: ")
    assert not theirs.endswith("command line)")
    assert ours.startswith("model.latent_dim: ")
    assert ours.endswith(" (given on the command line)")
    with pytest.raises(ConfigError) as given:
        load_config(path, ["model.latent_dim=-1", "training.max_epochs=0"])
    assert given.value.source == "command line"
    assert not any("given on" in problem for problem in given.value.problems)


def test_override_values_may_hold_equals_signs() -> None:
    assert parse_override("data.groups=a=b") == ("data.groups", "a=b")


# ---------------------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize("variant", variant_names())
def test_settings_survive_plain_data_and_yaml(variant: str) -> None:
    changes = {"training.learning_rate": 1e-8, "model.encoder_layers": [], "data.random_seed": 2**32 - 1}
    changes |= {"data.samples_table": "1e5", "data.groups": "010", "training.gradient_clip_val": None}
    config = with_values(make_config({"model": {"model_type": variant}}, "defaults"), changes)
    assert make_config(to_plain(config), "plain") == config
    assert make_config(parse_yaml(to_yaml(config), "yaml"), "yaml") == config
    assert type(make_config(to_plain(config), "plain")) is type(config)


def test_with_values_checks_again_and_leaves_the_original_alone() -> None:
    config = make_config({}, "defaults")
    changed = with_values(config, {"training.seed": 3, "model.encoder_layers": []})
    assert (changed.training.seed, changed.model.encoder_layers) == (3, ())
    assert config == make_config({}, "defaults")
    with pytest.raises(ConfigError, match=r"training\.seed: .* got -1"):
        with_values(config, {"training.seed": -1})


# ---------------------------------------------------------------------------------------------- shipped files


def test_near_misses_of_shipped_names() -> None:
    with pytest.raises(
        ConfigError, match=r"defalt: there is no such file.* Did you mean 'default'\? Shipped: .*default"
    ):
        load_config("defalt")
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config("elsewhere/default.yaml")


def test_shipped_files_are_found_by_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = make_config({}, "defaults")
    for name in ("default", "default.yaml", "configs/default.yaml"):
        assert load_config(name) == expected


def test_a_file_of_the_users_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default.yaml").write_text("training: {seed: 7}\n")
    assert load_config("default.yaml").training.seed == 7


def test_an_installed_package_brings_its_files(tmp_path: Path) -> None:
    """Lay the package out as the wheel does, by the wheel's own table, and look from there."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, site / target)
    code = (
        "import cpivae; from cpivae.config.load import load_config; from cpivae.config.space import load_space\n"
        "config = load_config('default'); space = load_space('all_architectures', config)\n"
        "print(cpivae.__file__); print(space.source); print(len(list(space.block.places())))"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where, space, n = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert Path(space).is_relative_to(site)
    assert int(n) >= 3
