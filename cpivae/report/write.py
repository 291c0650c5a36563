"""From a sweep folder to its report, whole or not at all."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import cpivae
from cpivae.baselines.evaluate import Scores
from cpivae.baselines.folder import copy_baselines
from cpivae.config.yaml import read_yaml_mapping
from cpivae.files import write_text
from cpivae.names import DIRECTIONS, Goal
from cpivae.report import edges, findings, rungs, search, settings, versus
from cpivae.report.figures import Figure
from cpivae.report.model import baseline_command, model_part
from cpivae.report.page import render
from cpivae.training.again import Again
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.ledger import read_ledger
from cpivae.tuning.record import TrialRecord, ended, ranked
from cpivae.tuning.study import placed, study_of
from cpivae.tuning.summary import summarise

BASELINES = "baselines"
"""Folder in a sweep's own that the page proposes for baselines."""


def write_report(
    folder: SweepFolder, baseline: Path | None = None, *, again: Again | None = None, umap: bool = True
) -> Path:
    """Write a sweep's report from what its journal says so far, and return its path.

    ``baseline``: a folder of ``cpivae baseline`` measured on the same data, to set the model beside, in this report and
    in those after it.
    ``again``: the best trial, where somebody has looked at it already.
    ``umap``: whether to draw the latent space in that way as well, which may take half a minute.

    Raises
    ------
    CpivaeError
        No sweep folder, or baselines of other data.
    """
    if baseline is not None:
        _baselines(folder, baseline)  # refuses those of other data
        copy_baselines(baseline, folder.report_baselines)
    write_text(folder.report, make_report(folder, again=again, umap=umap))
    return folder.report


def try_report(folder: SweepFolder, again: Again | None = None) -> str:
    """Write the report of a sweep that has ended; return a line on where it is, or on why there is none.

    Nothing that goes wrong here may take away from a sweep that went well.
    """
    try:
        return f"  report    {write_report(folder, again=again, umap=False)}"
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        return f"warning: no report was written ({why}). cpivae report --sweep {folder.path} tries again"


def make_report(folder: SweepFolder, *, again: Again | None = None, umap: bool = True) -> str:
    """Return the report as HTML; see :func:`write_report`."""
    described, config = read_yaml_mapping(folder.settings_file), folder.config()
    baselines = _baselines(folder, folder.report_baselines) if folder.report_baselines.is_dir() else None
    ledger = read_ledger(folder)
    records, tuning = ledger.records, config.tuning
    goal, confirmed = tuning.goal(), folder.confirmation()
    best = _best(records, goal, confirmed)
    summary = summarise(ledger, config, folder.ended_by())
    study, model = (
        study_of(ledger, config, described["space"]),
        model_part(folder, best, baselines, again=again, umap=umap),
    )

    figures: dict[str, Figure | None] = {"history": search.history(ledger, goal)}
    figures["curves"], curves_note = search.curves(ledger, goal, rungs.rungs_of(config))
    of_rungs, figures["rungs"], table_of_rungs = rungs.section(ledger, config, best)
    of_edges, figures["edges"], table_of_edges = edges.section(placed(study, records), records, goal)
    of_importance, figures["importance"], figures["parallel"] = settings.section(study, goal)
    failed, n_ended = search.failures(records), ended(records)
    found = [
        *model.findings,
        *findings.of_search(summary, best, confirmed, folder.name, n_ended),
        *findings.of_settings(of_rungs, of_edges, failed),
    ]
    n_wider = sum(not p["at_limit"] for p in of_edges["pressed"])
    drawn = {name: figure for name, figure in (figures | model.figures).items() if figure is not None}
    tables = {
        "trials": search.trials(records),
        "rungs": table_of_rungs,
        "edges": table_of_edges,
        "failures": search.table_of_failures(failed),
        **model.tables,
    }
    if best is not None:
        tables["settings"] = search.settings(config, best)
    told = {
        "title": folder.path.resolve().name,
        "metric": goal.metric,
        "state": ", ".join(filter(None, [f"{n_ended} of {tuning.n_trials} trials have ended", summary["ended_early"]])),
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "folder": folder.name,
        "version": cpivae.__version__,
        "tabs": _tabs({"settings": n_wider, "trials": sum(f["trials"] for f in failed)}),
        "cards": findings.cards(summary, best, tuning.n_trials, records, tuning.max_epochs),
        "spent": findings.spent(summary, records, tuning.max_epochs),
        "findings": [finding._asdict() for finding in findings.in_order(found)],
        "best": best,
        "curves_note": curves_note,
        "rungs": of_rungs,
        "edges": of_edges,
        "importance": of_importance,
        "directions": [(target, source) for source, target in DIRECTIONS if source != target],
        "baseline_command": baseline_command(folder, described, folder.path / BASELINES),
        "drawn": set(drawn),
        "tabled": {name for name, table in tables.items() if table["rows"]},
        **model.told,
    }
    return render(told, {"figures": drawn, "tables": tables, "proteins": model.proteins}, model.points)


def _baselines(folder: SweepFolder, path: Path) -> Scores:
    expected = read_yaml_mapping(folder.settings_file).get("fingerprint", "")
    return versus.read_same(path, expected, folder.best_config)


def _best(records: list[TrialRecord], goal: Goal, confirmed: dict[str, Any]) -> TrialRecord | None:
    """Return the confirmed winner, otherwise the best by the one selection rule, if there is any."""
    if confirmed:
        return next(r for r in records if r.number == confirmed["winner"])
    return next(iter(ranked(records, goal)), None)


def _tabs(counts: dict[str, int]) -> list[tuple[str, str, int]]:
    """Return name, title and the number of things to look at of every tab."""
    titles = {
        "overview": "Overview",
        "search": "Search",
        "settings": "Settings",
        "trials": "Trials",
        "proteins": "Proteins",
        "uncertainty": "Uncertainty",
        "latent": "Latent space",
        "baselines": "Baselines",
    }
    return [(name, title, counts.get(name, 0)) for name, title in titles.items()]
