"""The bundle: what goes in comes out, and one wrong byte anywhere is noticed."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from cpivae import bundle as format_of
from cpivae.bundle import CARD, FITTED, MANIFEST, METRICS, OF_UNCERTAINTY, WEIGHTS, is_bundle, verify, write_manifest
from cpivae.config.load import load_config, to_yaml, with_values
from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData, prepare
from cpivae.data.tables import Pair, pair_from_frames
from cpivae.errors import BundleError, CpivaeError, DataError, FolderError
from cpivae.export import export_run
from cpivae.impute import Imputer, load_imputer
from cpivae.names import DIRECTIONS, RunFiles
from cpivae.training.run import fit

FILES = (*format_of.FILES, *OF_UNCERTAINTY)

BOTH = pytest.mark.parametrize(("source", "target"), [("a", "b"), ("b", "a")])


@pytest.fixture(scope="module")
def pair() -> Pair:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(60, 3))
    frames = {}
    for platform, d in (("a", 8), ("b", 10)):
        values = 2.0 ** (factors @ rng.normal(size=(3, d)) + 0.3 * rng.normal(size=(60, d)))
        values[rng.random((60, d)) < 0.05] = np.nan
        frames[platform] = pd.DataFrame(
            values, index=[f"S{i}" for i in range(60)], columns=[f"{platform}{j}|µ, x" for j in range(d)]
        )
    return pair_from_frames(frames)


@pytest.fixture(scope="module")
def settings(tiny_config: Callable[..., Config]) -> Config:
    return tiny_config(
        training__max_epochs=2,
        model__latent_dim=4,
        model__encoder_layers=[8],
        data__log_transform__platform_a__enabled=True,
        data__missing_value_strategy="knn",
    )


@pytest.fixture(scope="module")
def data(pair: Pair, settings: Config) -> PreparedData:
    return prepare(pair, settings.data)


@pytest.fixture(scope="module")
def run(settings: Config, data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(settings, [data], tmp_path_factory.mktemp("runs") / "run", name="tiny").folder.path


@pytest.fixture(scope="module")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    export_run(run, path)
    return path


@pytest.fixture(scope="module")
def imputer(bundle: Path) -> Imputer:
    return load_imputer(bundle)


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copied"))


def new_samples(pair: Pair, platform: str, n: int = 20) -> pd.DataFrame:
    known = pair.frames[platform]
    rng = np.random.default_rng(9)
    values = known.to_numpy()[rng.integers(0, 60, n)] * rng.uniform(0.8, 1.2, (n, known.shape[1]))
    return pd.DataFrame(values, index=[f"N{i}" for i in rng.permutation(n)], columns=known.columns)


# ---------------------------------------------------------------------------------------------- contents


def test_a_bundle_holds_its_files_and_nothing_private(bundle: Path, run: Path) -> None:
    assert sorted(p.name for p in bundle.iterdir()) == sorted([*FILES, *FITTED, MANIFEST])
    assert is_bundle(bundle)
    assert not is_bundle(run)
    verify(bundle)
    texts = [p for p in bundle.iterdir() if p.suffix in {".yaml", ".json", ".md", ".txt", ".csv"}]
    assert len(texts) == 8
    for path in texts:
        text = path.read_text()
        assert str(run.parent) not in text
        assert "S1" not in text.split()  # no sample id


def test_files_may_be_read_by_those_who_may_read_any_new_file(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    expected = (tmp_path / "new").stat().st_mode
    assert {p.name: oct(p.stat().st_mode) for p in bundle.iterdir()} == dict.fromkeys(
        [*FILES, *FITTED, MANIFEST], oct(expected)
    )


def test_the_metrics_are_those_of_the_selected_epoch(bundle: Path, run: Path) -> None:
    metrics = json.loads((bundle / METRICS).read_text())
    history = pd.read_csv(run / RunFiles.METRICS).set_index("epoch")
    assert metrics["selected_by"] == "val_cross_a_corr_mean"
    assert metrics["epoch"] == history["val_cross_a_corr_mean"].idxmax()
    for name, value in metrics["validation"].items():
        assert value == pytest.approx(history.loc[metrics["epoch"], name], rel=1e-12)
    assert metrics["test"] == json.loads((run / RunFiles.TEST_METRICS).read_text())
    card = (bundle / CARD).read_text()
    for stage, prefix in (("validation", "val"), ("test", "test")):
        assert f"| a from b | {stage} | {metrics[stage][f'{prefix}_cross_a_corr_mean']:.3f} |" in card
    assert "8 features of platform A, 10 of platform B" in card


def test_the_samples_table_is_named_but_not_where_it_lay(run: Path, tmp_path: Path, settings: Config) -> None:
    private = Path(shutil.copytree(run, tmp_path / "run"))
    table = with_values(settings, {"data.groups": "subject", "data.samples_table": "/home/me/samples.csv"})
    (private / RunFiles.CONFIG).write_text(to_yaml(table))
    shared = tmp_path / "bundle"
    export_run(private, shared)
    assert "/home/me" not in (shared / RunFiles.CONFIG).read_text()
    assert load_config(shared / RunFiles.CONFIG).data.samples_table == Path("samples.csv")


@BOTH
def test_a_bundle_imputes_what_its_run_folder_imputes(
    run: Path, imputer: Imputer, pair: Pair, source: str, target: str
) -> None:
    table = new_samples(pair, source)
    before = load_imputer(run).impute(table, source, target)
    after = imputer.impute(table, source, target)
    np.testing.assert_allclose(after.values, before.values, rtol=1e-6)
    np.testing.assert_allclose(after.latent, before.latent, rtol=1e-6)
    assert after.notes == before.notes


def test_a_copy_elsewhere_imputes_the_same(imputer: Imputer, copied: Path, pair: Pair) -> None:
    table = new_samples(pair, "a")
    pd.testing.assert_frame_equal(
        load_imputer(copied).impute(table, "a", "b").values, imputer.impute(table, "a", "b").values
    )


# ---------------------------------------------------------------------------------------------- exporting


def test_an_occupied_folder_is_refused_and_nothing_left_behind(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match=r"already exists and holds notes\.txt"):
        export_run(run, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["notes.txt", "out"]


@pytest.mark.parametrize("missing", [RunFiles.CONFIG, RunFiles.FINAL_MODEL, RunFiles.preprocess("b")])
def test_an_unfinished_run_is_refused_and_nothing_left_behind(run: Path, tmp_path: Path, missing: str) -> None:
    unfinished = Path(shutil.copytree(run, tmp_path / "run"))
    (unfinished / missing).unlink()
    with pytest.raises(FolderError, match=f"is not a finished run folder: it lacks {missing}"):
        export_run(unfinished, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_damaged_run_leaves_nothing_behind(run: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(run, tmp_path / "run"))
    whole = (damaged / RunFiles.FINAL_MODEL).read_bytes()
    (damaged / RunFiles.FINAL_MODEL).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CpivaeError, match=r"final_model\.ckpt is not a checkpoint, or is damaged"):
        export_run(damaged, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


# ---------------------------------------------------------------------------------------------- damage


def test_a_flipped_bit_anywhere_is_noticed(copied: Path) -> None:
    files = sorted(copied.iterdir())
    rng = random.Random(0)
    anywhere = [(rng.choice(files), rng.random()) for _ in range(60)]
    ends = [(path, place) for path in files for place in (0.0, 1.0)]
    for path, place in [*anywhere, *ends]:
        whole = path.read_bytes()
        i = min(int(place * len(whole)), len(whole) - 1)
        path.write_bytes(whole[:i] + bytes([whole[i] ^ (1 << rng.randrange(8))]) + whole[i + 1 :])
        with pytest.raises(BundleError):
            load_imputer(copied)
        path.write_bytes(whole)
    load_imputer(copied)


def test_flips_in_the_manifest_alone_are_noticed(copied: Path) -> None:
    whole = (copied / MANIFEST).read_bytes()
    for i in range(0, len(whole), 7):
        (copied / MANIFEST).write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with pytest.raises(BundleError, match=r"MANIFEST\.json was changed|has format version"):
            load_imputer(copied)


@pytest.mark.parametrize("name", [*FILES, *FITTED])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match=f"is incomplete: {name} is missing. Export it again"):
        load_imputer(copied)


@pytest.mark.parametrize("name", [*FILES, *FITTED])
def test_a_shortened_file_is_named(copied: Path, name: str) -> None:
    os.truncate(copied / name, (copied / name).stat().st_size - 1)
    with pytest.raises(BundleError, match=f"is damaged: {name} differs from its checksum"):
        load_imputer(copied)


def test_without_its_manifest_it_is_incomplete(copied: Path) -> None:
    (copied / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"is incomplete: MANIFEST\.json is missing"):
        load_imputer(copied)


def test_weights_that_are_none_are_refused_even_with_a_valid_manifest(copied: Path) -> None:
    (copied / WEIGHTS).write_bytes(b"not safetensors at all")
    write_manifest(copied, 1)
    with pytest.raises(BundleError, match=r"weights\.safetensors cannot be read"):
        load_imputer(copied)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"x"', b"{}", b"\xff", b'{"format_version": 1, "files": 3}'])
def test_a_manifest_that_is_something_else(copied: Path, content: bytes) -> None:
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"is damaged: MANIFEST\.json was changed"):
        load_imputer(copied)


def test_an_unknown_format_version_says_what_to_do(copied: Path) -> None:
    manifest = json.loads((copied / MANIFEST).read_text())
    (copied / MANIFEST).write_text(json.dumps(manifest | {"format_version": 4}))
    with pytest.raises(
        BundleError, match=r"has format version 4; this program reads versions 2, 3\. Install the cpivae"
    ):
        load_imputer(copied)


def test_a_changed_checksum_needs_a_changed_manifest(copied: Path) -> None:
    """Who replaces a file and its checksum still has not made a valid manifest."""
    manifest = json.loads((copied / MANIFEST).read_text())
    (copied / CARD).write_text("trust me")
    manifest["files"][CARD] = "0" * 64
    (copied / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    with pytest.raises(BundleError, match=r"MANIFEST\.json was changed"):
        load_imputer(copied)


def test_a_manifest_that_leaves_files_out_vouches_for_nothing(copied: Path) -> None:
    manifest = json.loads((copied / MANIFEST).read_text())
    del manifest["files"][WEIGHTS]
    (copied / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    with pytest.raises(BundleError, match=r"MANIFEST\.json was changed"):
        load_imputer(copied)


def test_a_well_made_bundle_of_hostile_files_executes_nothing(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = Pipeline([("scale", FunctionTransformer(os.system))])
    skops.io.dump(hostile, copied / RunFiles.preprocess("a"))
    write_manifest(copied, 1)
    verify(copied)
    with pytest.raises(BundleError, match=r"preprocess_a\.skops is not a preprocessing file of this program"):
        load_imputer(copied)


def test_files_of_another_model_are_noticed(copied: Path) -> None:
    (copied / RunFiles.CONFIG).write_text(
        (copied / RunFiles.CONFIG).read_text().replace("latent_dim: 4", "latent_dim: 5")
    )
    write_manifest(copied, 1)
    with pytest.raises(BundleError, match=r"the weights in .* do not fit its config\.yaml"):
        load_imputer(copied)


def test_what_is_neither_bundle_nor_run_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="there is no folder"):
        load_imputer(tmp_path / "absent")
    with pytest.raises(FolderError, match=r"is not a finished run folder: it lacks config\.yaml"):
        load_imputer(tmp_path)
    (tmp_path / "trials.csv").touch()
    with pytest.raises(FolderError, match=r"is a sweep folder\. Use its bundle .*/best"):
        load_imputer(tmp_path)


# ---------------------------------------------------------------------------------------------- imputing


@BOTH
def test_rows_are_the_samples_and_columns_the_other_platform(
    imputer: Imputer, pair: Pair, source: str, target: str
) -> None:
    table = new_samples(pair, source)
    imputed = imputer.impute(table, source, target)
    assert imputed.values.index.tolist() == imputed.latent.index.tolist() == table.index.tolist()
    assert imputed.values.columns.tolist() == pair.frames[target].columns.tolist()
    assert imputed.latent.shape == (20, 4)
    assert np.isfinite(imputed.values.to_numpy()).all()


def test_values_are_in_the_units_of_the_training_table(imputer: Imputer, pair: Pair) -> None:
    for source, target in DIRECTIONS:
        known = pair.frames[target]
        imputed = imputer.impute(pair.frames[source], source, target).values
        ratio = imputed.median() / known.median()
        assert ratio.between(0.2, 5).all(), ratio


@BOTH
def test_the_order_of_columns_does_not_matter(imputer: Imputer, pair: Pair, source: str, target: str) -> None:
    table = new_samples(pair, source)
    mixed = table[np.random.default_rng(1).permutation(table.columns)]
    pd.testing.assert_frame_equal(
        imputer.impute(mixed, source, target).values, imputer.impute(table, source, target).values
    )


@BOTH
def test_a_row_alone_is_imputed_as_in_a_table(imputer: Imputer, pair: Pair, source: str, target: str) -> None:
    table = new_samples(pair, source)
    together = imputer.impute(table, source, target)
    alone = [imputer.impute(table.iloc[[i]], source, target) for i in range(len(table))]
    np.testing.assert_allclose(pd.concat([one.values for one in alone]), together.values, rtol=1e-4)
    turned = imputer.impute(table.iloc[::-1], source, target).values.iloc[::-1]
    np.testing.assert_allclose(turned, together.values, rtol=1e-4)


def test_large_tables_are_imputed_in_pieces(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "a")
    large = pd.concat([table] * 120, ignore_index=True)
    large.index = large.index.map(str)
    imputed = imputer.impute(large, "a", "b").values
    assert imputed.index.tolist() == large.index.tolist()
    np.testing.assert_allclose(imputed, np.tile(imputer.impute(table, "a", "b").values, (120, 1)), rtol=1e-4)


def test_unknown_columns_are_noted_and_change_nothing(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "a")
    wide = table.assign(age=50.0, sex=1.0)[["age", *table.columns, "sex"]]
    imputed = imputer.impute(wide, "a", "b")
    assert "2 columns that the model does not know were ignored: age, sex" in imputed.notes
    pd.testing.assert_frame_equal(imputed.values, imputer.impute(table, "a", "b").values)


def test_missing_features_are_named(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "a")
    lacking = table.drop(columns=list(table.columns[[2, 5]]))
    with pytest.raises(DataError) as caught:
        imputer.impute(lacking, "a", "b")
    assert "lacks 2 of the 8 features of platform a that the model was trained on: a2|µ, x, a5|µ, x" in str(
        caught.value
    )
    assert "--allow_missing" in str(caught.value)


def test_allowed_missing_features_are_columns_of_gaps(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "a")
    names = list(table.columns[[2, 5]])
    absent = imputer.impute(table.drop(columns=names), "a", "b", allow_missing=True)
    empty = imputer.impute(table.assign(**dict.fromkeys(names, np.nan)), "a", "b")
    pd.testing.assert_frame_equal(absent.values, empty.values)
    assert absent.notes[0] == "2 missing features filled with training statistics: a2|µ, x, a5|µ, x"
    assert absent.notes[1:] == empty.notes


def test_a_table_of_the_other_platform_is_refused_even_if_missing_is_allowed(imputer: Imputer, pair: Pair) -> None:
    for allow_missing in (False, True):
        with pytest.raises(DataError, match=r"has none of the 8 features of platform a .* Is it the other platform"):
            imputer.impute(new_samples(pair, "b"), "a", "b", allow_missing=allow_missing)


def test_samples_without_any_value_are_noted(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "a")
    assert not any("no measured value" in note for note in imputer.impute(table, "a", "b").notes)
    table.iloc[[3, 7]] = np.nan
    imputed = imputer.impute(table, "a", "b")
    warning = [note for note in imputed.notes if note.startswith("warning: 2 samples have no measured value")]
    assert len(warning) == 1
    assert warning[0].endswith(f"training average: {table.index[3]}, {table.index[7]}")
    np.testing.assert_allclose(imputed.values.iloc[3], imputed.values.iloc[7], rtol=1e-6)
    gaps = int(table.isna().to_numpy().sum())
    assert f"{gaps} of 160 input cells were missing and filled with training statistics" in imputed.notes


def test_a_complete_table_has_no_notes(imputer: Imputer, pair: Pair) -> None:
    assert imputer.impute(new_samples(pair, "a").fillna(1.0), "a", "b").notes == []


def test_imputing_repeats_itself_and_leaves_the_table_alone(imputer: Imputer, pair: Pair) -> None:
    table = new_samples(pair, "b")
    original = table.copy()
    first, second = (imputer.impute(table, "b", "a").values for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    pd.testing.assert_frame_equal(table, original)


def test_training_rows_inside_are_disclosed(bundle: Path, run: Path, settings: Config, tmp_path: Path) -> None:
    """A bundle that fills gaps from the nearest training rows holds those rows, and says so wherever it is made."""
    assert settings.data.missing_value_strategy == "knn"
    (note,) = export_run(run, tmp_path / "again")
    assert "holds the scaled values of the training samples" in note
    assert "holds the scaled values of" in (bundle / CARD).read_text()


def test_without_training_rows_nothing_is_disclosed(pair: Pair, settings: Config, tmp_path: Path) -> None:
    filled_by_mean = with_values(settings, {"data.missing_value_strategy": "mean", "training.max_epochs": 1})
    run = fit(filled_by_mean, [prepare(pair, filled_by_mean.data)], tmp_path / "run", name="tiny").folder.path
    assert export_run(run, tmp_path / "bundle") == []
    assert "scaled values" not in (tmp_path / "bundle" / CARD).read_text()
