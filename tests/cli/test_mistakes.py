"""A user's mistake gets one clear sentence, exit status 2, no traceback, and leaves nothing behind."""

import bz2
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cpivae.cli.main import main

SMALL = ("--set", "model.latent_dim=4", "--set", "training.max_epochs=2")


def table(prefix, d, n=40, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        random.normal(size=(n, d)), index=[f"S{i}" for i in range(n)], columns=[f"{prefix}{i}" for i in range(d)]
    )


def write(frame, path):
    frame.to_csv(path, index_label="SampleID")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a good pair of tables."""
    monkeypatch.chdir(tmp_path)
    write(table("a", 6), tmp_path / "a.csv")
    write(table("b", 8, seed=1), tmp_path / "b.csv")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder and its bundle."""
    folder = tmp_path_factory.mktemp("trained")
    write(table("a", 6), folder / "a.csv")
    write(table("b", 8, seed=1), folder / "b.csv")
    tables = ("--platform_a", str(folder / "a.csv"), "--platform_b", str(folder / "b.csv"))
    where = ("--output_dir", str(folder / "outputs"), "--version", "one")
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", "default", *tables, *where, *SMALL])
    assert ended.value.code == 0
    run = folder / "outputs" / "joint_vae_experiment" / "one"
    with pytest.raises(SystemExit) as ended:
        main(["export", "--experiment_dir", str(run), "--output", str(folder / "bundle")])
    assert ended.value.code == 0
    return folder


def refused(capsys, *arguments):
    """Run a command that must be refused; return what it says."""
    before = contents(Path.cwd())
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert ended.value.code == 2, said
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err + said.out
    assert contents(Path.cwd()) == before, "nothing may be left behind"
    return said.err


def contents(folder):
    return sorted(str(p) for p in folder.rglob("*"))


def train(*more):
    return ("train", "--config", "default", "--platform_a", "a.csv", "--platform_b", "b.csv", *SMALL, *more)


def tune(*more):
    return (
        *("tune", "--config", "default", "--search_space", "smoke", "--platform_a", "a.csv", "--platform_b", "b.csv"),
        *more,
    )


BOTH = pytest.mark.parametrize("command", [train(), tune()], ids=["train", "tune"])


@BOTH
def test_no_shared_ids(here, capsys, command):
    frame = table("b", 8)
    frame.index = [f"other{i}" for i in range(len(frame))]
    write(frame, here / "b.csv")
    said = refused(capsys, *command)
    assert "S0" in said
    assert "other0" in said


@BOTH
def test_duplicate_ids(here, capsys, command):
    frame = table("a", 6)
    frame.index = ["S1", *frame.index[1:]]
    write(frame, here / "a.csv")
    said = refused(capsys, *command)
    assert "a.csv" in said
    assert "S1" in said


@BOTH
def test_a_cell_that_is_no_number(here, capsys, command):
    frame = table("a", 6).astype(object)
    frame.iloc[3, 2] = "high"
    write(frame, here / "a.csv")
    said = refused(capsys, *command)
    for part in ("a.csv", "S3", "a2", "high"):
        assert part in said


@BOTH
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda p: p.write_text(""), "empty"),
        (lambda p: p.write_bytes(p.read_bytes()[:-40]), "a.csv"),
        (lambda p: (p.unlink(), p.mkdir()), "folder"),
        (lambda p: p.write_bytes(b"PAR1" + bytes(200) + b"PAR1"), "parquet"),
        (lambda p: p.write_bytes(bz2.compress(p.read_bytes())), "bzip2"),
        (lambda p: p.unlink(), "a.csv"),
    ],
    ids=["empty", "truncated", "directory", "parquet_inside", "bzip2_inside", "missing"],
)
def test_a_file_that_is_not_a_table(here, capsys, command, damage, expected):
    damage(here / "a.csv")
    assert expected in refused(capsys, *command)


