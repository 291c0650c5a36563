"""Baselines on prepared data: fitted on training rows, scored with the metrics of the models, kept per feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from cpivae.baselines.evaluate import BY, CROSS, Scores, evaluate, scored
from cpivae.baselines.folder import paired_differences, read_baselines, verdicts, write_baselines
from cpivae.baselines.methods import METHODS, Predicted, known_methods, predictions
from cpivae.config.load import load_config
from cpivae.data.example import write_somascan_example
from cpivae.data.prepare import Folds, PreparedData, prepare, prepare_folds
from cpivae.data.tables import Pair, pair_from_frames, read_pair
from cpivae.errors import CpivaeError, FolderError
from cpivae.models.build import build_model
from cpivae.names import STATISTICS
from cpivae.training.metrics import PredictionScores
from cpivae.training.run import fit

MATCHES = [("A00", "B00"), ("A03", "B07"), ("A03", "B08"), ("A05", "B08"), ("gone", "B09")]
TinyConfig = Callable[..., object]


@pytest.fixture(scope="module")
def scores(prepared: PreparedData) -> Scores:
    return evaluate([prepared], ("val", "test"), list(METHODS), MATCHES)


def test_there_is_a_line_for_every_method_direction_and_split(scores: Scores, prepared: PreparedData) -> None:
    assert len(scores.summary) == len(METHODS) * 2 * 2
    assert set(STATISTICS) <= set(scores.summary.columns)
    sizes = scores.features.groupby(BY).size()
    for (method, _, target, _), n in sizes.items():
        assert n == ({"a": 3, "b": 3}[target] if method == "copy" else prepared.n_features[target])


def test_the_summary_is_of_the_features(scores: Scores) -> None:
    means = scores.features.groupby(BY)["corr"].agg(["mean", "median", "count"])
    summary = scores.summary.set_index(BY).sort_index()
    np.testing.assert_allclose(summary["corr_mean"], means["mean"].loc[summary.index])
    np.testing.assert_allclose(summary["corr_median"], means["median"].loc[summary.index])
    np.testing.assert_allclose(summary["n_features"], means["count"].loc[summary.index])
    copied = scores.features.query("method == 'copy'").set_index(["source", "target", "split", "feature"]).index
    ridge = scores.features.query("method == 'ridge'").set_index(["source", "target", "split", "feature"])
    expected = ridge.loc[copied].groupby(["source", "target", "split"])["corr"].mean()
    reached = summary.loc["ridge", "corr_mean_matched"]
    np.testing.assert_allclose(reached.sort_index(), expected.sort_index())


def test_scores_are_those_of_the_textbooks_on_the_measured_tables(
    scores: Scores, prepared: PreparedData, simulated_pair: Pair, scores_by_hand: Callable
) -> None:
    rows = prepared.rows("test")
    for source, target in CROSS:
        predicted = {p.method: p for p in predictions(prepared, source, target, rows, list(METHODS), MATCHES)}
        preprocessor = prepared.preprocessors[target]
        for method, found in predicted.items():
            everything = np.zeros((len(rows), len(preprocessor.features)))
            everything[:, found.columns] = found.values
            names = [preprocessor.features[i] for i in found.columns]
            original = preprocessor.inverse(everything)[:, found.columns]
            measured = simulated_pair.frames[target][names].to_numpy()[rows]
            expected = scores_by_hand(original, measured)
            row = scores.summary.set_index(BY).loc[(method, source, target, "test")]
            if method == "mean":  # rounding makes its constant columns vary, by hand
                expected = {name: expected[name] for name in ("rmse", "r2", "n_features")}
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (method, name)


def test_ridge_is_what_linear_skip_starts_from(prepared: PreparedData) -> None:
    rows = prepared.rows("val")
    for source, target in CROSS:
        (ridge,) = predictions(prepared, source, target, rows, ["ridge"], [])
        expected = prepared.linear_maps[source, target].predict(prepared.values[source][rows])
        np.testing.assert_allclose(ridge.values, expected, atol=1e-4)


@pytest.mark.parametrize("few", [20, 200])
def test_neighbours_are_those_of_the_plain_tables(prepared: PreparedData, few: int) -> None:
    """Also of rows that lie outside the span of the training rows, as all do where features are more than these."""
    train = prepared.rows("train")[:few]
    splits = prepared.splits.copy()
    splits.iloc[np.setdiff1d(prepared.rows("train"), train)] = "unused"
    rows = prepared.rows("val")
    (knn,) = predictions(dataclasses.replace(prepared, splits=splits), "b", "a", rows, ["knn"], [])
    k = int(knn.setting.split()[-1])
    x, y = prepared.values["b"].astype(float), prepared.values["a"].astype(float)
    expected = KNeighborsRegressor(k, weights="distance").fit(x[train], y[train]).predict(x[rows])
    np.testing.assert_allclose(knn.values, expected, atol=1e-5)


def test_the_mean_knows_nothing_and_the_rest_something(scores: Scores) -> None:
    reached = scores.summary.set_index(BY)["corr_mean"]
    assert (reached.loc["mean"] == 0).all()
    for method in ("ridge", "pls"):
        assert (reached.loc[method] > 0.6).all()
    for method in ("knn", "wnn"):
        assert (reached.loc[method] > 0.4).all()
    rmse = scores.summary.set_index(BY)["rmse"]
    assert (rmse.loc["ridge"] < rmse.loc["mean"]).all()


def test_the_mean_is_that_of_training_rows(prepared: PreparedData, simulated_pair: Pair) -> None:
    (mean,) = predictions(prepared, "a", "b", np.arange(3), ["mean"], [])
    original = prepared.preprocessors["b"].inverse(mean.values)
    training = simulated_pair.frames["b"].iloc[prepared.rows("train")]
    np.testing.assert_allclose(original, np.tile(training.mean(), (3, 1)), rtol=1e-5)


def test_a_copy_is_the_best_match_moved_to_the_targets_scale(prepared: PreparedData) -> None:
    rows = prepared.rows("val")
    (copy,) = predictions(prepared, "a", "b", rows, ["copy"], MATCHES)
    assert [prepared.preprocessors["b"].features[i] for i in copy.columns] == ["B00", "B07", "B08"]
    train = prepared.rows("train")
    a, b = (prepared.values[p] for p in "ab")
    agreement = {x: np.corrcoef(a[train][:, x], b[train][:, 8])[0, 1] for x in (3, 5)}
    best = max(agreement, key=agreement.__getitem__)
    for column, x, y in ((0, 0, 0), (1, 3, 7), (2, best, 8)):
        np.testing.assert_allclose(np.corrcoef(copy.values[:, column], a[rows][:, x])[0, 1], 1)
        everywhere = (a[train][:, x] - a[train][:, x].mean()) / a[train][:, x].std() * b[train][:, y].std()
        expected = (a[rows][:, x] - a[train][:, x].mean()) * (everywhere.std() / a[train][:, x].std())
        np.testing.assert_allclose(copy.values[:, column], expected + b[train][:, y].mean(), atol=1e-5)


def test_without_a_match_a_copy_has_nothing_to_say(prepared: PreparedData, tmp_path: Path) -> None:
    found = evaluate([prepared], ("val",), ["copy", "ridge"], [])
    copy, ridge = (found.summary[found.summary["method"] == name] for name in ("copy", "ridge"))
    assert (copy["n_features"] == 0).all()
    assert copy["corr_mean"].isna().all()
    assert ridge["corr_mean_matched"].isna().all()
    assert set(found.features["method"]) == {"ridge"}
    write_baselines(tmp_path / "x", found, pd.DataFrame({"fold_0": prepared.splits}), {})
    assert_same(read_baselines(tmp_path / "x"), found)


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_the_rows_of_the_named_split_are_read_beside_training_rows(
    prepared: PreparedData, scores: Scores, split: str
) -> None:
    other = (~prepared.splits.isin(["train", split])).to_numpy()
    spoilt = dataclasses.replace(
        prepared,
        values={p: np.where(other[:, None], np.float32(np.nan), values) for p, values in prepared.values.items()},
    )
    again = evaluate([spoilt], (split,), list(METHODS), MATCHES)
    for table in ("summary", "features"):
        one, both = getattr(again, table), getattr(scores, table).query("split == @split")
        drop = [c for c in ("seconds",) if c in one]
        expected = both.reset_index(drop=True).drop(columns=drop)
        pd.testing.assert_frame_equal(one.reset_index(drop=True).drop(columns=drop), expected, rtol=1e-9, atol=1e-12)


def test_target_values_of_scored_rows_are_not_predicted_from(prepared: PreparedData) -> None:
    rows = prepared.rows("test")
    spoilt = dict(prepared.values)
    spoilt["b"] = prepared.values["b"].copy()
    spoilt["b"][rows] = 1e3
    again = dataclasses.replace(prepared, values=spoilt)
    for one, other in zip(
        *(predictions(data, "a", "b", rows, list(METHODS), MATCHES) for data in (prepared, again)), strict=True
    ):
        np.testing.assert_array_equal(one.values, other.values)


def test_the_order_of_rows_and_the_run_change_nothing(
    scores: Scores, simulated_pair: Pair, tiny_config: TinyConfig
) -> None:
    order = np.random.default_rng(0).permutation(len(simulated_pair.frames["a"]))
    pair = pair_from_frames({p: frame.iloc[order] for p, frame in simulated_pair.frames.items()})
    again = evaluate([prepare(pair, tiny_config().data)], ("val", "test"), list(METHODS), MATCHES)
    for table, by in (("summary", BY), ("features", [*BY, "feature"])):
        one, other = (getattr(s, table).set_index(by).drop(columns="seconds", errors="ignore") for s in (scores, again))
        pd.testing.assert_frame_equal(one, other.loc[one.index], rtol=1e-3, atol=1e-3)


def test_folds_are_averaged_and_kept_apart(simulated_pair: Pair, tiny_config: TinyConfig) -> None:
    folds: Folds = prepare_folds(simulated_pair, tiny_config(data__folds=3).data)
    together = evaluate(folds, ("val",), ["ridge", "copy"], MATCHES)
    alone = [evaluate([data], ("val",), ["ridge", "copy"], MATCHES) for data in folds]
    assert (together.summary["folds"] == 3).all()
    expected = np.mean([one.summary["corr_mean"] for one in alone], axis=0)
    np.testing.assert_allclose(together.summary["corr_mean"], expected)
    for number, one in enumerate(alone):
        kept = together.features[together.features["fold"] == number].drop(columns="fold").reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, one.features.drop(columns="fold").reset_index(drop=True))


def test_inner_folds_keep_groups_together(prepared: PreparedData) -> None:
    """Near-copies of a few people: among copies the nearest one is the best neighbour, among strangers the mean is."""
    n = len(prepared.splits)
    people = pd.Series([f"p{i % 12}" for i in range(n)], index=prepared.splits.index)
    rng = np.random.default_rng(0)
    profile = {p: rng.normal(size=(12, d)).astype(np.float32) for p, d in prepared.n_features.items()}
    values = {
        p: (profile[p][np.arange(n) % 12] + 0.01 * rng.normal(size=(n, d))).astype(np.float32)
        for p, d in prepared.n_features.items()
    }
    rows = prepared.rows("val")
    alone, together = (
        next(predictions(dataclasses.replace(prepared, values=values, groups=g), "a", "b", rows, ["knn"], [])).setting
        for g in (None, people)
    )
    assert int(alone.split()[-1]) < int(together.split()[-1])


def test_a_models_predictions_are_scored_alike(prepared: PreparedData, tiny_config: TinyConfig, tmp_path: Path) -> None:
    """What a model predicts gets the figures of its own run, and can be set beside the baselines protein by protein."""
    run = fit(tiny_config(training__max_epochs=2), [prepared], tmp_path / "run", name="x")
    model = build_model(run.folder.config(), prepared.n_features)
    model.load_state_dict(run.folder.weights()[0])
    model.eval()
    rows, tables = prepared.rows("test"), []
    for source, target in CROSS:
        with torch.no_grad():
            x = model.impute(torch.from_numpy(prepared.values[source][rows]), source, target).double().numpy()
        totals, features = scored(Predicted("model", "", np.arange(x.shape[1]), x), prepared, target, rows)
        for name, value in totals.items():
            assert value == pytest.approx(run.test_metrics[f"test_cross_{target}_{name}"], rel=1e-4, abs=1e-5)
        tables.append(features.reset_index().assign(source=source, target=target, split="test", fold=0))
    baselines = evaluate([prepared], ("val", "test"), ["ridge", "mean", "copy"], MATCHES).features
    differences = paired_differences(pd.concat(tables), baselines)
    assert set(differences["split"]) == {"test"}
    found = verdicts(differences).set_index(["method", "target"])
    assert found.loc[("ridge", "a"), "baseline_wins"]  # two epochs are no match for it
    assert not found.loc[("mean", "a"), "baseline_wins"]
    assert found.loc[("copy", "b"), "features"] == 3


def test_differences_are_paired_by_protein_over_the_mean_of_folds() -> None:
    about = {"source": "a", "target": "b", "split": "val"}
    model = pd.DataFrame([about | {"fold": f, "feature": x, "corr": c, "rmse": 1 - c} for f, x, c in (
        (0, "x", 0.5), (1, "x", 0.7), (0, "y", 0.1), (1, "y", 0.1), (0, "only here", 0.9), (0, "nan", np.nan)
    )])  # fmt: skip
    baseline = pd.DataFrame([about | {"method": "m", "fold": 0, "feature": x, "corr": c, "rmse": 1 - c} for x, c in (
        ("x", 0.4), ("y", 0.5), ("only there", 0.2), ("nan", 0.3)
    )])  # fmt: skip
    found = paired_differences(model, baseline).set_index("feature")
    assert found["difference"].to_dict() == pytest.approx({"x": 0.2, "y": -0.4})
    assert paired_differences(model, baseline, "rmse").set_index("feature")["difference"].to_dict() == pytest.approx(
        {"x": 0.2, "y": -0.4}
    )
    (verdict,) = verdicts(found.reset_index()).to_dict("records")
    expected = {"features": 2, "mean": -0.1, "median": -0.1, "share_ahead": 0.5}
    assert {name: verdict[name] for name in expected} == pytest.approx(expected)
    assert verdict["baseline_wins"]


def assert_same(read: Scores, written: Scores) -> None:
    for one, other in zip(read, written, strict=True):
        pd.testing.assert_frame_equal(one, other.reset_index(drop=True), check_dtype=False, rtol=1e-5, atol=1e-6)


def test_what_is_written_is_read_back(scores: Scores, prepared: PreparedData, tmp_path: Path) -> None:
    write_baselines(tmp_path / "x", scores, pd.DataFrame({"fold_0": prepared.splits}), {"note": "x"})
    assert_same(read_baselines(tmp_path / "x"), scores)
    splits = pd.read_csv(tmp_path / "x" / "splits.csv", index_col="sample")["fold_0"]
    assert splits.to_dict() == prepared.splits.to_dict()


def test_a_feature_may_be_called_na(scores: Scores, prepared: PreparedData, tmp_path: Path) -> None:
    renamed = scores._replace(features=scores.features.assign(feature="NA"))
    write_baselines(tmp_path / "x", renamed, pd.DataFrame({"fold_0": prepared.splits}), {})
    assert set(read_baselines(tmp_path / "x").features["feature"]) == {"NA"}


def test_what_is_no_folder_of_baselines_is_said(tmp_path: Path, scores: Scores, prepared: PreparedData) -> None:
    with pytest.raises(FolderError, match=r"is not a folder of cpivae baseline: summary\.csv cannot be read"):
        read_baselines(tmp_path)
    write_baselines(tmp_path / "x", scores, pd.DataFrame({"fold_0": prepared.splits}), {})
    (tmp_path / "x" / "features.csv").write_text("method\nridge\n")
    with pytest.raises(FolderError, match=r"is damaged .*Run cpivae baseline again"):
        read_baselines(tmp_path / "x")


def test_methods_have_names() -> None:
    assert known_methods([]) == list(METHODS) == ["mean", "copy", "ridge", "pls", "knn", "wnn"]
    assert known_methods(["knn", "mean"]) == ["mean", "knn"]
    with pytest.raises(CpivaeError, match=r"no baseline 'rigde'\. Did you mean 'ridge'\? Known: mean, copy"):
        known_methods(["rigde"])


def test_scores_of_features_agree_with_their_totals() -> None:
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(size=(2, 40, 6))
    observed = rng.random((40, 6)) > 0.2
    observed[2:, 0] = False
    metric = PredictionScores(torch.zeros(6))
    metric.update(*map(torch.from_numpy, (predicted, measured, observed)))
    of_features, total = metric.of_features(), metric.compute()
    assert of_features["n"].tolist() == observed.sum(axis=0).tolist()
    for name, value in (("corr", "corr_mean"), ("r2", "mean_feature_r2")):
        assert of_features[name].isnan().tolist() == [True] + [False] * 5
        assert of_features[name].nanmean().item() == pytest.approx(total[value].item())
    by_hand = [np.sqrt(np.mean((p - m)[o] ** 2)) for p, m, o in zip(predicted.T, measured.T, observed.T, strict=True)]
    np.testing.assert_allclose(of_features["rmse"].numpy()[1:], by_hand[1:])


@pytest.mark.slow
def test_on_real_data_ridge_is_as_good_as_published_and_ahead_of_neighbours(tmp_path: Path) -> None:
    written = write_somascan_example(tmp_path / "example")
    data = prepare(read_pair({p: written[p] for p in "ab"}), load_config("default").data)
    found = evaluate([data], ("val",), ["ridge", "pls", "knn", "wnn"], []).summary.set_index("method")["corr_mean"]
    assert (found.loc["ridge"] > 0.5).all()
    for method in ("pls", "knn", "wnn"):
        assert (found.loc[method] > 0.35).all()
    assert (found.loc["ridge"].to_numpy() > found.loc["knn"].to_numpy()).all()
