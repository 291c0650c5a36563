"""Who runs a sweep that is kept elsewhere: of two processes one gives way, whatever has stopped it for how long."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpivae.errors import FolderError, InterruptedSweepError
from cpivae.tuning import claim, mirrored
from cpivae.tuning.claim import LostClaimError
from cpivae.tuning.mirrored import MirroredFolder
from cpivae.tuning.remote import Copies, Remote

GONE_ON = "another process has gone on with the sweep in file://"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrored, "SECONDS", 0.05)
    monkeypatch.setattr(claim, "BELIEVED", 0.3)
    monkeypatch.setattr(claim, "SETTLES", 0.1)


@pytest.fixture
def other(folder: MirroredFolder) -> MirroredFolder:
    """The same sweep as another process knows it."""
    return MirroredFolder.at(folder.remote)


def files(bucket: Path) -> dict[str, str]:
    """Return what is in the bucket, but for who runs the sweep and what is on its way."""
    found = {p.relative_to(bucket).as_posix(): p for p in bucket.rglob("*") if p.is_file()}
    ours = {name: path for name, path in found.items() if path.name != claim.FILE and path.suffix != ".part"}
    return {name: path.read_text() for name, path in ours.items()}


def until(arrived: Callable[[], bool], process: subprocess.Popen[str] | None = None, timeout: float = 10) -> None:
    end = time.monotonic() + timeout
    while not arrived():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.fixture
def taken_over(
    folder: MirroredFolder, other: MirroredFolder, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Let another machine go on with the sweep, as if this process had slept meanwhile and not spoken since."""
    monkeypatch.setattr(folder.claim, "renew", folder.claim.require)

    def take_over() -> None:
        journal = bucket / "study" / "journal.jsonl"
        journal.parent.mkdir(parents=True, exist_ok=True)
        other.claim._say()
        journal.write_text("a\ntheirs\n")

    folder.path.mkdir(parents=True)
    folder.journal.write_text("a\n")
    return take_over


