"""What is said of the best model is what a run and its tables say."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sweeps import CHOSEN, HOSTILE, Made, write_pair

from cpivae.data.prepare import Folds
from cpivae.export import export_run
from cpivae.names import DIRECTIONS, RunFiles
from cpivae.report import coverage, latent, proteins
from cpivae.report.model import ModelPart, model_part
from cpivae.report.predictions import Predictions, predict
from cpivae.report.write import make_report
from cpivae.training.again import Again
from cpivae.training.folder import RunFolder
from cpivae.training.run import evaluate_test
from cpivae.tuning.folder import SweepFolder
from cpivae.uncertainty.calibrate import calibrate
from cpivae.uncertainty.coverage import INTERVAL, LEVELS, Coverage
from cpivae.uncertainty.files import Calibrations
from cpivae.uncertainty.predict import Prediction


def part_of(folder: SweepFolder) -> ModelPart:
    return model_part(folder, folder.best())


def test_its_correlations_are_those_of_the_run(run: RunFolder, predictions: Predictions) -> None:
    selected = run.selected_epoch()
    for platform, table in proteins.tables(predictions.features).items():
        assert table["corr"].mean() == pytest.approx(selected[f"val_cross_{platform}_corr_mean"], abs=1e-6)
        assert list(table["corr"]) == sorted(table["corr"], reverse=True)
        assert set(HOSTILE) < set(table["feature"])


def test_the_test_rows_are_not_read(run: RunFolder, folds: Folds, predictions: Predictions) -> None:
    blind = []
    for data in folds:
        values = {p: v.copy() for p, v in data.values.items()}
        for v in values.values():
            v[data.rows("test")] = np.nan
        blind.append(replace(data, values=values))
    assert len(folds[0].rows("test")) > 5
    unseen = predict(Again(run, lambda: blind), ("val",))
    assert unseen.features.equals(predictions.features)
    for platform in "ab":
        assert np.isfinite(unseen.codes[platform]).all()
    assert len(unseen.ids) == len(folds[0].splits) - len(folds[0].rows("test"))


def test_every_point_is_within_half_a_step_of_its_value(predictions: Predictions) -> None:
    by_platform = proteins.tables(predictions.features)
    described, packed = proteins.pack(predictions, by_platform)
    n = described["n"]
    assert n == described["of"] == len(predictions.measured["a"])
    gaps = 0
    for platform, found in described["platforms"].items():
        for i, name in enumerate(by_platform[platform]["feature"]):
            column = predictions.names[platform].index(name)
            for half, table in enumerate((predictions.measured, predictions.predicted)):
                low, high = found["ranges"][i][2 * half : 2 * half + 2]
                start = found["start"] + (2 * i + half) * n
                coded = np.frombuffer(packed[start : start + n], dtype=np.uint8)
                true = table[platform][:, column]
                assert ((coded == described["missing"]) == np.isnan(true)).all()
                gaps += int(np.isnan(true).sum())
                seen = low + coded / described["levels"] * (high - low)
                assert np.nanmax(np.abs(seen - true)[~np.isnan(true)]) <= (high - low) / described["levels"] / 2 + 1e-9
    assert gaps > 0


def test_points_are_thinned_where_there_are_many_proteins(
    predictions: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proteins, "MAX_BYTES", 300)
    described, packed = proteins.pack(predictions, proteins.tables(predictions.features))
    assert 1 < described["n"] < described["of"]
    assert len(packed) <= 300


def test_with_folds_every_row_is_predicted_by_the_model_that_has_not_seen_it(
    make: Callable[..., Made], tmp_path: Path
) -> None:
    made = make(write_pair(tmp_path), **{"data.folds": 3})
    made.trained(CHOSEN[0])
    folder = made.close()
    assert made.folds is not None
    again = folder.again(folder.best())
    run, found = again.run, predict(again, ("val",))
    left_out = [i for f in made.folds for i in f.splits.index[f.rows("val")]]
    assert len(found.measured["a"]) == len(left_out) == len(set(left_out))
    rows = run.replicas()
    at_best = rows[rows["epoch"] == run.selected_epoch()["epoch"]]
    means = found.features[found.features["target"] == "a"].groupby("fold")["corr"].mean()
    assert means.to_numpy() == pytest.approx(
        at_best.sort_values("replica")["val_cross_a_corr_mean"].to_numpy(), abs=1e-6
    )
    assert "each predicted by the model of the fold that left it out" in part_of(folder).told["model"]["rows"]


def test_without_weights_the_page_says_so(make: Callable[..., Made], tmp_path: Path) -> None:
    made = make(write_pair(tmp_path))
    made.trained(CHOSEN[0], epochs=1)
    folder = made.close()
    folder.trial(folder.best()).final_model.unlink()
    assert "it lacks final_model.ckpt" in part_of(folder).told["model_absent"]


def test_the_coverage_that_is_shown_is_that_of_the_bundle(
    finished: SweepFolder, run: RunFolder, tmp_path: Path
) -> None:
    export_run(run.path, tmp_path / "bundle")
    card = json.loads((tmp_path / "bundle" / RunFiles.CALIBRATION).read_text())
    part = part_of(finished)
    rows = [dict(zip(part.tables["coverage"]["columns"], row, strict=True)) for row in part.tables["coverage"]["rows"]]
    assert len(rows) == 2 * len(LEVELS)
    for row in rows:
        assert row["samples"] == "validation"
        if row["nominal"] == INTERVAL:
            assert row["observed"] == card[f"cross_{row['predicted'].lower()}"]["validation_coverage"]
    assert not part.told["coverage"]["tested"]


def calibrated(error: np.ndarray) -> Calibrations:
    zeros, n = np.zeros_like(error), len(error)
    found = calibrate(Prediction(zeros, zeros, zeros + 1, zeros, []), error, np.ones(error.shape[1]), np.arange(n))
    return dict.fromkeys(DIRECTIONS, found)


@pytest.mark.parametrize(
    ("tails", "wide", "kind", "said"),
    [
        (300, 1.0, "good", "They hold."),
        (
            2.5,
            1.0,
            "warn",
            "They hold. Errors are not normally distributed, so that intervals of other levels are off: 50%",
        ),
        (300, 0.7, "warn", "They are wider than need be."),
        (300, 1.4, "bad", "They are too narrow: new samples"),
    ],
)
def test_what_is_said_of_coverage_is_what_it_is(tails: float, wide: float, kind: str, said: str) -> None:
    """Test samples are those of the ``wide``-fold error of what was learnt from."""
    random = np.random.default_rng(0)
    found = calibrated(random.standard_t(tails, size=(300, 40)))
    zeros, new = np.zeros((200, 40)), wide * random.standard_t(tails, size=(200, 40))
    prediction = Prediction(zeros, zeros, zeros + 1, zeros, [])
    tested = {d: c.tested(prediction, new, np.arange(200)) for d, c in found.items()}
    verdicts = coverage.section(tested, ("val", "test"))[0]["verdicts"]
    assert len(verdicts) == 4
    assert verdicts[1]["kind"] == kind
    assert said in verdicts[1]["text"]
    assert "test values" in verdicts[1]["head"]


def test_few_samples_are_given_the_benefit_of_their_error() -> None:
    """Of nine samples that err each in its own way a coverage of 84 % is no finding."""
    of_nine = Coverage("test", INTERVAL, 0.84, 0.04, 900, 9, 2.0)
    for error, kind in ((0.04, "good"), (0.01, "bad"), (float("nan"), "info")):
        levels = (of_nine._replace(split="val", observed=0.9), of_nine._replace(error=error))
        found = {d: replace(c, levels=levels) for d, c in calibrated(np.ones((9, 4))).items()}
        assert coverage.section(found, ("val", "test"))[0]["verdicts"][1]["kind"] == kind


def test_codes_that_are_the_same_are_recognised_and_lie_on_one_spot() -> None:
    codes = np.random.default_rng(0).normal(size=(40, 5))
    assert latent.recognised({"a": codes, "b": codes}) == (1.0, 1 / 40)
    shuffled = latent.recognised({"a": codes, "b": np.roll(codes, 1, axis=0)})
    assert shuffled[0] == 0
    both, shares = latent.principal_components({"a": codes, "b": codes})
    assert np.allclose(both["a"], both["b"])
    assert 0 < shares[1] <= shares[0] < 1
    one, shares = latent.principal_components({"a": codes[:, :1], "b": codes[:, :1]})
    assert one["a"].shape == (40, 2)
    assert shares.tolist() == [1.0, 0.0]


def test_without_umap_learn_the_page_says_how_to_get_it(
    predictions: Predictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)  # importing it fails, installed or not
    told, pca, umap = latent.section(predictions)
    assert "pip install 'cpivae[umap]'" in told["umap_absent"]
    assert pca is not None
    assert umap is None
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras["umap"][0].startswith("umap-learn")


def test_umap_is_drawn_where_it_is_installed_each_platform_on_its_side(
    predictions: Predictions, umap_stand_in: list[dict[str, Any]]
) -> None:
    told, _, figure = latent.section(predictions)
    assert "umap_absent" not in told
    assert figure is not None
    n, validating = len(predictions.ids), predictions.validating
    assert umap_stand_in == [{"n_neighbors": 15, "random_state": 0, "n_jobs": 1, "shape": (2 * n, 16)}]
    for trace, platform, chosen in zip(figure["data"], "aabb", [~validating, validating] * 2, strict=True):
        at = predictions.codes[platform][chosen]
        assert trace["x"] == pytest.approx(at[:, 0])
        assert trace["y"] == pytest.approx(at[:, 1])
        assert trace.get("xaxis", "x") == ("x" if platform == "a" else "x2")
        assert trace["text"] == [name for name, drawn in zip(predictions.ids, chosen, strict=True) if drawn]
    assert figure["layout"]["yaxis"]["title"]["text"] == "UMAP 2"
    assert latent.section(predictions, umap=False)[2] is None
    assert len(umap_stand_in) == 1, "where it is not asked for it is not made"


def test_test_samples_are_shown_once_a_confirmation_has_read_them(make: Callable[..., Made], tmp_path: Path) -> None:
    made = make(write_pair(tmp_path))
    for values in CHOSEN[:2]:
        made.trained(values)
    folder = made.close()
    number = folder.best().number
    run = folder.trial(folder.best())
    assert made.folds is not None
    tested = evaluate_test(run.config(), made.folds, run)
    before = part_of(folder)
    assert before.told["model"]["test"] == "", "read by somebody else, they stay unseen"
    assert {row[2] for row in before.tables["coverage"]["rows"]} == {"validation"}
    score = {"mean": 0.91234, "low": 0.8, "high": 1.0}
    candidate = {"trial": number, "search_score": 0.95, "score": score}
    confirmed = {"n_trials": 2, "winner": number, "folds": 3, "seeds": 2, "candidates": [candidate]}
    folder.confirmation_file.write_text(json.dumps(confirmed))
    part = part_of(folder)
    assert part.told["coverage"]["tested"]
    (head,) = (
        v["head"] for v in part.told["coverage"]["verdicts"] if v["head"].startswith("A from B") and "test" in v["head"]
    )
    export_run(run.path, tmp_path / "bundle")
    on_card = json.loads((tmp_path / "bundle" / RunFiles.CALIBRATION).read_text())["cross_a"]["test_coverage"]
    assert head == f"A from B: intervals of 90% hold {on_card:.1%} of the test values"
    assert f"A {tested['test_cross_a_corr_mean']:.4f}" in part.told["model"]["test"]
    assert part.proteins is not None
    assert part.proteins["of"] == len(made.folds[0].rows("val")), "the points are of validation samples"
    page = make_report(folder)
    assert "Confirmed: 0.9123 (0.8000 to 1.0000)." in page
    assert "scores is too good" not in page
