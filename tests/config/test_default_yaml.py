"""The YAML files that are shipped: none is out of date, and none can be added without being checked."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cpivae.config.load import load_config, make_config, to_plain
from cpivae.config.render import render_config
from cpivae.config.shipped import shipped_folder
from cpivae.config.space import load_space
from cpivae.config.variants import variant_names
from cpivae.config.yaml import parse_yaml, read_yaml_mapping

CONFIGS = sorted(shipped_folder("configs").glob("*.yaml"))
SPACES = sorted(shipped_folder("search_spaces").glob("*.yaml"))


def name(path: Path) -> str:
    return path.stem


def paths(data: dict[str, Any], prefix: str = "") -> set[str]:
    found = {f"{prefix}{key}" for key in data}
    return found.union(*(paths(v, f"{prefix}{k}.") for k, v in data.items() if isinstance(v, dict)))


def test_the_walk_sees_the_files() -> None:
    assert len(CONFIGS) >= 1
    assert len(SPACES) >= 2
    assert {"default"} <= set(map(name, CONFIGS))
    assert {"joint_vae", "smoke"} <= set(map(name, SPACES))


def test_default_yaml_is_what_the_schema_renders() -> None:
    assert (shipped_folder("configs") / "default.yaml").read_text() == render_config("joint_vae")


def test_default_yaml_holds_the_defaults_and_all_of_them() -> None:
    written = read_yaml_mapping(shipped_folder("configs") / "default.yaml")
    defaults = make_config({}, "defaults")
    assert make_config(written, "default.yaml") == defaults
    assert paths(written) == paths(to_plain(defaults))


@pytest.mark.parametrize("variant", variant_names())
def test_the_rendering_of_every_variant_is_its_defaults(variant: str) -> None:
    written = parse_yaml(render_config(variant), variant)
    defaults = make_config({"model": {"model_type": variant}}, variant)
    assert make_config(written, variant) == defaults
    assert written == to_plain(defaults)


@pytest.mark.parametrize("variant", variant_names())
def test_every_setting_has_a_comment_above_it_that_fits_the_page(variant: str) -> None:
    lines = render_config(variant).splitlines()
    assert all(len(line) <= 120 for line in lines)
    for above, line in pairwise(lines):
        if ":" in line and not line.lstrip().startswith("#"):
            assert above.lstrip().startswith("#") or above.endswith(":"), line


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_shipped_config_is_valid(path: Path) -> None:
    assert load_config(path) == load_config(path.stem)


@pytest.mark.parametrize("path", SPACES, ids=name)
def test_every_shipped_space_is_valid(path: Path) -> None:
    variant = path.stem if path.stem in variant_names() else "joint_vae"
    config = make_config({"model": {"model_type": variant}}, variant)
    assert load_space(path.stem, config).block == load_space(path, config).block
