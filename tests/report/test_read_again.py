"""The tables of a sweep that has ended are read again by one rule, whoever asks, and no oftener than need be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_sweeps import CHOSEN, Made, write_pair

from cpivae.config.load import load_config
from cpivae.errors import FolderError
from cpivae.export import export_run, replace_bundle
from cpivae.names import RunFiles
from cpivae.report.model import model_part
from cpivae.report.write import try_report
from cpivae.training import again as reading
from cpivae.training.again import prepare_again
from cpivae.training.folder import RunFolder
from cpivae.tuning.folder import SweepFolder

Ended = tuple[SweepFolder, RunFolder, dict[str, Path]]


@pytest.fixture
def ended(make: Callable[..., Made], tmp_path: Path) -> Ended:
    paths = write_pair(tmp_path)
    made = make(paths)
    made.trained(CHOSEN[0], epochs=1)
    folder = made.close()
    return folder, folder.trial(folder.best()), paths


def gone(table: Path) -> None:
    table.unlink()


def longer(table: Path) -> None:
    table.write_text(table.read_text() + "S999" + ",1" * 12 + "\n")


def another_cell(table: Path) -> None:
    text = table.read_text()
    cell = text.splitlines()[1].split(",")[-1]
    table.write_text(text.replace(cell, "9" * len(cell), 1))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (gone, "the table of platform a that {run} was trained on is no longer at {table}, and without it"),
        (longer, "{table} has changed since {run} was trained on it, and without what it was"),
        (another_cell, "{table} has changed since {run} was trained on it, and without what it was"),
    ],
)
def test_of_a_table_that_is_not_what_it_was_all_say_the_same(
    ended: Ended, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    folder, run, paths = ended
    harm(paths["a"])
    with pytest.raises(FolderError) as refused:
        prepare_again(run)
    why = str(refused.value)
    assert why.startswith(said.format(run=run.path, table=paths["a"]))
    assert export_run(run.path, tmp_path / "bundle") == [
        f"warning: the bundle cannot say how uncertain its predictions are: {why}"
    ]
    shown = model_part(folder, folder.best(), None)
    assert shown.told["model_absent"] == f"The model of trial 0 cannot be shown: {why}"
    assert shown.figures == {}


def test_of_tables_that_never_were_in_a_file_nothing_is_read(ended: Ended) -> None:
    run = ended[1]
    environment = run.path / RunFiles.ENVIRONMENT
    environment.write_text(environment.read_text().replace(f'"{ended[2]["b"]}"', "null"))
    with pytest.raises(FolderError, match=r"the table of platform b that .* was trained on was never in a file"):
        prepare_again(run)


def test_samples_in_other_splits_and_other_features_are_noticed(ended: Ended) -> None:
    run = ended[1]
    splits = run.path / RunFiles.SPLITS
    text = splits.read_text()
    splits.write_text(text.replace(",val", ",test", 1))
    with pytest.raises(FolderError, match="fall into other splits than they did"):
        prepare_again(run)
    splits.write_text(text)
    names = run.path / RunFiles.feature_names("b")
    names.write_text(names.read_text().replace("B07", "B99"))
    with pytest.raises(FolderError, match="have other features than they had"):
        prepare_again(run)


def test_tables_are_read_where_the_sweep_has_read_them_last(ended: Ended, tmp_path: Path) -> None:
    folder, run, paths = ended
    moved = paths["a"].rename(tmp_path / "moved.csv")
    with pytest.raises(FolderError, match="is no longer at"):
        prepare_again(run)
    text = folder.settings_file.read_text()
    folder.settings_file.write_text(text.replace(f"path: {paths['a']}", f"path: {moved}"))
    assert len(folder.again(folder.best()).folds) == 1


def test_the_table_of_the_samples_is_read_where_the_sweep_has_read_it_last(
    make: Callable[..., Made], tmp_path: Path
) -> None:
    paths, table, moved = write_pair(tmp_path), tmp_path / "samples.csv", tmp_path / "moved.csv"
    table.write_text("id,person\n" + "".join(f"S{i},P{i // 2}\n" for i in range(80)))
    made = make(paths, **{"data.samples_table": str(table), "data.groups": "person"})
    made.trained(CHOSEN[0], epochs=1)
    folder = made.close()
    table.rename(moved)
    with pytest.raises(FolderError, match=r"samples\.csv"):
        prepare_again(folder.trial(folder.best()))
    text = folder.settings_file.read_text()
    folder.settings_file.write_text(text.replace(f"samples_table: {table}", f"samples_table: {moved}"))
    (fold,) = folder.again(folder.best()).folds
    assert len(fold.splits) == 80
    folder.write_best_config(folder.best())
    assert load_config(folder.best_config).data.samples_table == moved


def test_a_bundle_and_a_report_read_the_tables_once(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ended[0]
    reads, read = [], reading.read_pair

    def counted(*arguments: object) -> object:
        reads.append(arguments)
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "read_pair", counted)
    again = folder.again(folder.best())
    assert replace_bundle(again, folder.best_bundle) == []
    assert try_report(folder, again).startswith("  report    ")
    assert "Uncertainty" in folder.report.read_text()
    assert len(reads) == 1