@BOTH
def test_too_few_samples_for_the_splits(here, capsys, command):
    write(table("a", 6, n=9), here / "a.csv")
    said = refused(capsys, *command)
    assert "too few for the splits" in said
    assert "data.splits" in said


@BOTH
def test_a_config_with_several_mistakes(here, capsys, command):
    (here / "my.yaml").write_text("training: {learning_rat: 0.1, batch_size: many}\ndata: {splits: {train: 0.9}}\n")
    command = ["my.yaml" if c == "default" else c for c in command]
    said = refused(capsys, *command)
    assert "training.learning_rat: unknown setting. Did you mean 'learning_rate'?" in said
    assert "training.batch_size" in said
    assert "data.splits" in said


def test_a_config_that_does_not_exist(here, capsys):
    command = ["defalt" if c == "default" else c for c in train()]
    assert "Did you mean 'default'?" in refused(capsys, *command)
    assert here.exists()


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("model.latent_dimm: {randint: [1, 4]}", "Did you mean 'model.latent_dim'?"),
        ("model.latent_dim: {randint: [0, 4]}", "greater than or equal to 1"),
        ("model.latent_dim: {randit: [1, 4]}", "Did you mean 'randint'?"),
        ("training.learning_rate: {loguniform: [0, 1]}", "above 0"),
        ("data.random_seed: {randint: [0, 4]}", "cannot be searched"),
        ("training.optimizer: {choice: [sgd]}", "training.optimizer"),
        ("", "empty"),
    ],
)
def test_a_space_that_cannot_be_searched(here, capsys, space, expected):
    (here / "space.yaml").write_text(space + "\n")
    command = ["space.yaml" if c == "smoke" else c for c in tune()]
    assert expected in refused(capsys, *command)


def test_a_metric_that_does_not_exist(here, capsys):
    said = refused(capsys, *tune("--metric", "val_cross_a_cor_mean"))
    assert "Did you mean 'val_cross_a_corr_mean'?" in said
    assert here.exists()


@pytest.mark.parametrize("command", [train("--version", "one"), tune()], ids=["train", "tune"])
def test_an_output_folder_with_other_contents(here, capsys, command):
    for folder in ("outputs/joint_vae_experiment/one", "outputs_tune/joint_vae_study"):
        (here / folder).mkdir(parents=True)
        (here / folder / "notes.txt").write_text("keep me")
    said = refused(capsys, *command)
    assert "already exists and holds notes.txt" in said


def test_more_gpus_than_there_are(here, capsys):
    n = torch.cuda.device_count()
    assert f"has {n}" in refused(capsys, *tune("--gpus_per_trial", n + 1))
    said = refused(capsys, *train("--set", "hardware.accelerator=gpu", "--set", f"hardware.devices={n + 1}"))
    assert f"this machine has {n}" in said
    assert here.exists()


def test_more_cpus_than_there_are(here, capsys):
    assert "would wait for ever" in refused(capsys, *tune("--cpus_per_trial", 4096))
    assert here.exists()


@pytest.mark.parametrize("name", ["../up", "", "a/b", "{epoch}", ".hidden", "a\nb"])
def test_names_that_would_break_out_of_the_folder(here, name):
    before = contents(here)
    for command in (train("--experiment_name", name), train("--version", name or "/"), tune("--study_name", name)):
        with pytest.raises(SystemExit) as ended:
            main(list(command))
        assert ended.value.code == 2
    assert contents(here) == before


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("model.latent_dim=5", "another model"), ("model.encoder_layers=[7]", "another model")],
)
def test_a_checkpoint_of_another_architecture(here, trained, capsys, setting, expected):
    checkpoint = trained / "outputs/joint_vae_experiment/one/checkpoints/last.ckpt"
    said = refused(capsys, *train("--resume_from_checkpoint", checkpoint, "--set", setting))
    assert expected in said
    assert here.exists()


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("data.random_seed=7", "other samples, features or splits"),
        ("data.splits={train: 0.6, val: 0.2, test: 0.2}", "other samples, features or splits"),
        ("training.learning_rate=0.5", "learning_rate=0.003"),
        ("training.optimizer=adam", "optimizer=adamw"),
    ],
)
def test_a_checkpoint_of_other_data_or_another_optimiser(here, trained, capsys, setting, expected):
    checkpoint = trained / "outputs/joint_vae_experiment/one/checkpoints/last.ckpt"
    more = ("--set", "training.max_epochs=3", "--set", setting)
    for platform in "ab":
        (here / f"{platform}.csv").write_bytes((trained / f"{platform}.csv").read_bytes())
    assert expected in refused(capsys, *train("--resume_from_checkpoint", checkpoint, *more))


