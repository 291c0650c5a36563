"""Streaming scores against numpy, scipy and scikit-learn on the whole table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch

from cpivae.config.schema import DataSettings, LogTransform, LogTransforms
from cpivae.config.variants import variant_names
from cpivae.data.prepare import PreparedData
from cpivae.data.preprocess import Affine, fit_preprocessor
from cpivae.names import STATISTICS, metric_keys
from cpivae.training.metrics import OriginalScale, PredictionScores
from cpivae.training.run import fit

Scores = Callable[[np.ndarray, np.ndarray], dict[str, float]]

N, D = 57, 8


def table(offset: float = 10.0, gaps: float = 0.2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and measurements (N, D), the latter with gaps."""
    rng = np.random.default_rng(seed)
    measured = offset * rng.uniform(0.5, 1.5, size=D) + rng.normal(size=(N, D))
    predicted = measured + rng.normal(size=(N, D)) * rng.uniform(0.1, 2, size=D) + 0.3
    measured[rng.random((N, D)) < gaps] = np.nan
    return predicted, measured


def scored(
    predicted: np.ndarray, measured: np.ndarray, batches: int = 1, origin: np.ndarray | None = None
) -> dict[str, float]:
    """Score in batches, with gaps filled by numbers that no score may count."""
    observed = ~np.isnan(measured)
    if origin is None:
        origin = np.nanmean(measured, axis=0)
    scores = PredictionScores(torch.from_numpy(origin))
    filled = np.where(observed, measured, 1e3)
    for rows in np.array_split(np.arange(len(measured)), batches):
        scores.update(*(torch.from_numpy(array[rows]) for array in (predicted, filled, observed)))
    values = scores.compute()
    assert tuple(values) == STATISTICS
    return {name: value.item() for name, value in values.items()}


def test_scores_are_those_of_the_textbooks(scores_by_hand: Scores) -> None:
    predicted, measured = table()
    assert scored(predicted, measured) == pytest.approx(scores_by_hand(predicted, measured), rel=1e-10)


@pytest.mark.parametrize("batches", [2, 7, N])
def test_batches_add_up(batches: int) -> None:
    predicted, measured = table()
    assert scored(predicted, measured, batches) == pytest.approx(scored(predicted, measured), abs=1e-10, rel=0)


def test_the_order_of_rows_does_not_matter() -> None:
    predicted, measured = table()
    order = np.random.default_rng(1).permutation(N)
    assert scored(predicted[order], measured[order], 5) == pytest.approx(scored(predicted, measured), rel=1e-12)


@pytest.mark.parametrize("offset", [1e6, -1e6])
def test_large_values_keep_their_digits(offset: float, scores_by_hand: Scores) -> None:
    predicted, measured = table(offset)
    reached, expected = scored(predicted, measured, 4), scores_by_hand(predicted, measured)
    assert reached == pytest.approx(expected, abs=1e-6)
    # The origin is a training mean, not that of the scored rows.
    off_center = np.nanmean(measured, axis=0) + 3
    assert scored(predicted, measured, 4, off_center) == pytest.approx(expected, abs=1e-6)


def test_features_of_different_size_are_pooled_on_one_scale(scores_by_hand: Scores) -> None:
    predicted, measured = table()
    sizes = 10.0 ** np.arange(-3, D - 3)
    expected = scores_by_hand(predicted * sizes, measured * sizes)
    assert scored(predicted * sizes, measured * sizes, 3) == pytest.approx(expected, rel=1e-9)


def test_a_feature_without_variance_is_left_out_and_counted(scores_by_hand: Scores) -> None:
    predicted, measured = table()
    measured[~np.isnan(measured[:, 2]), 2] = 4.25
    reached = scored(predicted, measured)
    assert reached["n_features"] == D - 1
    assert reached == pytest.approx(scores_by_hand(predicted, measured), rel=1e-9)


def test_a_feature_with_two_observed_values_is_left_out(scores_by_hand: Scores) -> None:
    predicted, measured = table()
    measured[2:, 1] = np.nan
    measured[:2, 1] = 1.0, 2.0
    measured[3:, 5] = np.nan
    measured[:3, 5] = 1.0, 2.0, 4.0
    reached = scored(predicted, measured)
    assert reached["n_features"] == D - 1
    assert reached == pytest.approx(scores_by_hand(predicted, measured), rel=1e-9)


