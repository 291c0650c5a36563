"""The pages, the commands that they show, in the order in which a reader meets them, and tables to run these on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PAGES = [str(p.relative_to(ROOT)) for p in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))]

_SHOWN = re.compile(r"^```(?P<kind>\w*)\n(?P<block>.*?)^```|^ {4}(?P<line>\S[^\n]*)$|`(?P<span>[^`]+)`", re.M | re.S)
_PROGRAM = re.compile(r"(cpivae|python|bash|pip) ")

WALKS = (
    ("README.md", "docs/imputing.md", "docs/tuning.md"),
    ("docs/first_hour.md", "docs/baseline.md", "docs/python.md"),
    ("docs/models/README.md", *(page for page in PAGES if re.fullmatch(r"docs/models/(?!README).*", page))),
    ("docs/simulate.md",),
    ("docs/ckb.md",),
)
"""Pages whose commands tests/test_pages.py runs in one folder, as somebody would who reads one after the other."""

ELSEWHERE = {
    ("README.md", "bash scripts/demo.sh"): "tests/test_scripts.py",
    ("README.md", "python scripts/tune.py"): "tests/test_scripts.py",
    ("README.md", "pip install -c constraints.txt ."): "tests/test_scripts.py",
    ("docs/clusters.md", "cpivae submit recipe"): "tests/cluster/test_recipes.py",
    ("docs/clusters.md", "cpivae submit"): "tests/cluster/test_clusters_page.py",
    ("docs/data_formats.md", "cpivae"): "tests/cli/test_inspect.py",
    ("docs/report.md", "cpivae"): "tests/report/test_of_a_sweep.py",
    # As cpivae check: a sweep each would take minutes, and the README's search over all models is run.
    **{(page, "cpivae tune"): "tests/test_docs.py" for page in PAGES if page.startswith("docs/models/")},
}
"""Which other test runs the commands of a page that begin so."""

_MEASURES = "measures for minutes or hours; its options are looked up"
_WRITES = "writes into the repository; tests/config/test_rendered.py says whether it would change anything"
ONLY_READ = {
    ("CONTRIBUTING.md", "bash scripts/test.sh"): (2, "runs the tests"),
    ("README.md", "bash scripts/test.sh"): (1, "runs the tests"),
    ("README.md", 'pip install -e ".[dev]"'): (1, "scripts/venv.sh has done it where the tests run"),
    ("docs/adding_a_model.md", "python -m cpivae.config.render"): (2, _WRITES),
    ("docs/baseline.md", "python benchmarks/"): (1, _MEASURES),
    ("docs/clusters.md", "cpivae tune --address 10.0.0.1:6379 --nodes 4"): (2, "tests/cluster joins other clusters"),
    ("docs/imputing.md", "python benchmarks/"): (4, _MEASURES),
    ("docs/search_quality.md", "python benchmarks/"): (2, _MEASURES),
    ("docs/settings.md", "python -m cpivae.config.render"): (1, _WRITES),
    ("docs/speed.md", "python benchmarks/"): (5, _MEASURES),
    ("docs/tuning.md", "python benchmarks/"): (1, _MEASURES),
    ("docs/variants.md", "python benchmarks/"): (2, _MEASURES),
}
"""Commands that no test runs: of which page, how they begin, how many there are, and why."""


def begins(page: str, command: str, beginnings: Iterable[tuple[str, str]]) -> bool:
    """Return whether a command of a page is among those that begin so."""
    return any(page == of and command.startswith(beginning) for of, beginning in beginnings)


def commands_of(page: str) -> list[str]:
    """Return what a page tells to run, a line each.

    That is every line of a shell block, what stands behind a prompt in a block of text, an indented line, and a code
    span with options or paths. A span without them names a command, and tells nobody to run it. Comments are left out.
    """
    return [" ".join(line.partition(" #")[0].split()) for line in _lines((ROOT / page).read_text())]


def words_of(command: str) -> list[str]:
    """Return the words of a command, and not where its output goes."""
    words = shlex.split(command)
    return words[: words.index(">")] if ">" in words else words


def write_tables(folder: Path, *names: str) -> None:
    """Write tables of 60 samples that share factors; the second is of another platform than the others."""
    factors = np.random.default_rng(0).normal(size=(60, 3))
    for i, name in enumerate(names):
        random, prefix, d = np.random.default_rng(i), "ab"[i % 2], (8, 9)[i % 2]
        values = factors @ random.normal(size=(3, d)) + random.normal(size=(60, d))
        frame = pd.DataFrame(values, [f"S{j}" for j in range(60)], [f"{prefix}{j}" for j in range(d)])
        (folder / name).parent.mkdir(exist_ok=True)
        frame.to_csv(folder / name, index_label="SampleID")


def _lines(text: str) -> Iterator[str]:
    for shown in _SHOWN.finditer(text):
        kind, block, line, span = shown.group("kind", "block", "line", "span")
        if kind == "bash":
            yield from filter(None, block.replace("\\\n", " ").splitlines())
        elif block:
            yield from (prompted[2:] for prompted in block.splitlines() if prompted.startswith("$ "))
        elif _PROGRAM.match(line or "") or (_PROGRAM.match(span or "") and re.search(r"[/-]", span)):
            yield line or span
