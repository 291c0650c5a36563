"""Every command that the pages show is understood, and run by a test unless a short list says why not."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
from pages import ELSEWHERE, ONLY_READ, PAGES, ROOT, WALKS, begins, commands_of, words_of, write_tables

from cpivae.cli.main import app, main
from cpivae.cli.tune_command import parse_tune
from cpivae.config.load import load_config
from cpivae.config.space import load_space

COMMANDS = [(page, command) for page in PAGES for command in commands_of(page)]


def understood(words: list[str]) -> None:
    """Let the program read a command line, and do nothing of it."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("cpivae", list(words))
    while hasattr(command, "resolve_command"):
        _, command, words = command.resolve_command(context, words)
        context = command.make_context(words[0] if words else "", list(words), parent=context)


def test_there_are_commands_on_many_pages() -> None:
    assert len(COMMANDS) > 100
    assert len({page for page, _ in COMMANDS}) > 25


def test_every_command_is_run_by_a_test_or_listed() -> None:
    walked = list(chain.from_iterable(WALKS))
    assert len(set(walked)) == len(walked)
    by_nobody = [
        (page, command)
        for page, command in COMMANDS
        if page not in walked and not begins(page, command, [*ELSEWHERE, *ONLY_READ])
    ]
    assert by_nobody == []


@pytest.mark.parametrize("beginning", ELSEWHERE)
def test_what_another_test_runs_is_there(beginning: tuple[str, str]) -> None:
    assert any(begins(page, command, [beginning]) for page, command in COMMANDS)
    page, test = Path(beginning[0]), (ROOT / ELSEWHERE[beginning]).read_text()
    assert f'"{page}"' in test or f'"{page.parent}/"' in test


@pytest.mark.parametrize("beginning", ONLY_READ)
def test_nothing_joins_what_no_test_runs(beginning: tuple[str, str]) -> None:
    assert sum(begins(page, command, [beginning]) for page, command in COMMANDS) == ONLY_READ[beginning][0]


OF_THE_PROGRAM = [
    pytest.param(words_of(command)[1:], id=f"{page}-{i}")
    for i, (page, command) in enumerate(COMMANDS)
    if command.startswith("cpivae ")
]


@pytest.mark.parametrize("words", OF_THE_PROGRAM)
def test_a_command_of_a_page_is_understood(words: list[str]) -> None:
    understood(words)
    if "--" in words:
        parse_tune(words[words.index("--") + 1 :])


def test_what_is_not_understood_would_be_noticed() -> None:
    for words in (["tune", "--serach_space", "x"], ["submit", "slurm", "--nodse", "4", "--", "tune"], ["tnue"]):
        with pytest.raises(Exception, match=r"serach_space|nodse|tnue"):
            understood(words)


OF_BENCHMARKS = [command for _, command in COMMANDS if command.startswith("python benchmarks/")]


@pytest.mark.parametrize("command", OF_BENCHMARKS)
def test_the_benchmarks_have_the_options_that_pages_give_them(command: str) -> None:
    _, script, *words = words_of(command)
    there = set(re.findall(r'add_argument\("(--\w+)"', (ROOT / script).read_text()))
    assert {word for word in words if word.startswith("--")} <= there


OF_MODELS = [
    pytest.param(words_of(command)[1:], id=page)
    for page, command in COMMANDS
    if page.startswith("docs/models/") and command.startswith("cpivae tune")
]


@pytest.mark.parametrize("words", OF_MODELS)
def test_what_a_page_tunes_is_found_right(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tables(tmp_path, "A.csv", "B.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["check", *words[1:], "--no_check"])


def options_of(command: Any) -> set[str]:
    """Return the options of a command, or of all commands of a group."""
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES)
def test_options_and_settings_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    of_benchmarks = {"--data"}
    assert set(re.findall(r"`(--\w+)", text)) <= options_of(typer.main.get_command(app)) | of_benchmarks
    settings = "\n".join((ROOT / p).read_text() for p in PAGES if p.startswith(("docs/models/", "docs/settings")))
    sections = "model|loss_weights|training|data|hardware|callbacks|logging|tuning"
    for named in set(re.findall(rf"`((?:{sections})\.[a-z_.]+)", text)) - {"tuning.md"}:
        assert re.search(rf"^\| `{re.escape(named)}[`.]", settings, re.MULTILINE), named


SPACES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "search_spaces.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("space", SPACES)
def test_a_space_of_the_page_is_one(space: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(space)
    assert load_space(str(tmp_path / "space.yaml"), load_config("default"))
