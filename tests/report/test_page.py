"""The page in a real browser: nothing is complained of, every tab is drawn, nothing is loaded from anywhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import picture
import pytest
from browser import Page
from made_sweeps import HOSTILE, Made
from PIL import Image

from cpivae.report.predictions import Predictions
from cpivae.report.rungs import rungs_of
from cpivae.report.write import make_report, write_report
from cpivae.tuning.folder import SweepFolder

FIGURES: dict[str, list[str]] = {
    "overview": [],
    "search": ["history", "curves", "rungs"],
    "settings": ["importance", "parallel", "edges"],
    "trials": [],
    "proteins": ["histogram", "a protein"],
    "uncertainty": ["coverage"],
    "latent": ["pca"],
    "baselines": ["differences"],
}
"""What is drawn on each tab of a whole report, without UMAP."""


@pytest.fixture(scope="session")
def written(finished: SweepFolder, baselines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(finished.path, tmp_path_factory.mktemp("written") / finished.path.name)
    return write_report(SweepFolder(Path(copy)), baselines, umap=False)


def drawn(page: Page, path: Path, dark: bool = False) -> dict[str, list[str]]:
    """Open every tab; return the names of the figures that are drawn on each."""
    page.complaints.clear()
    page.requests.clear()
    page.open(path, dark=dark)
    figures = {}
    for name in FIGURES:
        page.tab(name)
        seen = f"[...document.querySelectorAll('#panel-{name} .figure')].filter(f => f.querySelector('.main-svg'))"
        figures[name] = page.run(f"{seen}.map(f => f.dataset.figure || 'a protein')")
    assert page.complaints == []
    assert set(page.requests) <= {"about:blank", path.resolve().as_uri()} | {
        r for r in page.requests if r.startswith(("blob:", "data:"))
    }
    return figures


@pytest.mark.parametrize("dark", [False, True])
def test_every_tab_is_drawn_and_nothing_is_complained_of(page: Page, written: Path, dark: bool) -> None:
    assert drawn(page, written, dark) == FIGURES
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(21, 24, 28)") is dark


def test_umap_is_drawn_below_the_principal_components(
    page: Page,
    finished: SweepFolder,
    tmp_path: Path,
    umap_stand_in: list[dict[str, Any]],  # noqa: ARG001
) -> None:
    (tmp_path / "report.html").write_text(make_report(finished))
    assert drawn(page, tmp_path / "report.html")["latent"] == ["pca", "umap"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_picture_of_it_can_be_taken(page: Page, written: Path, tmp_path: Path, dark: bool) -> None:
    picture.take(page, written, tmp_path / "report.png", tab="search", dark=dark)
    seen = np.asarray(Image.open(tmp_path / "report.png").convert("RGB"))
    assert seen.shape == (picture.HEIGHT, picture.WIDTH, 3)
    assert seen[-1, 0].tolist() == ([21, 24, 28] if dark else [251, 250, 248])
    assert seen.std() > 8, "there is something to see"


def test_tabs_can_be_walked_by_keyboard_and_are_named_in_the_address(page: Page, written: Path) -> None:
    page.open(written)
    page.run("document.getElementById('tab-overview').focus()")
    page.press("ArrowRight")
    assert page.run("document.activeElement.id") == "tab-search"
    assert page.run("location.hash") == "#search"
    assert (
        page.run("[...document.querySelectorAll('[role=tabpanel]')].filter(p => !p.hidden).map(p => p.id).join()")
        == "panel-search"
    )
    page.press("End")
    assert page.run("document.querySelector('[aria-selected=true]').id") == "tab-baselines"


def saved(page: Page, name: str, folder: Path) -> pd.DataFrame:
    """Press a table's button and read what it saves."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.run(f"document.querySelector('[data-csv={name}]').click()")
    until = time.monotonic() + 10
    while not (file := folder / f"{name}.csv").is_file():
        assert time.monotonic() < until
        time.sleep(0.05)
    return pd.read_csv(file)


TABLES = {
    "overview": ["settings"],
    "search": ["rungs"],
    "settings": ["edges"],
    "trials": ["failures", "trials"],
    "proteins": ["proteins_a", "proteins_b"],
    "uncertainty": ["coverage"],
    "latent": [],
    "baselines": ["verdicts"],
}


def test_every_table_has_titles_that_sort_and_a_button_that_saves(page: Page, written: Path) -> None:
    page.open(written)
    for tab, expected in TABLES.items():
        page.tab(tab)
        panel = f"document.getElementById('panel-{tab}')"

        def names(kind: str, panel: str = panel) -> set[str]:
            return set(page.run(f"[...{panel}.querySelectorAll('[data-{kind}]')].map(e => e.dataset.{kind})"))

        assert names("table") == set(expected)
        assert names("table") <= names("csv")
        assert page.run(f"[...{panel}.querySelectorAll('table')].every(t => t.closest('[data-table]'))")
        assert page.run(f"[...{panel}.querySelectorAll('th')].every(t => t.querySelector('button'))")
        assert page.run(f"[...{panel}.querySelectorAll('[data-table]')].every(t => t.querySelector('tbody tr'))")


def test_rungs_are_saved_with_a_row_for_each(page: Page, written: Path, tmp_path: Path) -> None:
    page.open(written)
    page.tab("search")
    table, folder = saved(page, "rungs", tmp_path), SweepFolder(written.parent)
    assert list(table["epochs"]) == rungs_of(folder.config())
    records = pd.read_csv(folder.trials_file)
    for _, row in table.iterrows():
        assert row["trials compared"] == (records["epochs"] >= row["epochs"]).sum()
        assert row["stopped here"] == ((records["epochs"] == row["epochs"]) & (records["state"] == "stopped")).sum()
    assert list(table["stopped here"]) == [4, 1]


