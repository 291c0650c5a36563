"""Characters that terminals have, and pictures out of them."""

from __future__ import annotations

import doctest
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from cpivae.terminal import drawing
from cpivae.tuning import settings_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize("module", [drawing, settings_text])
def test_examples_in_docstrings(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert (failed, tried >= 3) == (0, True)


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "━━── ▁▂▃▄▅▆▇█ … Größe 肝"),
        ("latin-1", "==-- _.,-=+*# ~ Größe ?"),
        ("ascii", "==-- _.,-=+*# ~ Gr??e ?"),
    ],
)
def test_what_is_drawn_can_be_written(encoding: str, line: str) -> None:
    to = stream(encoding)
    lines = drawing.rendered([Text("━━── ▁▂▃▄▅▆▇█ … Größe 肝")], 60, to)
    to.write("\n".join(lines))
    assert lines == [line]


def test_the_c_locale_of_a_user_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert drawing.shown("▁█", stream("utf-8")) == "_#"


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in drawing.rendered([Text("x", "green")], 9, stream("utf-8"))[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert drawing.rendered([Text("x", "green")], 9, stream("utf-8")) == ["x"]


@given(TEXTS, st.integers(1, 40))
def test_a_cut_text_fits_and_moves_no_cursor(text: str, width: int) -> None:
    cut = drawing.cut(text, width)
    assert cell_len(cut) <= width
    assert cut.isprintable()


@given(st.lists(TEXTS), st.integers(2, 40), st.integers(1, 4))
def test_items_flow_into_the_lines_there_are(items: list[str], width: int, most: int) -> None:
    lines = drawing.flowed(items, width, most)
    assert len(lines) <= most
    assert all(cell_len(line) <= width for line in lines)


@given(st.lists(st.floats(allow_nan=False), max_size=300), st.integers(-3, 80))
def test_a_sparkline_is_as_long_as_it_may_be(values: list[float], width: int) -> None:
    assert len(drawing.sparkline(values, width)) == max(0, min(len(values), width))
