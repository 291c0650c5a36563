"""The fitted pipeline of a platform: statistics by hand, exact inverses, and files that execute nothing."""

import functools
import itertools
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cpivae.config.schema import DataSettings, LogTransform, LogTransforms
from cpivae.data.preprocess import Preprocessor, fit_preprocessor, load_preprocessor, save_preprocessor
from cpivae.errors import BundleError, DataError

SCALINGS = ("zscore", "minmax", "robust")
FILLINGS = ("mean", "median", "knn", "drop")
EVERY_WAY = list(itertools.product(SCALINGS, FILLINGS, (False, True)))


def how(scaling: str = "zscore", filling: str = "mean", log: bool = False) -> DataSettings:
    return DataSettings(
        normalization_method=scaling,
        missing_value_strategy=filling,
        log_transform=LogTransforms(platform_a=LogTransform(enabled=log)),
    )


def measured(n: int = 40, seed: int = 0, missing: float = 0.1) -> pd.DataFrame:
    """Features of very different size and offset, a gap in most of them; F0 and F1 have none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 6)) * [1, 1e-3, 1e4, 5, 1, 30] + [0, 7, -3e4, 100, -8, 2]
    values[:, 2:][rng.random((n, 4)) < missing] = np.nan
    return pd.DataFrame(values, columns=[f"F{j}" for j in range(6)])


def fitted(table: pd.DataFrame, *way: Any) -> tuple[Preprocessor, np.ndarray]:
    preprocessor = fit_preprocessor(table, "a", how(*way))
    return preprocessor, table[preprocessor.features].to_numpy()


# ---------------------------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_observed_training_cells() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 6.0, np.nan], "y": [10.0, np.nan, 20.0, 30.0, 40.0]})
    by_hand = {
        "zscore": ([3.0, 25.0], [3.5**0.5, 125.0**0.5]),  # mean, population standard deviation
        "minmax": ([1.0, 10.0], [5.0, 30.0]),  # minimum, range
        "robust": ([2.5, 25.0], [3.75 - 1.75, 32.5 - 17.5]),  # median, interquartile range
    }
    for scaling, (center, scale) in by_hand.items():
        preprocessor, values = fitted(table, scaling)
        affine = preprocessor.affine()
        np.testing.assert_allclose(affine.center, center, rtol=1e-12)
        np.testing.assert_allclose(affine.scale, scale, rtol=1e-12)
        assert affine.shift is None
        expected = (values - center) / scale
        seen = ~np.isnan(values)
        np.testing.assert_allclose(preprocessor.transform(values)[seen], expected[seen], rtol=1e-6)


def test_fillings_are_those_of_scaled_training_cells() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 6.0, np.nan], "y": [10.0, 15.0, 20.0, 30.0, 40.0]})
    new = np.array([[np.nan, 20.0]])
    for filling, expected in (("mean", 3.0), ("median", 2.5)):
        preprocessor, _ = fitted(table, "zscore", filling)
        assert preprocessor.inverse(preprocessor.transform(new))[0] == pytest.approx([expected, 20.0], rel=1e-6)


def test_knn_takes_the_nearest_training_rows_in_scaled_units() -> None:
    """x and z go together; y is noise of a huge size, which would decide everything in unscaled units."""
    rng = np.random.default_rng(0)
    cluster = np.repeat([0.0, 1.0], 10)
    table = pd.DataFrame({"x": cluster, "z": 5 + cluster, "y": 1e6 * rng.normal(size=20)})
    preprocessor, _ = fitted(table, "zscore", "knn")
    new = np.array([[0.0, np.nan, 0.0], [1.0, np.nan, 0.0]])
    filled = preprocessor.inverse(preprocessor.transform(new))
    assert filled[:, 1] == pytest.approx([5, 6], abs=0.05)


def test_the_logarithm_lifts_every_training_value_to_one_or_more() -> None:
    table = pd.DataFrame({"far": [3.0, 7.0, 15.0], "near": [-2.0, 0.5, np.nan], "big": [1.0, 2.0, 1e6]})
    preprocessor, values = fitted(table, "minmax", "mean", True)
    assert preprocessor.affine().shift == pytest.approx([0.0, 3.0, 0.0])
    scaled = preprocessor.transform(values)
    far = (np.log2([3, 7, 15]) - np.log2(3)) / (np.log2(15) - np.log2(3))
    assert scaled[:, 0] == pytest.approx(far, rel=1e-6)
    # what lies below the training range comes back all the same, and keeps its order
    low = np.array([[-100.0, -50.0, 0.1], [-10.0, -4.0, 0.4], [0.49, -2.51, 0.49], [0.51, -2.49, 0.51]])
    assert preprocessor.inverse(preprocessor.transform(low)) == pytest.approx(low, rel=1e-5)
    assert (np.diff(preprocessor.transform(low), axis=0) > 0).all()


def test_the_switch_is_per_platform() -> None:
    table = measured().abs()
    assert "log" in fit_preprocessor(table, "a", how(log=True)).pipeline.named_steps
    assert "log" not in fit_preprocessor(table, "b", how(log=True)).pipeline.named_steps


# ---------------------------------------------------------------------------------------------- inverses


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda w: "-".join(map(str, w)))
def test_observed_cells_come_back_and_no_gap_is_left(way: tuple[str, str, bool]) -> None:
    preprocessor, values = fitted(measured(), *way)
    scaled = preprocessor.transform(values)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    back = preprocessor.inverse(scaled)
    seen = ~np.isnan(values)
    spread = np.nanstd(values, axis=0)
    assert (np.abs(back - values) / spread)[seen].max() < 1e-5


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda w: "-".join(map(str, w)))
def test_affine_is_the_inverse(way: tuple[str, str, bool]) -> None:
    preprocessor, _ = fitted(measured(), *way)
    scaled = np.random.default_rng(1).normal(size=(50, len(preprocessor.features)))
    center, scale, shift = preprocessor.affine()
    closed = center + scale * scaled
    if shift is not None:
        # below log2 = -1 the tangent at 0.5, with the slope 0.5 ln 2
        closed = np.where(closed < -1, 0.5 + (closed + 1) * 0.5 * np.log(2), np.exp2(closed)) - shift
    assert (shift is not None) == way[2]
    np.testing.assert_allclose(closed, preprocessor.inverse(scaled), rtol=1e-9)


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda w: "-".join(map(str, w)))
def test_a_row_is_transformed_alike_alone_and_in_company(way: tuple[str, str, bool]) -> None:
    preprocessor, _ = fitted(measured(), *way)
    new = measured(15, seed=5, missing=0.4)[preprocessor.features].to_numpy()
    together = preprocessor.transform(new)
    alone = np.concatenate([preprocessor.transform(row[None]) for row in new])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("filling", FILLINGS)
def test_a_row_without_any_value_gets_the_training_average(filling: str) -> None:
    preprocessor, values = fitted(measured(), "zscore", filling)
    empty = preprocessor.inverse(preprocessor.transform(np.full((1, values.shape[1]), np.nan)))[0]
    average = np.nanmedian(values, axis=0) if filling == "median" else np.nanmean(values, axis=0)
    np.testing.assert_allclose(empty, average, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------- dropped features


def test_features_that_teach_nothing_are_dropped_with_the_reason() -> None:
    table = measured(10, missing=0).assign(flat=4.0, empty=np.nan, once=[1.0, *[np.nan] * 9], gap=[np.nan, *range(9)])
    table["flat_where_seen"] = [2.0, np.nan] * 5
    dropped = {"flat": "constant", "empty": "all missing", "once": "constant", "flat_where_seen": "constant"}
    kept = fit_preprocessor(table, "a", how())
    assert kept.dropped == dropped
    assert kept.features == [*(f"F{j}" for j in range(6)), "gap"]
    strict = fit_preprocessor(table, "a", how(filling="drop"))
    assert strict.dropped == dropped | {"gap": "missing values"}
    assert strict.features == [f"F{j}" for j in range(6)]


def test_no_feature_left_is_an_error_that_says_why() -> None:
    table = pd.DataFrame({"x": [1.0, np.nan, 2.0], "y": [3.0, 3.0, 3.0]})
    with pytest.raises(DataError) as caught:
        fit_preprocessor(table, "b", how(filling="drop"))
    message = "platform b: none of the 2 features can be used on the 3 training rows (first: x, missing values)"
    assert message in str(caught.value)


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda w: "-".join(map(str, w)))
def test_files_give_identical_transforms(tmp_path: Path, way: tuple[str, str, bool]) -> None:
    preprocessor, values = fitted(measured(), *way)
    save_preprocessor(preprocessor, tmp_path / "p.skops")
    loaded = load_preprocessor(tmp_path / "p.skops", preprocessor.features)
    new = np.concatenate([values, measured(9, seed=3, missing=0.5)[preprocessor.features].to_numpy()])
    scaled = preprocessor.transform(new)
    np.testing.assert_array_equal(loaded.transform(new), scaled)
    np.testing.assert_array_equal(loaded.inverse(scaled), preprocessor.inverse(scaled))
    for ours, theirs in zip(preprocessor.affine(), loaded.affine(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.features == preprocessor.features


class Foreign(StandardScaler):
    """A type that is not ours."""

    constructed = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).constructed += 1
        super().__setstate__(state)


def leave_a_mark(x: Any) -> Any:
    Path("mark").touch()
    return x


@pytest.mark.parametrize(
    "step",
    [
        Foreign(),
        FunctionTransformer(os.system),
        FunctionTransformer(functools.partial(os.system, "touch mark")),
        FunctionTransformer(leave_a_mark),
        Pipeline([("deep", Foreign())]),
    ],
    ids=["class", "function", "partial", "own function", "nested"],
)
def test_foreign_types_are_refused_and_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: object
) -> None:
    monkeypatch.chdir(tmp_path)
    Foreign.constructed = 0
    hostile = Pipeline([("scale", StandardScaler().fit(np.eye(2))), ("fill", step)])
    skops.io.dump(hostile, "hostile.skops")
    with pytest.raises(BundleError, match=r"hostile\.skops is not a preprocessing file of this program"):
        load_preprocessor(Path("hostile.skops"), ["x", "y"])
    assert Foreign.constructed == 0
    assert [p.name for p in Path().iterdir()] == ["hostile.skops"]


@pytest.mark.parametrize(
    "something",
    [
        StandardScaler().fit(np.eye(2)),
        Pipeline([("scale", StandardScaler()), ("fill", SimpleImputer())]),
        Pipeline([("scale", PCA().fit(np.eye(3)))]),
        {"a": 1},
    ],
    ids=["a scaler", "never fitted", "three features", "a dictionary"],
)
def test_other_contents_are_refused(tmp_path: Path, something: object) -> None:
    skops.io.dump(something, tmp_path / "p.skops")
    with pytest.raises(BundleError, match=r"p\.skops"):
        load_preprocessor(tmp_path / "p.skops", ["x", "y"])


def test_feature_names_must_be_as_many_as_the_features(tmp_path: Path) -> None:
    preprocessor, _ = fitted(measured())
    save_preprocessor(preprocessor, tmp_path / "p.skops")
    with pytest.raises(BundleError, match=r"p\.skops does not fit the 5 feature names beside it"):
        load_preprocessor(tmp_path / "p.skops", preprocessor.features[:-1])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A changed byte may hide in what a zip archive never reads; whatever is read must be what was written."""
    preprocessor, values = fitted(measured())
    path = tmp_path / "p.skops"
    save_preprocessor(preprocessor, path)
    whole = path.read_bytes()
    expected = preprocessor.transform(values)
    refused = 0
    rng = random.Random(0)
    for content in [
        b"",
        b"text",
        *(whole[: rng.randrange(len(whole))] for _ in range(20)),
        *(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in rng.sample(range(len(whole)), 60)),
    ]:
        path.write_bytes(content)
        try:
            loaded = load_preprocessor(path, preprocessor.features)
        except BundleError:
            refused += 1
        else:
            np.testing.assert_array_equal(loaded.transform(values), expected)
    assert refused > 60