def test_the_best_settings_are_bold_where_they_differ_however_they_are_sorted(page: Page, written: Path) -> None:
    page.open(written)
    page.tab("overview")
    lines = "[...document.querySelectorAll('[data-table=settings] tbody tr')]"
    told = f"{lines}.map(r => [r.className, ...[...r.cells].map(c => c.textContent)])"
    before = page.run(told)
    assert {row[0] for row in before} == {"", "bold"}
    for sort in range(3):
        page.run(f"document.querySelectorAll('[data-table=settings] th button')[{sort}].click()")
        assert sorted(page.run(told)) == sorted(before)
        assert all((row[0] == "bold") == (row[2] != row[3]) for row in before)


def test_a_table_is_sorted_by_a_click_and_saved_whole(page: Page, written: Path, tmp_path: Path) -> None:
    page.open(written)
    page.tab("trials")
    first = "document.querySelector('[data-table=trials] tbody tr td').textContent"
    assert page.run(first) == "0"
    click = "document.querySelector('[data-table=trials] th button').click()"
    page.run(click)
    page.run(click)
    assert page.run(first) == "20"
    table = saved(page, "trials", tmp_path)
    assert len(table) == 21
    assert table["error"].dropna().iloc[-1] == "ValueError: <b>bold</b> </script>"


def test_names_that_a_spreadsheet_takes_for_formulas_are_saved_as_they_are_and_warned_of(
    page: Page, written: Path, tmp_path: Path
) -> None:
    page.open(written)
    page.tab("proteins")
    assert set(HOSTILE) < set(saved(page, "proteins_b", tmp_path)["protein"])
    warned = (
        "[...document.querySelectorAll('.formulas')].map(p => p.parentElement.querySelector('[data-csv]').dataset.csv)"
    )
    assert page.run(warned) == ["proteins_a", "proteins_b", "verdicts"]  # whose heading has every protein, too


def test_a_protein_is_searched_for_found_and_drawn_whatever_its_name(
    page: Page, written: Path, finished: SweepFolder, predictions: Predictions
) -> None:
    page.complaints.clear()
    page.open(written)
    page.tab("proteins")
    table = pd.read_csv(finished.path.parent / "b.csv", index_col=0)
    splits = pd.read_csv(written.parent / "trials" / "trial_00000" / "splits.csv", index_col=0)["split"]
    measured = table.loc[splits.index[splits == "val"]]
    for name in HOSTILE:
        page.run("document.getElementById('find').focus()")
        page.type(name)
        page.wait("document.querySelectorAll('#found [role=option]').length === 2")  # it is on both platforms
        page.press("ArrowDown")
        page.press("Enter")
        assert page.run("document.querySelector('.protein-title').textContent") == f"{name} of B, predicted from A"
        assert page.run("document.querySelector('#found').hidden")
        x, y = page.run("(f => [f[1].x, f[1].y])(document.querySelector('#protein .figure').data)")
        expected = measured[name].dropna()
        assert sorted(x) == pytest.approx(sorted(expected), abs=(expected.max() - expected.min()) / 254)
        column = predictions.names["b"].index(name)
        predicted = predictions.predicted["b"][~np.isnan(predictions.measured["b"][:, column]), column]
        assert y == pytest.approx(predicted, abs=np.ptp(predictions.predicted["b"][:, column]) / 254)
        assert page.run("document.querySelector('#protein .xtitle').textContent") == f"measured {name}"
        page.run("document.getElementById('find').blur()")
    assert page.run("document.querySelectorAll('img, iframe, script[src], b').length") == 0
    assert page.complaints == []


def test_a_protein_that_is_not_there_is_not_found(page: Page, written: Path) -> None:
    page.open(written)
    page.tab("proteins")
    page.run("document.getElementById('find').focus()")
    page.type("no such protein")
    page.wait("document.querySelector('#found').textContent.includes('No protein has that in its name')")


def test_a_protein_in_a_table_is_drawn_by_a_click(page: Page, written: Path) -> None:
    page.open(written)
    page.tab("proteins")
    worst = "document.querySelector('[data-table=proteins_a][data-last] tbody button')"
    page.run(f"{worst}.click()")
    name = page.run(f"{worst}.textContent")
    assert page.run("document.querySelector('.protein-title').textContent") == f"{name} of A, predicted from B"


def test_figures_take_the_colours_of_a_theme_that_changes(page: Page, written: Path) -> None:
    page.open(written)
    page.tab("search")
    ink = "getComputedStyle(document.querySelector('#panel-search .xtitle')).fill"
    assert page.run(ink) == "rgb(29, 33, 37)"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.wait(f"{ink} === 'rgb(230, 228, 224)'")


def test_a_sweep_that_has_only_begun_has_a_page_that_says_so(page: Page, make: Callable[..., Made]) -> None:
    made = make()
    figures = drawn(page, write_report(made.folder))
    assert not any(figures.values())
    assert "No trial has a score yet" in page.run("document.getElementById('panel-overview').textContent")


def test_a_sweep_that_is_being_written_to_can_be_reported_on(page: Page, make: Callable[..., Made]) -> None:
    made = make()
    made.told({}, [0.1, 0.2], "complete")
    made.told({"model.latent_dim": 3}, [0.3], "running")
    with made.folder.journal.open("ab") as stream:
        stream.write(b'{"time": 1, "event": "epo')  # half a line
    figures = drawn(page, write_report(made.folder))
    assert figures["search"] == ["history", "curves"]
    assert "1 of 30 trials have ended" in page.run("document.querySelector('header').textContent")
    overview = page.run("document.getElementById('panel-overview').textContent")
    assert "Nothing was better than the base config so far (0.2000)." in overview
    assert "cpivae confirm" not in overview
