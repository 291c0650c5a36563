"""Lines that change in place, as a terminal emulator shows them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyte
import pytest

from cpivae.terminal import region as module
from cpivae.terminal.live import live
from cpivae.terminal.region import Region, is_live


class Screen:
    """A terminal of a size: a stream that leads there, what was written, and what it looks like."""

    def __init__(self, columns: int = 40, rows: int = 8) -> None:
        self.ours, theirs = pty.openpty()
        os.set_blocking(self.ours, False)
        self.stream = os.fdopen(theirs, "w", encoding="utf-8")
        self.pyte = pyte.Screen(columns, rows)
        self.fed = pyte.ByteStream(self.pyte)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.stream, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.pyte.resize(rows, columns)

    def read(self) -> str:
        """Return what was written since, and show it."""
        written = b""
        with suppress(BlockingIOError):
            while piece := os.read(self.ours, 65536):
                written += piece
        self.fed.feed(written)
        return written.decode()

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.pyte.display if line.strip()]


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    with suppress(OSError):
        screen.stream.close()


def test_a_line_that_has_not_changed_is_not_written_again(screen: Screen) -> None:
    region = Region(screen.stream)
    region.show(["one", "two", "three"])
    screen.read()
    region.show(["one", "2", "three"])
    written = screen.read()
    assert screen.lines == ["one", "2", "three"]
    assert "one" not in written
    assert "three" not in written


def test_unchanged_lines_are_written_now_and_then_over_what_others_wrote(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = Region(screen.stream)
    region.show(["one", "two"])
    os.write(screen.stream.fileno(), b"\x1b[2A###\x1b[2B")
    region.show(["one", "two"])
    screen.read()
    assert screen.lines[0] == "###"
    monkeypatch.setattr(module, "_WHOLE_EVERY", 0.0)
    region.show(["one", "two"])
    screen.read()
    assert screen.lines == ["one", "two"]


def test_frames_grow_and_shrink_and_what_is_said_stays_above(screen: Screen) -> None:
    region = Region(screen.stream)
    screen.stream.write("before\r\n")
    region.show(["one", "two", "three"])
    region.say("warning: said")
    region.show(["1"])
    screen.read()
    assert screen.lines == ["before", "warning: said", "1"]
    region.say("more\n")
    region.show(["1", "2"])
    screen.read()
    assert screen.lines == ["before", "warning: said", "more", "1", "2"]
    assert (screen.pyte.cursor.y, screen.pyte.cursor.x) == (5, 0)


def test_the_cursor_is_hidden_within_a_frame_only_and_nothing_is_cleared(screen: Screen) -> None:
    region = Region(screen.stream)
    for i in range(5):
        region.show([f"line {i}"] * (i + 1))
        written = screen.read()
        assert written.startswith("\x1b[?25l")
        assert written.endswith("\x1b[?25h")
        assert "\x1b[2J" not in written
    assert not screen.pyte.cursor.hidden


def test_a_frame_higher_than_the_window_is_cut_and_stays_in_place(screen: Screen) -> None:
    region = Region(screen.stream)
    for i in range(3):
        region.show([f"{i} {n}" for n in range(30)])
        screen.read()
        assert screen.lines == [f"{i} {n}" for n in range(7)]


@pytest.mark.parametrize(("columns", "rows"), [(20, 8), (60, 12), (40, 4), (12, 5)])
def test_the_frame_after_a_resize_is_whole(screen: Screen, columns: int, rows: int) -> None:
    region = Region(screen.stream)
    region.show(["a" * 30, "b" * 30, "c" * 30])
    screen.read()
    screen.resize(columns, rows)
    for i in range(3):
        frame = [letter * 10 + str(i) for letter in "abc"]
        region.show(frame)
        screen.read()
        assert screen.lines[-3:] == frame


def test_lines_that_the_terminal_has_wrapped_are_replaced_as_well(screen: Screen) -> None:
    """Most terminals wrap lines anew when they become narrower; the emulator of these tests does not."""
    region = Region(screen.stream)
    region.show(["a" * 30, "b" * 5])
    screen.read()
    screen.resize(16, 8)
    region.show(["a"])
    assert "\x1b[3A" in screen.read()  # 2 + 1 rows


def test_prints_go_above_whole_line_by_whole_line(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", screen.stream)
    monkeypatch.setattr(sys, "stderr", screen.stream)
    with live(lambda *_: ["frame"], screen.stream):
        print("first")
        print("half", end="", flush=True)
        print("a warning", file=sys.stderr)
        print(" and half")
        print("without an end", end="")
        assert sys.stdout.isatty()
    assert sys.stdout is screen.stream
    print("after", flush=True)
    screen.read()
    assert screen.lines == ["first", "a warning", "half and half", "without an end", "frame", "after"]


def test_time_passes_without_events_and_the_end_is_drawn(screen: Screen) -> None:
    drawn = []
    with live(lambda width, height: drawn.append((width, height)) or [str(len(drawn))], screen.stream):
        time.sleep(0.8)
        seen = len(drawn)
    screen.read()
    assert 2 <= seen <= 5
    assert screen.lines == [str(len(drawn))]
    assert set(drawn) == {(39, 7)}


def test_a_terminal_that_is_gone_ends_nothing(screen: Screen) -> None:
    with live(lambda *_: [f"{time.monotonic()}"], screen.stream) as region:
        os.close(screen.ours)
        region.say("unheard")
        time.sleep(0.3)
    assert region.lost


def test_a_terminal_that_is_gone_before_anything_is_shown_ends_nothing(screen: Screen) -> None:
    os.close(screen.ours)
    with live(lambda *_: [f"{time.monotonic()}"], screen.stream) as region:
        pass
    assert region.lost


@pytest.mark.parametrize(("term", "answer"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_dumb_terminal_and_a_file_are_not_live(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, answer: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    assert is_live(screen.stream) is answer
    with (tmp_path / "log").open("w") as log:
        assert not is_live(log)
