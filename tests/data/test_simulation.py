"""A simulated pair is what it says it is: sizes, agreement, limits, gaps; and ridge regression finds what is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae.config.load import load_config
from cpivae.config.yaml import read_yaml_mapping
from cpivae.data.prepare import prepare
from cpivae.data.readers import read_table
from cpivae.data.simulation.correlations import CKB_QUARTILES, pearson, published_correlations
from cpivae.data.simulation.factors import real_proteins
from cpivae.data.simulation.folder import write_simulated_pair
from cpivae.data.simulation.losses import GAPS
from cpivae.data.simulation.pair import SimulatedPair, simulate_pair
from cpivae.data.simulation.signals import matched_assays, signals
from cpivae.data.tables import pair_from_frames
from cpivae.errors import DataError, FolderError
from cpivae.names import PLATFORMS
from cpivae.training.metrics import PredictionScores

SIZE = {"a": 300, "b": 360}
N = 600


@pytest.fixture(scope="module")
def pair() -> SimulatedPair:
    return simulate_pair(N, SIZE, seed=1)


def agreement(pair: SimulatedPair, method: str) -> np.ndarray:
    """Correlation of every matched pair of features, from the tables as a user reads them."""
    columns = zip(pair.matched["feature_a"], pair.matched["feature_b"], strict=True)
    return np.array([pair.frames["a"][a].corr(pair.frames["b"][b], method=method) for a, b in columns])


def test_the_tables_have_the_size_and_the_samples_asked_for(pair: SimulatedPair) -> None:
    for platform, d in SIZE.items():
        frame = pair.frames[platform]
        assert frame.shape == (N, d)
        assert frame.index.is_unique
        assert frame.columns.is_unique
        assert frame.index.equals(pair.frames["a"].index)
    assert len(pair.matched) == min(SIZE.values())


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_matched_features_agree_as_published(pair: SimulatedPair, method: str) -> None:
    assert np.quantile(agreement(pair, method), [0.25, 0.5, 0.75]) == pytest.approx(CKB_QUARTILES, abs=0.03)


def test_each_matched_pair_has_the_correlation_that_was_planted_for_it(pair: SimulatedPair) -> None:
    planted = pair.matched["spearman"].to_numpy()
    assert np.abs(agreement(pair, "spearman") - planted).mean() < 0.05
    assert np.corrcoef(agreement(pair, "spearman"), planted)[0, 1] > 0.98


def test_features_that_are_not_matched_agree_like_strangers(pair: SimulatedPair) -> None:
    a = pair.frames["a"].iloc[:, :200].to_numpy()
    b = np.roll(pair.frames["b"].iloc[:, :200].to_numpy(), 1, axis=1)
    r = [pd.Series(x).corr(pd.Series(y)) for x, y in zip(a.T, b.T, strict=True)]
    assert abs(np.median(r)) < 0.08


@pytest.mark.parametrize("n", [5, 100, 3000])
def test_drawn_correlations_have_the_published_quartiles_and_two_modes(n: int) -> None:
    drawn = published_correlations(n, np.random.default_rng(0))
    assert np.abs(drawn).max() <= 0.97
    if n > 50:
        assert np.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx(CKB_QUARTILES, abs=0.02)
    if n > 1000:
        low, between, high = (((drawn > x - 0.05) & (drawn < x + 0.05)).mean() for x in (0.0, 0.27, 0.62))
        assert low > 3 * between
        assert high > 2 * between


@pytest.mark.parametrize("r", [-0.95, -0.4, 0.0, 0.1, 0.6, 0.97])
def test_signals_have_unit_variance_and_just_the_correlation_asked_for(r: float) -> None:
    rng = np.random.default_rng(0)
    proteins = real_proteins().take(np.arange(40))
    drawn = signals(matched_assays(proteins, np.full(40, r), rng), 20_000, rng)
    measured = [np.corrcoef(a, b)[0, 1] for a, b in zip(drawn["a"].T, drawn["b"].T, strict=True)]
    np.testing.assert_allclose(measured, r, atol=0.035)
    for values in drawn.values():
        np.testing.assert_allclose(values.std(axis=0), 1, atol=0.03)


def test_rank_correlations_become_those_of_a_normal_distribution() -> None:
    rho = np.array([-0.3, 0.0, 0.22, 0.62])
    for asked, r in zip(rho, pearson(rho), strict=True):
        drawn = np.random.default_rng(0).multivariate_normal([0, 0], [[1, r], [r, 1]], size=40_000)
        assert pd.Series(drawn[:, 0]).corr(pd.Series(drawn[:, 1]), method="spearman") == pytest.approx(asked, abs=0.02)


def test_nothing_lies_below_its_limit_of_detection(pair: SimulatedPair) -> None:
    assert pair.features.groupby("platform").size().to_dict() == SIZE
    for platform, features in pair.features.groupby("platform"):
        values = pair.frames[platform][features["feature"]].to_numpy()
        lod = features["lod"].to_numpy()
        assert (np.nanmin(values, axis=0) >= lod).all()
        share = np.nansum(values == lod, axis=0) / N
        assert share.max() <= 0.5
        assert 0.01 < share.mean() < 0.1
        scarce = np.argsort(np.nanmean(values, axis=0))
        assert share[scarce[:50]].mean() > 5 * share[scarce[-50:]].mean()


def test_gaps_are_those_that_were_planted(pair: SimulatedPair) -> None:
    for platform, frame in pair.frames.items():
        panel_of = pair.features.set_index(["platform", "feature"])["panel"].loc[platform]
        lacking = pair.missing_panels.query("platform == @platform")
        assert len(lacking) == round(0.02 * N)
        for sample, panel in zip(lacking["sample"], lacking["panel"], strict=True):
            assert frame.loc[sample, panel_of.index[panel_of == panel]].isna().all()
        others = frame.drop(index=lacking["sample"]).isna()
        assert GAPS[0] < others.to_numpy().mean() < GAPS[1]
        assert others.mean().max() < GAPS[1] + 0.04
        assert others.mean().min() < GAPS[0] + 0.01


def test_a_seed_gives_the_same_pair_and_another_one_another(pair: SimulatedPair) -> None:
    again, other = simulate_pair(N, SIZE, seed=1), simulate_pair(N, SIZE, seed=2)
    for platform in PLATFORMS:
        pd.testing.assert_frame_equal(pair.frames[platform], again.frames[platform], check_exact=True)
        assert not np.array_equal(pair.frames[platform], other.frames[platform], equal_nan=True)
    for table in ("matched", "features", "missing_panels"):
        pd.testing.assert_frame_equal(getattr(pair, table), getattr(again, table), check_exact=True)


@pytest.mark.parametrize(("d_a", "d_b"), [(2, 2), (2, 9), (9, 2)])
def test_the_smallest_pairs(d_a: int, d_b: int) -> None:
    pair = simulate_pair(20, {"a": d_a, "b": d_b}, seed=0)
    assert [pair.frames[p].shape for p in PLATFORMS] == [(20, d_a), (20, d_b)]
    assert len(pair.matched) == 2


def test_more_features_than_the_example_has_proteins() -> None:
    pair = simulate_pair(20, {"a": 10, "b": 5000}, seed=0)
    assert pair.frames["b"].shape == (20, 5000)
    assert pair.frames["b"].columns.is_unique


@pytest.mark.parametrize(("n", "size"), [(19, SIZE), (0, SIZE), (100, {"a": 1, "b": 5}), (100, {"a": 5, "b": -3})])
def test_what_cannot_be_simulated_is_refused(n: int, size: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 20 samples and 2 features of each platform are needed"):
        write_simulated_pair(tmp_path / "pair", n, size, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_holds_tables_that_are_read_and_what_was_planted(pair: SimulatedPair, tmp_path: Path) -> None:
    planted = write_simulated_pair(tmp_path / "new" / "pair", N, SIZE, seed=1)
    folder = tmp_path / "new" / "pair"
    assert {p.name for p in folder.iterdir()} == {
        "platform_a.csv", "platform_b.csv", "feature_map.csv", "features.csv", "planted.yaml"
    }  # fmt: skip
    assert read_yaml_mapping(folder / "planted.yaml") == planted
    for platform, frame in pair.frames.items():
        read = read_table(folder / f"platform_{platform}.csv")
        assert read.columns.equals(frame.columns)
        np.testing.assert_allclose(read, frame, atol=1e-4)
        assert planted["missing_cells"][platform] == pytest.approx(frame.isna().to_numpy().mean(), abs=1e-4)
        assert len(planted["missing_panels"][platform]) == round(0.02 * N)
    for method in ("pearson", "spearman"):
        measured = np.quantile(agreement(pair, method), [0.25, 0.5, 0.75])
        said = planted["quartiles_of_matched_correlations"][f"measured_{method}"]
        assert said == pytest.approx(measured, abs=0.002)
    features = pd.read_csv(folder / "features.csv")
    assert list(features.columns) == ["platform", "feature", "panel", "lod"]
    assert len(pd.read_csv(folder / "feature_map.csv")) == min(SIZE.values())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"notes\.txt"):
        write_simulated_pair(tmp_path, 100, {"a": 5, "b": 5}, seed=0)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_ridge_regression_predicts_a_simulated_platform_as_well_as_a_real_one() -> None:
    pair = simulate_pair(1200, {"a": 700, "b": 800}, seed=1)
    data = prepare(pair_from_frames(pair.frames), load_config("default").data)
    rows = data.rows("val")
    for (source, target), fitted in data.linear_maps.items():
        scores = PredictionScores(_tensor(np.zeros(data.values[target].shape[1])))
        predicted, measured = fitted.predict(data.values[source][rows]), data.values[target][rows]
        scores.update(*map(_tensor, (predicted, measured, data.observed[target][rows])))
        assert 0.40 <= scores.compute()["corr_mean"].item() <= 0.55


def _tensor(array: np.ndarray) -> object:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))
