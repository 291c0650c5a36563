"""Folders of another file system, and the sweep that is kept in one: a ``file://`` stands for the bucket."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from game import Game

from cpivae.errors import FolderError, InterruptedSweepError, StorageError
from cpivae.files import is_uri
from cpivae.tuning import mirrored
from cpivae.tuning.mirrored import MirroredFolder
from cpivae.tuning.remote import Copies, Remote

ANY = lambda _: True  # noqa: E731


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "local" / "checkpoints").mkdir(parents=True)
    return tmp_path / "local"


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("text", "yes"),
    [("s3://b/x", True), ("gs://b", True), ("file:///x", True), ("a/b", False), ("/a://b", False), ("C:/x", False)],
)
def test_a_uri_is_told_from_a_path(text: str, yes: bool) -> None:
    assert is_uri(text) is yes


@pytest.mark.parametrize(
    ("uri", "joined"),
    [
        ("s3://b/x", "s3://b/x/study"),
        ("s3://b/x/", "s3://b/x/study"),
        ("s3://b", "s3://b/study"),
        ("s3://b/x?scheme=http&endpoint_override=h:1", "s3://b/x/study?scheme=http&endpoint_override=h:1"),
    ],
)
def test_a_folder_inside_keeps_what_describes_the_file_system(uri: str, joined: str) -> None:
    assert (Remote(uri) / "study").uri == joined
    assert (Remote(joined) / "").uri == joined, "nothing names the folder itself"


def test_files_go_there_and_come_back_and_may_be_missing(remote: Remote, local: Path, tmp_path: Path) -> None:
    assert remote.files() == []
    assert remote.read("a.txt") is None
    remote.remove(["a.txt"])
    (local / "a b%ä.txt").write_bytes(b"\x00one")
    remote.send(local / "a b%ä.txt", "deep/a b%ä.txt")
    remote.repeat("deep/a b%ä.txt", "deeper/still/b")
    assert sorted(remote.files()) == ["deep/a b%ä.txt", "deeper/still/b"]
    assert remote.read("deeper/still/b") == b"\x00one"
    remote.fetch(tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "a b%ä.txt").read_bytes() == b"\x00one"
    remote.remove(["deep/a b%ä.txt", "deeper/still/b"])
    assert remote.files() == []


@pytest.mark.parametrize("uri", ["s4://bucket/x", "file://", "nonsense://"])
def test_a_file_system_that_is_none_is_refused_in_a_sentence(uri: str) -> None:
    with pytest.raises(StorageError, match=r"does not do what it is asked: .* Check its name"):
        (Remote(uri) / "x" / "y" / "z").send(Path(__file__), "no")
        Remote(uri).files()


def test_a_password_in_a_uri_is_refused_and_not_repeated() -> None:
    for uri in (
        "s3://AKI:hunter2@lab/sweeps",
        "s3://AKI:hun/ter2@lab/sweeps",
        "abfs://lab/x?client_secret=hunter2",
        "s3://lab/x?endpoint_override=http://user:hunter2@host",
    ):
        with pytest.raises(StorageError, match="has a password in it") as raised:
            Remote(uri)
        assert "ter2" not in str(raised.value)
        assert "AKI" not in str(raised.value)
    Remote("s3://lab/a:b@c?endpoint_override=minio.lab:9000&scheme=http")


def test_a_file_system_that_refuses_is_told_with_its_reason(remote: Remote, bucket: Path) -> None:
    bucket.write_text("a file where the folder would be")
    with pytest.raises(StorageError, match="does not do what it is asked"):
        remote.send(Path(__file__), "x")


def test_copies_send_what_has_changed_and_remove_what_has_gone(remote: Remote, bucket: Path, local: Path) -> None:
    copies = Copies(local, remote, ANY)
    (local / "metrics.csv").write_text("epoch\n0\n")
    (local / "checkpoints" / "best.ckpt").write_text("weights")
    (local / ".metrics.csv.tmp").write_text("half")
    (local / ".best.x1").mkdir()
    (local / ".best.x1" / "inside").write_text("half")
    copies.update()
    assert names(bucket) == {"metrics.csv", "checkpoints/best.ckpt"}
    before = (bucket / "checkpoints/best.ckpt").stat().st_mtime_ns, (bucket / "metrics.csv").stat().st_mtime_ns
    time.sleep(0.02)
    (local / "metrics.csv").write_text("epoch\n0\n1\n")
    copies.update()
    assert (bucket / "checkpoints/best.ckpt").stat().st_mtime_ns == before[0], "not sent again"
    assert (bucket / "metrics.csv").read_text() == "epoch\n0\n1\n"
    (local / "checkpoints" / "best.ckpt").rename(local / "checkpoints" / "best2.ckpt")
    copies.update()
    assert names(bucket) == {"metrics.csv", "checkpoints/best2.ckpt"}


def test_what_an_earlier_process_sent_is_replaced_and_removed(remote: Remote, bucket: Path, local: Path) -> None:
    (bucket / "checkpoints").mkdir(parents=True)
    (bucket / "checkpoints" / "old.ckpt").write_text("old")
    (bucket / "metrics.csv").write_text("old")
    (bucket / "not_ours").write_text("stays")
    copies = Copies(local, remote, lambda name: name != "not_ours", sent=remote.files())
    (local / "metrics.csv").write_text("new")
    copies.update()
    assert names(bucket) == {"metrics.csv", "not_ours"}
    assert (bucket / "metrics.csv").read_text() == "new"


def test_names_of_one_file_are_sent_once(remote: Remote, bucket: Path, local: Path) -> None:
    sent = []

    class Counting(Remote):
        def send(self, file: Path, name: str) -> None:
            sent.append(name)
            super().send(file, name)

    best = local / "checkpoints" / "best.ckpt"
    best.write_text("weights")
    os.link(best, local / "final_model.ckpt")
    (local / "checkpoints" / "last.ckpt").symlink_to("best.ckpt")
    Copies(local, Counting(remote.uri), ANY).update()
    assert len(sent) == 1
    assert {(bucket / name).read_text() for name in names(bucket)} == {"weights"}
    assert len(names(bucket)) == 3


def test_a_state_is_sent_after_what_it_speaks_of_and_nothing_is_removed_before(remote: Remote, local: Path) -> None:
    done = []

    class Noting(Remote):
        def send(self, file: Path, name: str) -> None:
            done.append(name)
            super().send(file, name)

        def remove(self, given: list[str]) -> None:
            done.extend(f"-{name}" for name in given)
            super().remove(given)

    copies = Copies(local, Noting(remote.uri), ANY, last="state.ckpt")
    for name in ("checkpoints/state.ckpt", "checkpoints/a.ckpt", "z.csv"):
        (local / name).write_text(name)
    copies.update()
    assert done[-1] == "checkpoints/state.ckpt"
    done.clear()
    (local / "checkpoints" / "a.ckpt").unlink()
    for name in ("checkpoints/state.ckpt", "checkpoints/b.ckpt", "z.csv"):
        (local / name).write_text(f"{name}, longer")
    copies.update()
    assert done[-2:] == ["checkpoints/state.ckpt", "-checkpoints/a.ckpt"]


def test_the_working_copy_is_fetched_where_there_is_none(folder: MirroredFolder, bucket: Path) -> None:
    for name in ("journal.jsonl", "best/model_card.md", "trials/trial_00000/metrics.csv", "errors/trial_00000.txt"):
        (bucket / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / "study" / name).write_text(name)
    folder.bring()
    assert names(folder.path) == {"journal.jsonl", "best/model_card.md"}, "trials stay where they are"


@pytest.mark.parametrize(
    ("theirs", "ours", "to_run", "kept"),
    [
        ("a\nb\n", "a\nb\nc\n", True, True),  # killed before it could send the rest
        ("a\nb\n", "a\nb\n", True, True),
        ("a\nb\nc\n", "a\nb\n", True, False),  # another machine has gone on with it
        ("x\n", "a\nb\n", True, False),
        (None, "a\nb\n", True, False),  # it was removed there
        (None, "a\nb\n", False, True),  # begun on this machine, and not sent yet
        ("a\n", "a\nb\n", False, True),
    ],
)
def test_the_copy_that_knows_more_is_kept(
    folder: MirroredFolder, bucket: Path, theirs: str | None, ours: str, to_run: bool, kept: bool
) -> None:
    folder.cluster.mkdir(parents=True)
    (folder.cluster / "submission.json").write_text("{}")
    folder.journal.write_text(ours)
    folder.trials.mkdir()
    if theirs is not None:
        (bucket / "study").mkdir(parents=True)
        (bucket / "study" / "journal.jsonl").write_text(theirs)
    folder.bring(to_run=to_run)
    assert folder.trials.exists() is kept
    left = folder.journal.read_text() if folder.journal.exists() else None
    assert left == (ours if kept else theirs)
    assert (folder.cluster / "submission.json").exists()


def test_a_folder_that_is_taken_is_not_mixed_with(folder: MirroredFolder, bucket: Path) -> None:
    (bucket / "study").mkdir(parents=True)
    (bucket / "study" / "journal.jsonl").write_text("a\n")
    with pytest.raises(FolderError, match=r"already holds 1 files\..*--resume continues it"):
        folder.require_new()
    (bucket / "study" / "journal.jsonl").unlink()
    folder.path.mkdir(parents=True)
    folder.journal.write_text("an old copy\n")
    folder.require_new()
    assert not folder.journal.exists()


def test_what_changes_is_sent_while_it_runs_and_at_the_end(
    folder: MirroredFolder, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "SECONDS", 0.05)
    folder.path.mkdir(parents=True)
    with folder.mirrored():
        assert json.loads((bucket / "study" / "running.json").read_text())["pid"] == os.getpid()
        folder.journal.write_text("a\n")
        end = time.monotonic() + 10
        while not (bucket / "study" / "journal.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert (bucket / "study" / "journal.jsonl").read_text() == "a\n"
        monkeypatch.setattr(mirrored, "SECONDS", 100)
        time.sleep(0.1)
        folder.journal.write_text("a\nb\n")
        folder.trials.mkdir()
        (folder.trials / "of_others").write_text("not sent")
    assert (bucket / "study" / "journal.jsonl").read_text() == "a\nb\n"
    assert names(bucket / "study") == {"journal.jsonl"}


def test_what_cannot_be_sent_at_the_end_is_said_to_be_here(
    folder: MirroredFolder, bucket: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cpivae.tuning.remote.WAITS", (0.01,))
    monkeypatch.setattr(mirrored, "SECONDS", 0.05)
    folder.path.mkdir(parents=True)
    warned = threading.Event()
    monkeypatch.setattr(mirrored, "print", lambda *said, **how: (warned.set(), print(*said, **how)), raising=False)
    with pytest.raises(InterruptedSweepError, match=r"What the sweep has written is in .*--resume"), folder.mirrored():
        while not bucket.is_file():  # until then the sweep may make it again at any moment
            shutil.rmtree(bucket, ignore_errors=True)
            with suppress(IsADirectoryError):
                bucket.write_text("no folder any more")
        folder.journal.write_text("a\n")
        assert warned.wait(10)
        time.sleep(0.2)
    assert 1 <= capsys.readouterr().err.count("Going on, and trying again") <= 2, "once for each thing that is sent"
    assert folder.journal.read_text() == "a\n"


def test_the_files_of_a_trial_are_at_hand_and_kept(folder: MirroredFolder, bucket: Path) -> None:
    run = bucket / "study" / "trials" / "trial_00003"
    (run / "checkpoints").mkdir(parents=True)
    (run / "metrics.csv").write_text("epoch\n0\n")
    folder.claim.take()
    with pytest.raises(ZeroDivisionError), folder.at_hand(3) as files:
        assert files.folder.path != folder.path
        mine = files.folder.trials / "trial_00003"
        assert (mine / "metrics.csv").read_text() == "epoch\n0\n"
        (mine / "metrics.csv").write_text("epoch\n0\n1\n")
        (mine / "linear_skip.safetensors").write_text("as for all trials")
        files.keep()
        assert (run / "metrics.csv").read_text() == "epoch\n0\n1\n"
        files.folder.errors.mkdir()
        files.folder.traceback(3).write_text("Traceback\n\ncode_error | ZeroDivisionError: division by zero\n")
        1 / 0  # noqa: B018
    assert not files.folder.path.exists()
    assert names(bucket / "study") == {
        "trials/trial_00003/metrics.csv", "errors/trial_00003.txt", "running.json",
    }  # fmt: skip
    assert folder.cause_of_failure(3) == ("code_error", "ZeroDivisionError: division by zero")
    folder.forget_cause(3)
    assert folder.cause_of_failure(3)[0] == "lost_worker"


@pytest.mark.parametrize(("minutes", "failure"), [(0.001, "timed_out"), (5, ""), (None, "")])
def test_a_process_that_hung_and_could_not_tell_is_known_by_its_silence(
    folder: MirroredFolder, play: Callable[..., Game], minutes: float | None, failure: str
) -> None:
    game = play(folder, timeout_minutes=minutes)
    game.propose()
    trial = game.propose()
    game.report(trial, 0, 0.5)
    time.sleep(0.1)
    game.lose(trial)
    record = game.ledger.courses[1].record
    assert record.failure == failure
    assert record.state == ("failed" if failure else "running")


def test_a_killed_process_leaves_its_files_to_be_removed_by_the_next(
    folder: MirroredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = 2**22 + 1  # more than Linux has
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, alive = tmp_path / f"cpivae-{dead}-x", tmp_path / f"cpivae-{os.getpid()}-x"
    left.mkdir()
    alive.mkdir()
    with folder.at_hand(0) as files:
        assert files.folder.path.parent == tmp_path
        assert not left.exists()
    assert alive.exists()


def test_files_that_somebody_else_has_put_there_stay(
    folder: MirroredFolder, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "SECONDS", 0.05)
    folder.path.mkdir(parents=True)
    folder.journal.write_text("a\n")
    with folder.mirrored():
        pass
    (bucket / "study" / "confirmed.json").write_text("{}")
    folder.bring()
    with folder.mirrored():
        pass
    assert names(bucket / "study") == {"journal.jsonl", "confirmed.json"}


def test_a_failure_of_the_network_is_waited_through(
    remote: Remote, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def mend(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            bucket.unlink()

    monkeypatch.setattr("cpivae.tuning.remote.time.sleep", mend)
    bucket.write_text("no folder yet")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        remote.send(tmp_path / "file", "x")
    assert not slept
    (remote.patient() / "deep").send(tmp_path / "file", "x")
    assert slept == [1, 2]
    assert (bucket / "deep" / "x").read_text() == "x"


def test_a_trial_that_cannot_send_is_tried_again() -> None:
    from cpivae.tuning.causes import cause_of, described

    assert cause_of(described(StorageError("no network")))[0] == "lost_worker"
