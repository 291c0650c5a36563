"""The best trials of a sweep, beside each other on the folds and seeds that they were trained on again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cpivae.errors import SweepFailedError
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import TrialRecord
from cpivae.tuning.statistics import Interval, resampled_interval


@dataclass(frozen=True)
class Candidate:
    """One of a sweep's best trials, looked at again."""

    trial: int
    search_score: float
    score: Interval
    """Over folds and seeds, with its interval."""
    against_best: Interval
    """Difference from the best candidate on the same folds and seeds."""
    parameters: int
    """Size of its model."""

    @property
    def ties(self) -> bool:
        """Whether it cannot be told from the best."""
        return self.against_best.low <= 0 <= self.against_best.high


def scores_of(
    folder: SweepFolder, records: Sequence[TrialRecord], chosen: Sequence[TrialRecord], folds: int
) -> dict[int, npt.NDArray[np.float64]]:
    """Return the scores (seeds x folds) of every candidate that has all of them, at its trials' best epochs."""
    metric = folder.goal().metric
    of_seed: dict[int, list[npt.NDArray[np.float64]]] = {r.number: [] for r in chosen}
    for i, record in enumerate(records):
        if record.score is None:
            continue
        rows = folder.trial(record).replicas()
        at_best = rows[rows["epoch"] == record.best_epoch].sort_values("replica")
        of_seed[chosen[i % len(chosen)].number].append(at_best[metric].to_numpy(dtype=float))
    n_seeds = len(records) // len(chosen)
    return {n: np.stack(s) for n, s in of_seed.items() if len(s) == n_seeds and all(len(x) == folds for x in s)}


def compared(
    by_trial: dict[int, npt.NDArray[np.float64]], chosen: Sequence[TrialRecord], sweep: SweepFolder
) -> list[Candidate]:
    """Compare candidates by the scores (seeds x folds) that they have on the same folds; the best comes first.

    A fold counts once, with its mean over seeds: more seeds make it surer, but they are no new samples.

    Raises
    ------
    SweepFailedError
        No candidate has all scores.
    """
    sign = sweep.goal().sign
    order = sorted(by_trial, key=lambda number: -sign * by_trial[number].mean())
    if not order:
        raise SweepFailedError(
            f"none of the {len(chosen)} candidates of {sweep.path} has a score on every fold and seed; "
            f"see {sweep.confirming / 'trials.csv'}."
        )
    search = {r.number: r for r in chosen}
    best = by_trial[order[0]]
    candidates = []
    for number in order:
        record, scores = search[number], by_trial[number]
        assert record.score is not None
        candidates.append(
            Candidate(
                trial=number,
                search_score=record.score,
                score=resampled_interval(scores.mean(axis=0)),
                against_best=resampled_interval((scores - best).mean(axis=0)),
                parameters=sum(w.numel() for w in sweep.trial(record).weights()[0].values()),
            )
        )
    return candidates
