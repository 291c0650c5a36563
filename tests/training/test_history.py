"""The table of a run's epochs, whatever moment its process was killed at."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from cpivae.config.schema import Config
from cpivae.data.prepare import PreparedData
from cpivae.training.callbacks import EpochReport
from cpivae.training.folder import RunFolder
from cpivae.training.history import append_row, copy_rows, read_rows
from cpivae.training.resume import has_whole_state
from cpivae.training.run import fit

ROWS = [{"epoch": epoch, "val_loss": 1.5 - epoch} for epoch in range(3)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.csv"
    for row in ROWS:
        append_row(path, row)
    return path


def test_rows_are_read_as_they_were_appended(table: Path) -> None:
    assert table.read_text() == "epoch,val_loss\n0,1.5\n1,0.5\n2,-0.5\n"
    assert read_rows(table).to_dict("records") == ROWS


def test_a_file_cut_off_at_any_byte_has_its_whole_rows_and_is_continued_in_another(table: Path, tmp_path: Path) -> None:
    text, cut, continued = table.read_bytes(), tmp_path / "cut.csv", tmp_path / "continued.csv"
    for end in range(len(text)):
        cut.write_bytes(text[:end])
        whole = max(text[:end].count(b"\n") - 1, 0)
        assert list(read_rows(cut)["epoch"]) == list(range(whole)), end
        continued.unlink(missing_ok=True)
        copy_rows(cut, continued, last_epoch=1)
        for row in ROWS[min(whole, 2) :]:
            append_row(continued, row)
        assert continued.read_bytes() == text, end


def test_a_file_that_was_made_and_not_written_to_gets_its_header(table: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    for row in ROWS:
        append_row(empty, row)
    assert empty.read_bytes() == table.read_bytes()


def test_a_row_that_the_disk_has_no_room_for_leaves_the_table_as_it_was(table: Path) -> None:
    before, (soft, hard) = table.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 3, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            append_row(table, {"epoch": 3, "val_loss": -1.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert table.read_bytes() == before


@pytest.fixture
def cut_off(tiny_config: Callable[..., Config], prepared: PreparedData, tmp_path: Path) -> RunFolder:
    """A trial that was cut off after its second epoch."""

    def end(report: EpochReport) -> None:
        if report.epoch == 1:
            raise ConnectionError("cut off")

    config = tiny_config(tuning__checkpoint_seconds=0)
    with pytest.raises(ConnectionError):
        fit(config, [prepared], tmp_path / "trial", name="exp", is_trial=True, reporters=[end])
    return RunFolder(tmp_path / "trial")


@pytest.mark.parametrize("kept", [0, 5, -2, -1], ids=["nothing", "half a header", "half a row", "no line end"])
def test_a_trial_killed_before_its_epoch_was_on_record_has_no_whole_state(kept: int, cut_off: RunFolder) -> None:
    assert has_whole_state(cut_off)
    table = cut_off.path / "metrics.csv"
    table.write_bytes(table.read_bytes()[:kept])
    assert not has_whole_state(cut_off)


@pytest.mark.parametrize("which", ["state", "best"])
@pytest.mark.parametrize("kept", [None, 0, 1000], ids=["no file", "nothing in it", "half of it"])
def test_a_state_that_a_machine_lost_or_half_lost_is_none(which: str, kept: int | None, cut_off: RunFolder) -> None:
    (best,) = cut_off.checkpoints.glob("state_*")
    file = {"state": cut_off.state, "best": best}[which]
    content = file.read_bytes()
    file.unlink()  # it may be a link to the weights that are best now
    if kept is not None:
        file.write_bytes(content[:kept])
    assert not has_whole_state(cut_off)