def test_a_constant_prediction_counts_as_no_correlation(scores_by_hand: Scores) -> None:
    predicted, measured = table()
    predicted[:, 3] = 11.7
    reached = scored(predicted, measured)
    assert reached["n_features"] == D
    assert reached == pytest.approx(scores_by_hand(predicted, measured), rel=1e-9)
    predicted[:] = np.nanmean(measured, axis=0)
    collapsed = scored(predicted, measured)
    assert collapsed["corr_mean"] == collapsed["corr_median"] == 0
    assert collapsed["mean_feature_r2"] == pytest.approx(0, abs=1e-9)


def test_a_nan_among_the_predictions_stays_visible() -> None:
    predicted, measured = table(gaps=0)
    predicted[4, 6] = np.nan
    reached = scored(predicted, measured)
    assert reached.pop("n_features") == D
    assert all(np.isnan(value) for value in reached.values())


def test_a_perfect_prediction_is_perfect() -> None:
    _, measured = table()
    reached = scored(np.where(np.isnan(measured), 0, measured), measured, 3)
    expected = {"corr": 1, "corr_mean": 1, "corr_median": 1, "r2": 1, "mean_feature_r2": 1, "rmse": 0, "n_features": D}
    assert reached == pytest.approx(expected, abs=1e-12)


def test_an_inverted_prediction_has_correlation_minus_one() -> None:
    _, measured = table(gaps=0)
    assert scored(-measured, measured)["corr_mean"] == pytest.approx(-1, abs=1e-12)


def test_after_a_reset_the_past_is_forgotten() -> None:
    predicted, measured = (torch.from_numpy(x) for x in table(gaps=0))
    scores = PredictionScores(measured.mean(0))
    observed = torch.ones_like(measured, dtype=torch.bool)
    scores.update(-predicted, measured, observed)
    scores.reset()
    scores.update(predicted, measured, observed)
    assert scores.compute()["corr_mean"].item() == pytest.approx(
        scored(predicted.numpy(), measured.numpy())["corr_mean"]
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("method", ["zscore", "minmax", "robust"])
def test_the_way_back_is_that_of_the_preprocessor(method: Literal["zscore", "minmax", "robust"], log: bool) -> None:
    rng = np.random.default_rng(0)
    values = pd.DataFrame(np.exp(rng.normal(size=(40, D))) - 0.5, columns=[f"F{j}" for j in range(D)])
    values[rng.random(values.shape) < 0.1] = np.nan
    settings = DataSettings(
        normalization_method=method, log_transform=LogTransforms(platform_a=LogTransform(enabled=log))
    )
    preprocessor = fit_preprocessor(values, "a", settings)
    observed = values.notna().to_numpy()
    for measured in (values.to_numpy(), values.to_numpy() - 5):  # the second far below the training rows
        scaled = preprocessor.transform(measured)
        original = OriginalScale(preprocessor.affine())(torch.from_numpy(scaled)).numpy()
        np.testing.assert_allclose(original, preprocessor.inverse(scaled), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(original[observed], measured[observed], rtol=1e-5, atol=1e-5)


def test_the_original_scale_is_in_double_precision_and_in_no_checkpoint() -> None:
    scale = OriginalScale(Affine(np.array([1e6, 1e6]), np.array([1.0, 1e-3]), None))
    assert scale(torch.tensor([[0.25, 0.25]])).tolist() == [[1e6 + 0.25, 1e6 + 0.25e-3]]
    assert scale.origin.tolist() == [1e6, 1e6]
    assert not scale.state_dict()
    assert not PredictionScores(scale.origin).state_dict()


@pytest.mark.parametrize("variant", variant_names())
def test_an_epoch_reports_every_metric(
    variant: str, prepared: PreparedData, tiny_config: Callable, tmp_path: Path
) -> None:
    config = tiny_config(model__model_type=variant, training__max_epochs=1)
    result = fit(config, [prepared], tmp_path / "run", name="x")
    terms = list(config.term_weights())
    losses = ["train_total_loss", *(f"train_{term}_loss" for term in terms)]
    reported = result.folder.history()
    assert set(reported.columns) == {"epoch", "learning_rate", "seconds", *losses, *metric_keys("val", terms)}
    assert set(config.metric_keys()) == set(metric_keys("val", terms))
    assert set(result.test_metrics) == set(metric_keys("test", terms))
    assert np.isfinite(reported.to_numpy()).all()
