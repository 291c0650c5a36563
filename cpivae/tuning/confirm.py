"""A second look at the best trials of a sweep, on folds and seeds that the search has never used.

The best of many noisy scores is too good: a sweep's winner owes part of its score to luck.  Trained again where it has
had none, it shows what it is worth, and which of the best are really different.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.config.space import make_space
from cpivae.config.yaml import read_yaml_mapping
from cpivae.data.prepare import Folds, fingerprint
from cpivae.errors import FolderError, SweepFailedError
from cpivae.files import write_text
from cpivae.names import RunFiles
from cpivae.training.run import evaluate_test
from cpivae.tuning.candidates import Candidate, compared, scores_of
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal
from cpivae.tuning.record import Proposal, TrialRecord, ended, ranked
from cpivae.tuning.sweep import run_sweep, sweep_config

_FRESH = 500_000_009
"""How far the seeds of a confirmation lie from those of its sweep: further than any sweep has trials."""


@dataclass(frozen=True)
class Confirmation:
    """What the second look has found."""

    metric: str
    folds: int
    seeds: int
    n_trials: int
    """Trials of the sweep that had ended by then."""
    candidates: list[Candidate]
    """In the order of their new scores, best first."""
    winner: int
    """Number of the smallest trial among those that tie with the best."""
    favourite: int
    """Number of the candidate that was the best in the search."""
    selection_bias: float
    """By how much the search's score of that one is better than its new score."""
    passed_over: list[int]
    """Trials with scores like those of the candidates that are none, because ASHA stopped them."""
    failed: list[int]
    """Candidates without a score on every fold and seed."""
    test_metrics: dict[str, float]
    """The winner's, read after everything else was decided."""
    test_looks: int
    """Trials of the sweep whose scores on the test samples have been read; more than one after a second confirmation
    with another winner."""


def confirm(
    sweep: SweepFolder,
    data_source: Callable[[Config], Folds],
    *,
    top: int,
    seeds: int,
    folds: int,
    resume: bool = False,
    say: Callable[[str], None] = print,
    quiet: bool = False,
) -> Confirmation:
    """Train the ``top`` best trials again, ``folds`` x ``seeds`` times each, choose one, and read its test samples.

    ``data_source`` returns the tables prepared as a config's data settings ask for.  The new trials run like a sweep's,
    in the folder ``confirm`` of the sweep, and go on with ``resume`` where they were interrupted.

    Raises
    ------
    CpivaeError
        Other tables than the sweep's, a missing trial folder, an interruption, or no candidate with a score.
    """
    config, goal = sweep.config(), sweep.goal()
    records = sweep.records()
    _require_ended(sweep, records)
    chosen, passed_over = chosen_of(ranked(records, goal), top)
    if not chosen:
        raise SweepFailedError(f"no trial of {sweep.path} has run to its end with a score: there is none to confirm.")
    _require_weights(sweep, chosen)
    _require_same_data(sweep, data_source(config))
    settings = confirming(config, folds=folds, n_trials=len(chosen) * seeds)
    first = settings.tuning.seed
    proposals = [
        Proposal(record.values, f"trial {record.number}, seed {first + j}", first + j)
        for j in range(seeds)
        for record in chosen
    ]
    space = make_space(read_yaml_mapping(sweep.settings_file)["space"], settings, "the sweep's space")
    done = run_sweep(
        settings, space, lambda: data_source(settings), SweepFolder(sweep.confirming), study_name="confirm",
        resume=resume, proposals=proposals, say=say, quiet=quiet,
    )  # fmt: skip
    by_trial = scores_of(done.folder, done.records, chosen, folds)
    candidates = compared(by_trial, chosen, sweep)
    winner = min((c for c in candidates if c.ties), key=lambda c: c.parameters)
    run = sweep.trial(TrialRecord(winner.trial))
    test = run.test_metrics() or evaluate_test(run.config(), data_source(config), run)
    looks = {"folds": folds, "seeds": seeds, "n_trials": ended(records), "passed_over": passed_over}
    return _written(sweep, candidates, winner, chosen, looks, test)


