"""Every variant learns: near ridge regression on data that ridge regression is made for, in its default epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from cpivae.config.load import make_config
from cpivae.config.variants import load_variant, variant_names
from cpivae.data.prepare import PreparedData
from cpivae.names import prediction
from cpivae.training.run import fit

HARD = {"JointVQ": 0.8, "ddpm": 0.8}
"""Share of ridge's correlation that is asked for where a code is coarse or a row is made of noise; .9 elsewhere."""


def kinds() -> list[tuple[str, str]]:
    """Every variant, with every decoder that it offers."""
    return [(name, decoder) for name in variant_names() for decoder in decoders(name)]


def decoders(name: str) -> tuple[str, ...]:
    field = load_variant(name).settings.model_fields.get("decoder_type")
    return field.annotation.__args__ if field is not None else ("",)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "decoder"), kinds())
def test_it_learns(variant: str, decoder: str, prepared: PreparedData, tmp_path: Path) -> None:
    config = make_config(
        {
            "model": {"model_type": variant} | ({"decoder_type": decoder} if decoder else {}),
            "hardware": {"accelerator": "cpu", "threads": 1},
            "logging": {"tensorboard": False},
        },
        "learning test",
    )
    reached = fit(config, [prepared], tmp_path / "run", name="learning").folder.selected_epoch()
    asked = HARD.get(variant, HARD.get(decoder, 0.9))
    for source, target in (("b", "a"), ("a", "b")):
        by_ridge = ridge_correlation(prepared, source, target)
        assert by_ridge > 0.8
        assert reached[f"val_{prediction(source, target)}_corr_mean"] >= asked * by_ridge


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