def test_a_checkpoint_that_is_none(here, capsys):
    assert "is not a checkpoint" in refused(capsys, *train("--resume_from_checkpoint", "a.csv"))
    assert "there is no checkpoint" in refused(capsys, *train("--resume_from_checkpoint", "none.ckpt"))
    assert here.exists()


def impute(bundle, *more):
    options = {
        "--experiment_dir": bundle,
        "--input_data": "a.csv",
        "--source_platform": "a",
        "--target_platform": "b",
        "--output": "out.csv",
    } | dict(zip(more[::2], more[1::2], strict=True))
    return ("impute", *(word for pair in options.items() for word in pair))


def test_imputing_with_mistakes(here, trained, capsys):
    bundle = trained / "bundle"
    frame = table("a", 6)
    write(frame.drop(columns=["a2", "a4"]), here / "short.csv")
    assert "a2, a4" in refused(capsys, *impute(bundle, "--input_data", "short.csv"))
    write(frame.rename(columns={"a2": "A2 "}), here / "spelt.csv")
    said = refused(capsys, *impute(bundle, "--input_data", "spelt.csv"))
    assert "1 of them differ only by case or blanks: 'a2' is 'A2 ' in the table" in said
    assert "none of the 6 features" in refused(capsys, *impute(bundle, "--input_data", "b.csv"))
    assert "out.docx" in refused(capsys, *impute(bundle, "--output", "out.docx"))
    assert "nowhere" in refused(capsys, *impute(bundle, "--output", "nowhere/out.csv"))
    assert "no folder" in refused(capsys, *impute("no_bundle"))
    measured = (here / "a.csv").read_bytes()
    assert "different files" in refused(capsys, *impute(bundle, "--output", "./a.csv"))
    assert "different files" in refused(capsys, *impute(bundle, "--output_latent", "out.csv"))
    assert (here / "a.csv").read_bytes() == measured
    assert "not a finished run folder" in refused(capsys, *impute(here))


def test_a_bundle_with_a_changed_byte(here, trained, capsys):
    for name in ("weights.safetensors", "preprocess_a.skops", "config.yaml", "MANIFEST.json"):
        bundle = here / f"bundle_{name}"
        bundle.mkdir()
        for file in (trained / "bundle").iterdir():
            (bundle / file.name).write_bytes(file.read_bytes())
        damaged = bytearray((bundle / name).read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (bundle / name).write_bytes(damaged)
        assert "is damaged" in refused(capsys, *impute(bundle))


def test_exporting_with_mistakes(here, trained, capsys):
    run = trained / "outputs/joint_vae_experiment/one"
    assert "either --sweep" in refused(capsys, "export", "--output", "bundle")
    assert "not a sweep folder" in refused(capsys, "export", "--sweep", run, "--output", "bundle")
    assert "not a finished run folder" in refused(capsys, "export", "--experiment_dir", here, "--output", "bundle")
    assert "is a file" in refused(capsys, "export", "--experiment_dir", run, "--output", "a.csv")
    assert "already exists" in refused(capsys, "export", "--experiment_dir", run, "--output", trained / "bundle")
