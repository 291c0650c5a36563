"""``cpivae simulate`` and ``cpivae baseline`` as a user gives them: what is said, what is left, what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cpivae.baselines.folder import read_baselines
from cpivae.cli.main import main
from cpivae.config.yaml import read_yaml_mapping
from cpivae.names import RunFiles


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated pair."""
    folder = tmp_path_factory.mktemp("simulated") / "pair"
    ended = command("simulate", "--n", 160, "--platform_a", 24, "--platform-b", 30, "--seed", 3, "--output_dir", folder)
    assert ended == 0
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def measuring(pair: Path, *more: object) -> tuple[object, ...]:
    return ("baseline", "--platform_a", pair / "platform_a.csv", "--platform_b", pair / "platform_b.csv", *more)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    before = sorted(Path.cwd().rglob("*"))
    assert command(*words) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert sorted(Path.cwd().rglob("*")) == before, "nothing may be left behind"
    return said.err


def test_simulate_says_what_was_planted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("simulate", "--n", 200, "--platform_a", 100, "--platform_b", 120, "--output_dir", "new/pair") == 0
    said = capsys.readouterr().out
    for expected in (
        "100 features are on both platforms",
        "published           0.01  0.22  0.62",
        "missing cells: 3.",
        "wrote 200 samples x 100 and 120 features to new/pair",
    ):
        assert expected in said
    assert (here / "new" / "pair" / "planted.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--n", 10), "at least 20 samples and 2 features of each platform are needed"),
        (("--platform_a", 1), "1 on platform a"),
        (("--platform_a", "a.csv"), "--platform_a"),
        (("--seed", -1), "--seed"),
        (("--output_dir", "occupied"), "already exists and holds notes.txt"),
        (("--output_dir", "occupied/notes.txt"), "is a file"),
    ],
)
def test_what_cannot_be_simulated(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], told: str
) -> None:
    (here / "occupied").mkdir()
    (here / "occupied" / "notes.txt").write_text("mine")
    defaults = {"--n": 50, "--platform_a": 5, "--platform_b": 6, "--output_dir": "new"}
    given = defaults | dict(zip(words[::2], words[1::2], strict=True))
    assert told in refused(capsys, "simulate", *(word for option in given.items() for word in option))


def test_a_simulated_pair_trains_and_is_measured_on_the_same_split(
    here: Path, pair: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*measuring(pair, "--set", "data.random_seed=5")) == 0
    said = capsys.readouterr().out
    assert "24 features of a and 24 of b have a match on the other platform" in said
    assert "24 validation samples, correlation per feature" in said
    assert "the 24 test samples were not read (--test reads them)" in said
    assert said.count("a from b  ") == said.count("b from a  ") == 6
    found = read_baselines(here / "outputs_baseline")
    assert set(found.summary["split"]) == {"val"}
    assert f"{found.summary['corr_mean'].iloc[2]:.4f}" in said
    tables = ("--platform_a", pair / "platform_a.csv", "--platform_b", pair / "platform_b.csv", "--version", "x")
    small = ("--set", "training.max_epochs=1", "--set", "data.random_seed=5", "--set", "hardware.threads=1")
    assert command("train", "--config", "default", *tables, *small) == 0
    (splits,) = here.rglob(f"x/{RunFiles.SPLITS}")
    of_model = pd.read_csv(splits, index_col=0)["split"]
    of_baselines = pd.read_csv(here / "outputs_baseline" / "splits.csv", index_col=0)["fold_0"]
    assert of_baselines.to_dict() == of_model.to_dict()


def test_the_test_samples_are_read_when_asked(here: Path, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--test", "--folds", 3, "--method", "ridge", "--method", "mean", "--output_dir", "x")
    assert command(*measuring(pair, *chosen)) == 0
    said = capsys.readouterr().out
    assert "fold 3 of 3, b from a: ridge took" in said
    assert "136 validation samples" in said
    assert "24 test samples" in said
    assert "not read" not in said
    found = read_baselines(here / "x")
    assert set(found.summary["method"]) == {"mean", "ridge"}
    assert set(found.summary["split"]) == {"val", "test"}
    assert (found.summary["folds"] == 3).all()
    assert set(found.features["fold"]) == {0, 1, 2}
    written = read_yaml_mapping(here / "x" / "baseline.yaml")
    assert written["scored"] == ["val", "test"]
    assert written["data"]["folds"] == 3
    assert list(pd.read_csv(here / "x" / "splits.csv").columns) == ["sample", "fold_0", "fold_1", "fold_2"]


def test_transposed_tables_and_a_list_of_matches(here: Path, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for platform in "ab":
        pd.read_csv(pair / f"platform_{platform}.csv", index_col=0).T.to_csv(here / f"platform_{platform}.csv")
    (here / "map.csv").write_text("feature_a,feature_b\nSIM00001|a,SIM00002|b\n")
    chosen = ("--method", "copy", "--transpose", "--feature_map", "map.csv", "--output_dir", "x")
    assert command(*measuring(here, *chosen)) == 0
    assert "1 features of a and 1 of b have a match" in capsys.readouterr().out
    assert set(read_baselines(here / "x").features["feature"]) == {"SIM00001|a", "SIM00002|b"}


def test_the_same_command_gives_the_same_files(here: Path, pair: Path) -> None:
    for name in ("one", "two"):
        assert command(*measuring(pair, "--output_dir", name)) == 0
    for name in ("features.csv", "splits.csv"):
        assert (here / "one" / name).read_bytes() == (here / "two" / name).read_bytes()
    one, two = (read_baselines(here / name).summary.drop(columns="seconds") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "rigde"), "no baseline 'rigde'. Did you mean 'ridge'?"),
        (("--output_dir", "occupied"), "already exists and holds notes.txt"),
        (("--folds", 1), "--folds"),
        (("--folds", 100, "--set", "data.splits={train: 0.8, val: 0.1, test: 0.1}"), "too few for 100 folds"),
        (("--test", "--set", "data.splits={train: 0.8, val: 0.2, test: 0}"), "data.splits.test is 0"),
        (("--feature_map", "none.csv"), "none.csv does not exist"),
        (("--feature_map", "occupied/notes.txt"), "no column 'feature_a'"),
        (("--config", "defalt"), "Did you mean 'default'?"),
        (("--set", "data.random_sed=3"), "Did you mean 'random_seed'?"),
        (("--platform_b", "gone.csv"), "gone.csv does not exist"),
    ],
)
def test_what_cannot_be_measured(
    here: Path, pair: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], told: str
) -> None:
    (here / "occupied").mkdir()
    (here / "occupied" / "notes.txt").write_text("x\ty\n1\t2\n")
    assert told in refused(capsys, *measuring(pair, *words))
