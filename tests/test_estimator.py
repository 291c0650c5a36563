"""The model in the manner of scikit-learn, by scikit-learn's own checks and with its own tools."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cpivae import CrossPlatformImputer
from cpivae.errors import ConfigError

QUICK = {"training.max_epochs": 2, "model.latent_dim": 2}


@parametrize_with_checks([CrossPlatformImputer(settings=QUICK, random_state=0)])
def test_it_does_what_scikit_learn_expects(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def tables(n: int = 120, gaps: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n, 2))
    made = []
    for platform, d in (("olink", 6), ("soma", 8)):
        values = factors @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))
        values[rng.random(values.shape) < gaps] = np.nan
        made.append(pd.DataFrame(values, columns=[f"{platform} {i}" for i in range(d)]))
    return made[0], made[1]


LEARNS = {"training.max_epochs": 40, "model.linear_skip": "ridge"}


def test_it_predicts_new_samples_and_knows_their_names() -> None:
    source, target = tables()
    imputer = CrossPlatformImputer(settings=LEARNS, random_state=1).fit(source[:90], target[:90])
    predicted = imputer.transform(source[90:])
    correlations = [np.corrcoef(predicted[:, i], target.iloc[90:, i])[0, 1] for i in range(target.shape[1])]
    assert np.mean(correlations) > 0.8
    assert list(imputer.get_feature_names_out()) == list(target.columns)
    assert list(imputer.feature_names_in_) == list(source.columns)
    assert imputer.n_iter_ == len(imputer.history_)
    framed = imputer.set_output(transform="pandas").transform(source[90:])
    assert list(framed.columns) == list(target.columns)


def test_gaps_are_fine_on_both_sides() -> None:
    source, target = tables(gaps=0.1)
    predicted = CrossPlatformImputer(settings=QUICK).fit(source, target).transform(source)
    assert np.isfinite(predicted).all()


def test_the_same_state_the_same_values_and_another_state_others() -> None:
    source, target = tables()
    first, again, other = (
        CrossPlatformImputer(settings=QUICK, random_state=state).fit_transform(source, target) for state in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.slow
def test_it_is_found_again_in_another_process(tmp_path: Path) -> None:
    source, target = tables()
    imputer = CrossPlatformImputer(settings=QUICK, random_state=1).fit(source, target)
    (tmp_path / "imputer.pkl").write_bytes(pickle.dumps(imputer))
    source.to_pickle(tmp_path / "source.pkl")
    code = (
        "import pickle, sys, numpy, pandas; from pathlib import Path; here = Path(sys.argv[1])\n"
        "imputer = pickle.loads((here / 'imputer.pkl').read_bytes())\n"
        "numpy.save(here / 'predicted.npy', imputer.transform(pandas.read_pickle(here / 'source.pkl')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), imputer.transform(source), atol=1e-6)


def test_it_goes_with_pipelines_and_grids() -> None:
    source, target = tables(60)
    pipe = make_pipeline(StandardScaler(), CrossPlatformImputer(settings=QUICK, random_state=0))
    assert pipe.fit(source, target).transform(source).shape == target.shape
    score = lambda estimator, x, y: -float(np.mean((estimator.transform(x) - y) ** 2))  # noqa: E731
    grid = GridSearchCV(
        CrossPlatformImputer(random_state=0), {"settings": [QUICK, {**QUICK, "model.latent_dim": 3}]}, cv=2,
        scoring=score,
    ).fit(source.to_numpy(), target.to_numpy())  # fmt: skip
    assert grid.best_params_["settings"] in (QUICK, {**QUICK, "model.latent_dim": 3})


def test_samples_of_one_group_stay_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    from cpivae import estimator

    prepare = estimator.prepare_folds
    monkeypatch.setattr(estimator, "prepare_folds", lambda *given: seen.append(prepare(*given)) or seen[-1])
    source, target = tables(60)
    groups = [i // 3 for i in range(60)]
    CrossPlatformImputer(settings=QUICK).fit(source, target, groups=groups)
    of_group = pd.Series(seen[0][0].splits.to_numpy()).groupby(groups).nunique()
    assert (of_group == 1).all()


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((6, 2)), np.zeros((6, 2)), "minimum of 7 is required"),
        (np.zeros((20, 2)), np.zeros((20, 2)), "none of the 2 features can be used on the 16 training rows"),
        (np.full((20, 2), np.inf), np.zeros((20, 2)), "infinity"),
        (np.zeros((20, 2)), np.zeros((19, 2)), "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_used_is_a_value_error(x: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CrossPlatformImputer(settings=QUICK).fit(x, y)


def test_unknown_settings_are_told() -> None:
    source, target = tables(30)
    with pytest.raises(ConfigError, match="Did you mean 'max_epochs'"):
        clone(CrossPlatformImputer(settings={"training.max_epoch": 2})).fit(source, target)


def test_every_column_of_the_target_is_predicted_in_its_place() -> None:
    source, target = tables(60)
    target.iloc[:, 1], target.iloc[:, 3] = 7.0, np.nan
    imputer = CrossPlatformImputer(settings=QUICK, random_state=0).fit(source, target)
    predicted = imputer.set_output(transform="pandas").transform(source)
    assert list(predicted.columns) == list(target.columns)
    assert (predicted.iloc[:, 1] == 7.0).all()
    assert predicted.iloc[:, 3].isna().all()
    others = [0, 2, 4, 5, 6, 7]
    bare = CrossPlatformImputer(settings=QUICK, random_state=0).fit(source, target.iloc[:, others])
    np.testing.assert_array_equal(predicted.iloc[:, others], bare.transform(source))


def test_a_sample_without_a_group_is_refused() -> None:
    source, target = tables(30)
    with pytest.raises(ValueError, match="groups has missing values"):
        CrossPlatformImputer(settings=QUICK).fit(source, target, groups=[None, *range(29)])
