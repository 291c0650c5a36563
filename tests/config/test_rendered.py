"""What is written from the schema: configs and the tables of the docs.  None may be out of date."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpivae.config.base import ModelSettings
from cpivae.config.load import load_config, make_config
from cpivae.config.render import rendered_files
from cpivae.config.shipped import shipped_folder
from cpivae.config.variants import load_variant, variant_names

DOCS = shipped_folder("configs").parent / "docs" / "models"
RENDERED = list(rendered_files())


def test_there_is_a_config_and_a_page_for_every_variant() -> None:
    names = set(variant_names())
    assert names <= {path.stem for path, _ in RENDERED if path.suffix == ".yaml"}
    assert names | {"settings"} == {path.stem for path, _ in RENDERED if path.suffix == ".md"}
    assert names == {path.stem for path in DOCS.glob("*.md")} - {"README"}
    assert names <= {path.stem for path in shipped_folder("search_spaces").glob("*.yaml")}


@pytest.mark.parametrize(("path", "text"), RENDERED, ids=lambda x: x.name if isinstance(x, Path) else "")
def test_it_is_what_the_schema_renders(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("variant", variant_names())
def test_a_variants_config_is_its_defaults(variant: str) -> None:
    assert load_config(variant) == make_config({"model": {"model_type": variant}}, variant)


@pytest.mark.parametrize("variant", variant_names())
def test_a_page_tells_everything(variant: str) -> None:
    page = (DOCS / f"{variant}.md").read_text(encoding="utf-8")
    for heading in ("Generative story", "Loss", "Settings", "When to use it, and when not", "Paper"):
        assert f"\n## {heading}\n" in page
    recipe = load_variant(variant)
    for term in set(recipe.loss_weights.terms()) - {"linear_skip_residual"}:
        assert f"| `loss_weights.{term}` |" in page
    for name in set(recipe.settings.model_fields) - set(ModelSettings.model_fields):
        assert f"| `model.{name}` |" in page