def test_two_machines_do_not_run_one_sweep(
    folder: MirroredFolder, other: MirroredFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BELIEVED", 2.0)
    with (
        folder.mirrored(),
        pytest.raises(FolderError, match=rf"process {os.getpid()} on .* is running the sweep in file://"),
        other.mirrored(),
    ):
        pass
    assert folder.remote.read(claim.FILE) is None


def test_of_two_that_begin_at_once_one_gives_way(
    folder: MirroredFolder, other: MirroredFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_said = folder.claim._say

    def said_at_the_same_time() -> None:
        first_said()
        other.claim._say()

    monkeypatch.setattr(folder.claim, "_say", said_at_the_same_time)
    with pytest.raises(FolderError, match="is running the sweep"), folder.mirrored():
        raise AssertionError("nothing may run")
    told = json.loads(folder.remote.read(claim.FILE) or b"")
    assert told["token"] == other.claim.token, "its claim is let alone"


def test_a_process_that_was_killed_is_waited_for_and_then_forgotten(
    folder: MirroredFolder, other: MirroredFolder
) -> None:
    other.claim._say()
    started = time.monotonic()
    with folder.mirrored():
        assert time.monotonic() - started > 0.2


def test_a_process_that_was_killed_at_its_start_leaves_a_place_for_the_next(
    folder: MirroredFolder, other: MirroredFolder
) -> None:
    other.claim._say()
    folder.bring()
    folder.require_new()


def test_a_long_upload_does_not_look_like_a_death(
    folder: MirroredFolder, other: MirroredFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "BELIEVED", 1.0)
    monkeypatch.setattr(Copies, "update", lambda _: time.sleep(1.5))
    with folder.mirrored(), pytest.raises(FolderError, match="is running the sweep"), other.mirrored():
        pass


def test_a_copy_that_another_machine_has_left_behind_overwrites_nothing(folder: MirroredFolder, bucket: Path) -> None:
    (bucket / "study" / "best").mkdir(parents=True)
    (bucket / "study" / "journal.jsonl").write_text("a\n")
    folder.bring()
    (bucket / "study" / "journal.jsonl").write_text("a\nb\n")  # in between another one ran it to its end
    (bucket / "study" / "best" / "card.md").write_text("theirs")
    with pytest.raises(FolderError, match=GONE_ON), folder.mirrored():
        raise AssertionError("nothing may run")
    with pytest.raises(FolderError, match=GONE_ON):
        folder.update_mirror()
    assert files(bucket) == {"study/journal.jsonl": "a\nb\n", "study/best/card.md": "theirs"}


@pytest.mark.parametrize("other_has_ended", [False, True])
def test_a_process_that_slept_while_another_went_on_sends_nothing_more(
    folder: MirroredFolder,
    other: MirroredFolder,
    bucket: Path,
    taken_over: Callable[[], None],
    other_has_ended: bool,
) -> None:
    with pytest.raises(InterruptedSweepError, match=GONE_ON) as raised, folder.mirrored():
        until(lambda: files(bucket) == {"study/journal.jsonl": "a\n"})
        taken_over()
        if other_has_ended:
            other.claim.release()
        folder.journal.write_text("a\nours\n")
        (folder.path / "trials.csv").write_text("ours")
        until(lambda: folder.claim.lost)
        with pytest.raises(LostClaimError):
            folder.require_ours()
    assert str(folder.path) in str(raised.value), "it says where this one's work is"
    assert files(bucket) == {"study/journal.jsonl": "a\ntheirs\n"}
    owner = json.loads(folder.remote.read(claim.FILE) or b"{}")
    assert owner.get("token") == (None if other_has_ended else other.claim.token)
    assert folder.journal.read_text() == "a\nours\n"


def test_a_journal_that_is_not_ours_any_more_is_not_overwritten_by_a_claim_that_is(
    folder: MirroredFolder, bucket: Path, taken_over: Callable[[], None]
) -> None:
    with pytest.raises(InterruptedSweepError, match=GONE_ON), folder.mirrored():
        until(lambda: files(bucket) == {"study/journal.jsonl": "a\n"})
        taken_over()
        folder.claim._say()  # in the moment between a look at the claim and its renewal
        folder.journal.write_text("a\nours\n")
    assert files(bucket) == {"study/journal.jsonl": "a\ntheirs\n"}


def test_another_is_noticed_at_the_end_even_if_nobody_looked_before(
    folder: MirroredFolder, bucket: Path, taken_over: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "SECONDS", 100)
    with pytest.raises(InterruptedSweepError, match=GONE_ON), folder.mirrored():
        until(lambda: files(bucket) == {"study/journal.jsonl": "a\n"})
        time.sleep(0.1)
        taken_over()
        folder.journal.write_text("a\nours\n")
    assert files(bucket) == {"study/journal.jsonl": "a\ntheirs\n"}


def test_what_waits_for_the_network_looks_again_before_it_is_sent(
    remote: Remote, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def lost_meanwhile() -> None:
        if asked.is_set():
            raise LostClaimError("lost")
        asked.set()

    monkeypatch.setattr("cpivae.tuning.remote.time.sleep", lambda _: bucket.unlink())
    bucket.write_text("no folder yet")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LostClaimError):
        Remote(remote.uri, (1.0,), lost_meanwhile).send(tmp_path / "file", "x")
    assert not bucket.exists()


@pytest.mark.parametrize("other_has_ended", [False, True])
def test_a_trial_of_a_process_that_slept_sends_nothing_more(
    folder: MirroredFolder, other: MirroredFolder, bucket: Path, other_has_ended: bool
) -> None:
    folder.claim.take()
    worker = pickle.loads(pickle.dumps(folder))
    with pytest.raises(LostClaimError, match=GONE_ON), worker.at_hand(3) as at_hand:
        run = at_hand.folder.trials / "trial_00003"
        run.mkdir()
        (run / "metrics.csv").write_text("ours")
        at_hand.keep()
        other.claim._say()
        if other_has_ended:
            other.claim.release()
        (bucket / "study" / "trials" / "trial_00003" / "metrics.csv").write_text("theirs")
        (run / "metrics.csv").write_text("ours, an epoch later")
        at_hand.folder.errors.mkdir()
        at_hand.folder.traceback(3).write_text("ours")
        at_hand.keep()
    folder.forget_cause(3)
    assert files(bucket) == {"study/trials/trial_00003/metrics.csv": "theirs"}


SPACE = "training.learning_rate: {loguniform: [1e-4, 1e-2]}\n"


@pytest.fixture
def running(tmp_path: Path, bucket: Path, write_tables: Callable[..., None]) -> Iterator[subprocess.Popen[str]]:
    """A sweep that would go on for long."""
    write_tables(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cpivae", "tune", "--no_report", "--config", "default", "--search_space"),
            *("space.yaml", "--platform_a", "a.csv", "--platform_b", "b.csv", "--output_dir", f"file://{bucket}"),
            *("--study_name", "study", "--no_check", "--n_trials", "400", "--max_epochs", "50"),
            *("--set", "training.batch_size=8", "--set", "tuning.checkpoint_seconds=0"),
        ],
        cwd=tmp_path, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_that_another_one_has_gone_on_with_ends_as_interrupted(
    running: subprocess.Popen[str], bucket: Path, other: MirroredFolder
) -> None:
    journal = bucket / "study" / "journal.jsonl"
    until(lambda: journal.is_file() and '"event":"epoch"' in journal.read_text(), running, timeout=150)
    other.claim._say()
    journal.write_text('{"event":"theirs"}\n')
    time.sleep(2)  # what was on its way has arrived, on a busy machine too
    theirs = {path: path.stat().st_mtime_ns for path in bucket.rglob("*") if path.is_file()}
    said, _ = running.communicate(timeout=100)
    assert running.returncode == 75, said
    assert GONE_ON in said.splitlines()[-1]
    assert "Traceback" not in said
    assert {path: path.stat().st_mtime_ns for path in bucket.rglob("*") if path.is_file()} == theirs
    assert '"event":"epoch"' in next((bucket.parent / "cache" / "cpivae").glob("*/journal.jsonl")).read_text()
