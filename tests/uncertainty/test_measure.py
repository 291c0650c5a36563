"""Which models see which rows when uncertainty is measured."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from cpivae.config.schema import Config
from cpivae.data.prepare import Folds, prepare_folds
from cpivae.data.tables import Pair
from cpivae.models.build import build_model
from cpivae.names import DIRECTIONS
from cpivae.uncertainty.measure import measure
from cpivae.uncertainty.predict import Trained, predict


@pytest.fixture(scope="module")
def folds(simulated_pair: Pair, tiny_config: Callable[..., Config]) -> Folds:
    return prepare_folds(simulated_pair, tiny_config(data__folds=3).data)


@pytest.fixture(scope="module")
def trained(folds: Folds, tiny_config: Callable[..., Config]) -> list[Trained]:
    """Return two models for each fold, in the order of replicas."""
    models = []
    for replica in range(6):
        torch.manual_seed(replica)
        model = build_model(tiny_config(), folds[0].n_features).eval()
        models.append(Trained(model, folds[replica % 3].preprocessors, replica % 3))
    return models


def test_rows_of_a_fold_are_predicted_by_its_own_models_alone(
    folds: Folds, trained: list[Trained], simulated_pair: Pair
) -> None:
    found = measure(trained, folds, test=False)
    assert list(found) == list(DIRECTIONS)
    tables = {p: simulated_pair.frames[p][folds[0].preprocessors[p].features] for p in "ab"}
    for (source, target), one in found.items():
        predicted = []
        for fold, data in enumerate(folds):
            ids = data.splits.index[data.rows("val")]
            own = [trained[fold], trained[fold + 3]]
            values = predict(own, tables[source].loc[ids].to_numpy(), source, target).values
            predicted.append(pd.DataFrame(values, ids, tables[target].columns))
        by_hand = pd.concat(predicted)
        np.testing.assert_allclose(one.corr, by_hand.corrwith(tables[target].loc[by_hand.index]), atol=1e-4)
        assert one.rows == len(by_hand)
        assert one.test_coverage is None


def test_test_rows_are_predicted_by_all_models(folds: Folds, trained: list[Trained], simulated_pair: Pair) -> None:
    found = measure(trained, folds, test=True)
    rows = folds[0].rows("test")
    x, y = (simulated_pair.frames[p][folds[0].preprocessors[p].features].to_numpy()[rows] for p in "ab")
    predicted = predict(trained, x, "a", "b")
    inside = np.abs(y - predicted.values) <= 1.6449 * found["a", "b"].sd(predicted)
    assert found["a", "b"].test_coverage == pytest.approx(inside[~np.isnan(y)].mean(), abs=1e-3)


def test_of_many_rows_some_are_looked_at(folds: Folds, trained: list[Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpivae.uncertainty.measure.MOST_ROWS", 20)
    assert measure(trained, folds, test=False)["a", "b"].rows == 3 * 20
