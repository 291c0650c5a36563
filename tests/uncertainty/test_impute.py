"""Standard deviations from a run or a bundle, end to end: what the card promises is what a user finds."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cpivae import bundle as format_of
from cpivae.bundle import CARD, MANIFEST, OF_UNCERTAINTY, write_manifest
from cpivae.cli.main import main
from cpivae.config.schema import Config
from cpivae.data.prepare import Folds, read_and_prepare
from cpivae.data.tables import Pair
from cpivae.errors import BundleError, DataError, FolderError
from cpivae.export import export_run
from cpivae.impute import Imputed, Imputer, load_imputer
from cpivae.names import RunFiles, prediction
from cpivae.training.run import RunResult, fit

CROSS = (("a", "b"), ("b", "a"))
BOTH = pytest.mark.parametrize(("source", "target"), CROSS)
HALF_WIDTH = 1.6449

TinyConfig = Callable[..., Config]


def read(folder: Path, config: Config) -> Folds:
    return read_and_prepare({p: folder / f"{p}.csv" for p in "ab"}, config.data)[0]


def numbers(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((folder / RunFiles.CALIBRATION).read_text())
    return found


@pytest.fixture(scope="module")
def tables(simulated_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for platform, frame in simulated_pair.frames.items():
        frame.to_csv(folder / f"{platform}.csv")
    return folder


@pytest.fixture(scope="module")
def config(tiny_config: TinyConfig) -> Config:
    return tiny_config(
        training__max_epochs=6,
        training__learning_rate=0.01,
        data__log_transform__platform_b__enabled=True,
        data__splits={"train": 0.6, "val": 0.2, "test": 0.2},
    )


@pytest.fixture(scope="module")
def run(tables: Path, config: Config, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return fit(config, read(tables, config), tmp_path_factory.mktemp("runs") / "run", name="x")


@pytest.fixture(scope="module")
def bundle(run: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    assert export_run(run.folder.path, path) == []
    return path


@pytest.fixture(scope="module")
def imputer(bundle: Path) -> Imputer:
    return load_imputer(bundle)


def imputed(imputer: Imputer, pair: Pair, source: str, target: str, split: str, run: RunResult) -> Imputed:
    splits = pd.read_csv(run.folder.path / "splits.csv", index_col=0)["split"]
    return imputer.impute(pair.frames[source].loc[splits.index[splits == split]], source, target, uncertainty=True)


def covered(found: Imputed, measured: pd.DataFrame) -> float:
    assert found.sd is not None
    truth = measured.loc[found.values.index, found.values.columns].to_numpy()
    inside = np.abs(truth - found.values.to_numpy()) <= HALF_WIDTH * found.sd.to_numpy()
    return float(inside[~np.isnan(truth)].mean())


# ---------------------------------------------------------------------------------------------- promises


@BOTH
def test_the_coverage_of_the_card_is_what_a_user_finds(
    imputer: Imputer, bundle: Path, run: RunResult, simulated_pair: Pair, source: str, target: str
) -> None:
    found = covered(imputed(imputer, simulated_pair, source, target, "test", run), simulated_pair.frames[target])
    said = numbers(bundle)[prediction(source, target)]
    assert said["test_coverage"] == pytest.approx(found, abs=1e-3)
    assert 0.85 <= found <= 0.95
    assert said["validation_coverage"] == pytest.approx(0.9, abs=0.03)
    assert said["rows"] == 48
    assert (
        f"| {target} from {source} | {said['validation_coverage']:.1%} of 48 rows | {found:.1%}"
        in (bundle / CARD).read_text()
    )


@BOTH
def test_the_card_lists_every_proteins_correlation(
    imputer: Imputer, bundle: Path, run: RunResult, simulated_pair: Pair, source: str, target: str
) -> None:
    found = imputed(imputer, simulated_pair, source, target, "val", run).values
    by_hand = found.corrwith(simulated_pair.frames[target].loc[found.index, found.columns])
    known = pd.read_csv(bundle / RunFiles.FEATURES)
    listed = known[known["prediction"] == prediction(source, target)].set_index("feature")
    np.testing.assert_allclose(listed["corr"], by_hand[listed.index], atol=1e-5)
    card = (bundle / CARD).read_text()
    section = card.partition(f"### {target} from {source}")[2].partition("###")[0]
    shown = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert {row[0].removeprefix("| "): float(row[1]) for row in shown} == by_hand.round(3).to_dict()
    assert [float(row[1]) for row in shown] == sorted((float(row[1]) for row in shown), reverse=True)


@BOTH
def test_every_value_has_a_standard_deviation_and_is_the_same_without(
    imputer: Imputer, simulated_pair: Pair, source: str, target: str
) -> None:
    table = simulated_pair.frames[source].iloc[:30]
    found, plain = (imputer.impute(table, source, target, uncertainty=asked) for asked in (True, False))
    pd.testing.assert_frame_equal(found.values, plain.values, check_exact=True)
    assert plain.sd is None
    assert found.sd is not None
    assert (found.sd > 0).all(axis=None)
    assert found.sd.index.equals(found.values.index)
    assert found.sd.columns.equals(found.values.columns)
    again = imputer.impute(table.iloc[::-1], source, target, uncertainty=True).sd
    assert again is not None
    np.testing.assert_allclose(again.iloc[::-1], found.sd, rtol=1e-3)


def test_a_logged_platform_is_less_certain_where_it_is_higher(imputer: Imputer, simulated_pair: Pair) -> None:
    found = imputer.impute(simulated_pair.frames["a"], "a", "b", uncertainty=True)
    assert found.sd is not None
    assert found.values.corrwith(found.sd, method="spearman").mean() > 0.2


def test_noise_in_the_target_widens_what_was_measured(
    tables: Path, config: Config, run: RunResult, simulated_pair: Pair, tmp_path: Path
) -> None:
    shutil.copy(tables / "a.csv", tmp_path)
    b = simulated_pair.frames["b"]
    noise = 3 * b.std().to_numpy() * np.random.default_rng(0).normal(size=b.shape)
    (b + noise).to_csv(tmp_path / "b.csv")
    noisy = fit(config, read(tmp_path, config), tmp_path / "run", name="x").folder.path
    table = simulated_pair.frames["a"]
    noisier, plain = (load_imputer(p).impute(table, "a", "b", uncertainty=True).sd for p in (noisy, run.folder.path))
    assert noisier is not None
    assert plain is not None
    assert (noisier.mean() > 1.5 * plain.mean()).all()


def test_memory_is_that_of_the_tables_and_not_of_the_draws(imputer: Imputer, simulated_pair: Pair) -> None:
    table = simulated_pair.frames["a"]

    def peak(n: int) -> int:
        long = pd.concat([table] * (n // len(table)), ignore_index=True)
        tracemalloc.start()
        imputer.impute(long, "a", "b", uncertainty=True)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    more = peak(2880) - peak(960)
    cells_in, cells_out, codes = 1920 * 20, 1920 * 30, 1920 * 6
    # Values and deviations once; the input and the codes, and a copy of each.
    assert more < 8 * (2 * cells_out + 3 * cells_in + 4 * codes)


# ---------------------------------------------------------------------------------------------- min_corr


def test_features_below_a_correlation_are_left_out_of_both_tables(
    imputer: Imputer, bundle: Path, simulated_pair: Pair
) -> None:
    known = pd.read_csv(bundle / RunFiles.FEATURES).query("prediction == 'cross_b'").set_index("feature")["corr"]
    threshold = float(known.median())
    table = simulated_pair.frames["a"].iloc[:9]
    whole = imputer.impute(table, "a", "b", uncertainty=True)
    found = imputer.impute(table, "a", "b", uncertainty=True, min_corr=threshold)
    kept = list(known.index[known >= threshold])
    assert 0 < len(kept) < 30
    assert list(found.values.columns) == kept
    assert whole.sd is not None
    assert found.sd is not None
    pd.testing.assert_frame_equal(found.values, whole.values[kept])
    pd.testing.assert_frame_equal(found.sd, whole.sd[kept])
    told = f"{30 - len(kept)} of 30 features left out: correlation on validation samples below {threshold:g}"
    assert told in found.notes


def test_a_threshold_that_leaves_nothing_is_refused(imputer: Imputer, simulated_pair: Pair) -> None:
    with pytest.raises(DataError, match=r"--min_corr 0.9999 would leave out all 30 features; the highest .* lower"):
        imputer.impute(simulated_pair.frames["a"], "a", "b", min_corr=0.9999)


# ---------------------------------------------------------------------------------------------- what is not known


def test_an_older_bundle_imputes_and_says_why_it_knows_no_more(
    bundle: Path, imputer: Imputer, simulated_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(shutil.copytree(bundle, tmp_path / "old"))
    for name in OF_UNCERTAINTY:
        (old / name).unlink()
    monkeypatch.setattr(format_of, "FORMAT_VERSION", 2)
    write_manifest(old, 1)
    assert json.loads((old / MANIFEST).read_text())["format_version"] == 2
    monkeypatch.undo()
    table = simulated_pair.frames["a"].iloc[:5]
    older = load_imputer(old)
    pd.testing.assert_frame_equal(older.impute(table, "a", "b").values, imputer.impute(table, "a", "b").values)
    for asked in ({"uncertainty": True}, {"min_corr": 0.3}):
        with pytest.raises(BundleError, match=r"does not say how uncertain .* Export it again with cpivae export"):
            older.impute(table, "a", "b", **asked)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("cross_b,B03", "cross_b,B99"),
        lambda text: text.replace(",corr,", ",r,"),
        lambda text: text.replace("cross_b,B03,4", "cross_b,B03,x"),
        lambda _: "",
    ],
    ids=["other features", "no column", "no number", "empty"],
)
def test_a_damaged_table_of_features_is_named(
    bundle: Path, simulated_pair: Pair, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    copied = Path(shutil.copytree(bundle, tmp_path / "copied"))
    text = (copied / RunFiles.FEATURES).read_text()
    assert damage(text) != text
    (copied / RunFiles.FEATURES).write_text(damage(text))
    write_manifest(copied, 1)
    with pytest.raises(FolderError, match=r"features\.csv or calibration\.json in .* is damaged"):
        load_imputer(copied).impute(simulated_pair.frames["a"], "a", "b", uncertainty=True)


def test_a_trial_is_measured_when_it_is_exported_and_its_test_rows_stay_unread(
    tables: Path, config: Config, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(tables, tmp_path / "tables"))
    folder = fit(config, read(here, config), tmp_path / "trial", name="x", is_trial=True).folder
    assert not any((folder.path / name).exists() for name in OF_UNCERTAINTY)
    assert export_run(folder.path, tmp_path / "bundle") == []
    found = numbers(tmp_path / "bundle")
    assert found["cross_a"]["test_coverage"] is None
    assert found["cross_a"]["validation_coverage"] == pytest.approx(0.9, abs=0.03)
    assert "Coverage on test samples is not known" in (tmp_path / "bundle" / CARD).read_text()
    # Other values in test rows change nothing.
    splits = pd.read_csv(folder.path / "splits.csv", index_col=0)["split"]
    environment = json.loads((folder.path / RunFiles.ENVIRONMENT).read_text())
    for platform in "ab":
        table = pd.read_csv(here / f"{platform}.csv", index_col=0)
        table.loc[splits.index[splits == "test"]] += 1000.0
        table.to_csv(here / f"{platform}.csv")
        described = environment["data"][f"platform_{platform}"]
        described["sha256"] = format_of.sha256(here / f"{platform}.csv")
    (folder.path / RunFiles.ENVIRONMENT).write_text(json.dumps(environment))
    export_run(folder.path, tmp_path / "again")
    for name in OF_UNCERTAINTY:
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "bundle" / name).read_text()


def test_without_its_tables_a_trial_is_exported_with_a_warning(
    tables: Path, config: Config, simulated_pair: Pair, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(tables, tmp_path / "tables"))
    folder = fit(config, read(here, config), tmp_path / "trial", name="x", is_trial=True).folder
    with (here / "b.csv").open("a") as stream:
        stream.write("\n")
    (note,) = export_run(folder.path, tmp_path / "changed")
    assert note.startswith("warning: the bundle cannot say how uncertain its predictions are: ")
    assert "b.csv has changed since" in note
    (here / "a.csv").unlink()
    (note,) = export_run(folder.path, tmp_path / "moved")
    assert "is no longer at" in note
    assert "Not measured" in (tmp_path / "moved" / CARD).read_text()
    with pytest.raises(BundleError, match="does not say how uncertain"):
        load_imputer(tmp_path / "moved").impute(simulated_pair.frames["a"], "a", "b", uncertainty=True)
    with pytest.raises(FolderError, match="is no longer at"):
        load_imputer(folder.path).impute(simulated_pair.frames["a"], "a", "b", uncertainty=True)


def test_folds_and_replicas_cover_too(
    tables: Path, tiny_config: TinyConfig, simulated_pair: Pair, tmp_path: Path
) -> None:
    settings = tiny_config(data__folds=3, training__replicas=2, model__model_type="res_unet")
    folds = read(tables, settings)
    run = fit(settings, folds, tmp_path / "run", name="x")
    export_run(run.folder.path, tmp_path / "bundle")
    imputer = load_imputer(tmp_path / "bundle")
    assert [one.fold for one in imputer.replicas] == [0, 1, 2, 0, 1, 2]
    found = numbers(tmp_path / "bundle")["cross_a"]
    assert found["rows"] == sum(len(fold.rows("val")) for fold in folds)
    rows = folds[0].splits.index[folds[0].rows("test")]
    test = imputer.impute(simulated_pair.frames["b"].loc[rows], "b", "a", uncertainty=True)
    assert covered(test, simulated_pair.frames["a"]) == pytest.approx(found["test_coverage"], abs=1e-3)
    assert 0.85 <= found["test_coverage"] <= 0.96


# ---------------------------------------------------------------------------------------------- the command


def command(capsys: pytest.CaptureFixture[str], status: int, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert ended.value.code == status, said
    assert "Traceback" not in said.err + said.out
    return " ".join((said.out + said.err).split())


def test_the_command_writes_both_tables_in_their_formats(
    bundle: Path,
    imputer: Imputer,
    tables: Path,
    simulated_pair: Pair,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("impute", "--experiment_dir", bundle, "--input_data", tables / "a.csv")
    directed = (*words, "--source_platform", "a", "--target_platform", "b", "--output", tmp_path / "b.csv")
    said = command(capsys, 0, *directed, "--uncertainty", tmp_path / "sd.parquet", "--min_corr", "0.1")
    assert "value ± 1.645 of them is a 90 % interval" in said
    expected = imputer.impute(simulated_pair.frames["a"], "a", "b", uncertainty=True, min_corr=0.1)
    assert expected.sd is not None
    values = pd.read_csv(tmp_path / "b.csv", index_col=0)
    sd = pd.read_parquet(tmp_path / "sd.parquet").set_index("sample")
    np.testing.assert_allclose(values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(sd, expected.sd, rtol=1e-6)
    assert list(sd.columns) == list(values.columns)
    for wrong, reason in (
        (("--uncertainty", tmp_path / "b.csv"), "--input_data, --output and --uncertainty must be different files"),
        (("--uncertainty", tmp_path / "sd.docx"), "docx"),
        (("--min_corr", "2"), "min_corr"),
        (("--min_corr", "0.9999"), "would leave out all 30 features"),
        (("--ensemble", "3"), "is not a sweep folder; --ensemble takes the 3 best trials of one"),
    ):
        assert reason in command(capsys, 2, *directed, *wrong)