def chosen_of(best_first: Sequence[TrialRecord], top: int) -> tuple[list[TrialRecord], list[int]]:
    """Return the ``top`` best trials that ran to their end, and the numbers of those that ASHA stopped among them.

    What it stopped has weights of a few epochs: trained to its end it would be another model than the one exported.
    """
    at_the_end = [record for record in best_first if record.state == "complete"][:top]
    last = best_first.index(at_the_end[-1]) if at_the_end else 0
    return at_the_end, [record.number for record in best_first[:last] if record.state != "complete"]


def confirming(config: Config, *, folds: int, n_trials: int) -> Config:
    """Return a sweep's settings for looking again: other folds and seeds, and every trial runs to its end.

    Raises
    ------
    ResourceError
        This machine has less than a trial asks for.
    """
    tuning = config.tuning
    again = with_values(
        config,
        {
            "tuning.folds": folds,
            "data.fold_seed": (config.data.fold_seed + _FRESH) % 2**32,
            "tuning.n_trials": n_trials,
            "tuning.seed": (tuning.seed + _FRESH) % 2**31,
            "tuning.asha.grace_period": tuning.max_epochs,
            "tuning.asha.max_t": None,
            "tuning.keep_weights": 1,
            "tuning.time_budget": None,
            "tuning.gpu_hours": None,
            "tuning.patience": None,
        },
    )
    return sweep_config(again)


def _written(
    sweep: SweepFolder,
    candidates: list[Candidate],
    winner: Candidate,
    chosen: Sequence[TrialRecord],
    looks: dict[str, Any],
    test: dict[str, float],
) -> Confirmation:
    confirmed = {c.trial: c for c in candidates}
    favourite = next((confirmed[r.number] for r in chosen if r.number in confirmed), winner)
    sign = sweep.goal().sign
    found = Confirmation(
        metric=sweep.goal().metric,
        **looks,
        candidates=candidates,
        winner=winner.trial,
        favourite=favourite.trial,
        selection_bias=sign * (favourite.search_score - favourite.score.mean),
        failed=[r.number for r in chosen if r.number not in confirmed],
        test_metrics=test,
        test_looks=len(list(sweep.trials.glob(f"*/{RunFiles.TEST_METRICS}"))),
    )
    write_text(sweep.confirmation_file, json.dumps(_plain(found), indent=2) + "\n")
    sweep.write_best_config(next(r for r in chosen if r.number == winner.trial))
    return found


def _plain(found: Confirmation) -> dict[str, Any]:
    plain = asdict(found)
    for candidate, described in zip(found.candidates, plain["candidates"], strict=True):
        described |= {"score": candidate.score._asdict(), "against_best": candidate.against_best._asdict()}
        described["ties"] = candidate.ties
    return plain


def _require_ended(sweep: SweepFolder, records: Sequence[TrialRecord]) -> None:
    with closing(Journal(sweep.journal)):  # refused while another process is running the sweep
        pass
    by_a_budget = sweep.ended_by() not in ("", "interrupted")
    if ended(records) < len(records) and not by_a_budget:
        raise FolderError(
            f"the sweep {sweep.path} has not ended: {len(records) - ended(records)} trials are unfinished. Go on with "
            "the command it was made with and --resume, then confirm."
        )


def _require_weights(sweep: SweepFolder, chosen: Sequence[TrialRecord]) -> None:
    gone = [r.number for r in chosen if not sweep.trial(r).final_model.is_file()]
    if gone:
        raise FolderError(
            f"the weights of {len(gone)} of the {len(chosen)} best trials of {sweep.path} were not kept (first: trial "
            f"{gone[0]}); tuning.keep_weights is {sweep.config().tuning.keep_weights}. Confirm fewer with --top "
            f"{len(chosen) - len(gone)}, or tune with a larger keep_weights."
        )


def _require_same_data(sweep: SweepFolder, folds: Folds) -> None:
    if read_yaml_mapping(sweep.settings_file).get("fingerprint") != fingerprint(folds):
        raise FolderError(
            f"these tables are not those of the sweep {sweep.path}, or its table of samples has changed: trials could "
            "not be compared. Give the tables it was made with."
        )
