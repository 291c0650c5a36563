"""The journal: whole lines, one writer, and nothing that a torn end or a full disk could spoil."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from cpivae.errors import FolderError, InterruptedSweepError
from cpivae.tuning.journal import Journal, read_journal


def test_events_come_back_in_order_with_their_time(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for n in range(3):
        journal.write({"event": "began", "trial": n}, lasting=n == 1)
    events = list(read_journal(journal.path))
    assert [e["trial"] for e in events] == [0, 1, 2]
    assert sorted(e["time"] for e in events) == [e["time"] for e in events]


def test_half_a_line_at_the_end_was_never_an_event_and_is_written_over(tmp_path):
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    first.write({"event": "began", "trial": 0})
    first.close()
    with path.open("a") as stream:
        stream.write('{"time":1,"event":"end')
    assert [e["trial"] for e in read_journal(path)] == [0]
    second = Journal(path)
    second.write({"event": "began", "trial": 1})
    assert [e["trial"] for e in read_journal(path)] == [0, 1]


@pytest.mark.parametrize("line", ["not json\n", "3\n", '{"event":"began"}\n', "\n"])
def test_a_line_that_is_something_else_is_named(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"time":1,"event":"began","trial":0}\n' + line)
    with pytest.raises(FolderError, match=r"journal\.jsonl, line 2 is no event"):
        list(read_journal(path))


def test_one_process_at_a_time_writes(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    code = f"from cpivae.tuning.journal import Journal; Journal(__import__('pathlib').Path({str(journal.path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "FolderError: another process is running the sweep in" in done.stderr
    journal.close()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_full_disk_loses_nothing_and_says_how_to_go_on(tmp_path):
    """A limit on the size of files, in a process of its own, takes the part of the disk."""
    path = tmp_path / "journal.jsonl"

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))

    code = (
        "import sys; from pathlib import Path; from cpivae.errors import InterruptedSweepError\n"
        "from cpivae.tuning.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r}))\n"
        "try:\n"
        "    for n in range(99): journal.write({'event': 'began', 'trial': n})\n"
        "except InterruptedSweepError as error: print(n); print(error); sys.exit(error.exit_status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limited)
    assert done.returncode == InterruptedSweepError.exit_status == 75, done.stderr
    written, message = done.stdout.split("\n", 1)
    assert "make room, and give the same command with --resume" in message
    assert path.stat().st_size <= 300
    lines = path.read_text().splitlines()
    assert [json.loads(line)["trial"] for line in lines] == list(range(int(written)))
    Journal(path).write({"event": "began", "trial": int(written)})
    assert len(list(read_journal(path))) == int(written) + 1


def test_a_missing_journal_is_told(tmp_path):
    with pytest.raises(FolderError, match=r"cannot be resumed: it has no journal\.jsonl"):
        list(read_journal(tmp_path / "journal.jsonl"))


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EWOULDBLOCK, "another process is running the sweep"), (errno.ENOLCK, "cannot be locked .*keeps no locks")],
)
def test_a_journal_that_cannot_be_locked_says_why(tmp_path, monkeypatch, number, said):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(FolderError, match=said):
        Journal(tmp_path / "journal.jsonl")
