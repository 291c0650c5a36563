"""What Optuna makes of a sweep: its plots of the settings, and where the best trials lie in the space."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cpivae.config.schema import Config
from cpivae.config.space import make_space
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import TrialRecord

Study = optuna.Study

MIN_COMPLETE = 8
"""Trials run to their end, below which nothing is said of importance: half of fewer are too few to be the good ones."""
MAX_TRIALS = 200
"""Trials that the plots are made of."""
_GOOD = 5
"""Trials that importance sets against all others, at least; a tenth of them where that is more."""
_AXES = 8
"""Settings side by side in the parallel coordinates: more cannot be read."""


@dataclass(frozen=True)
class Placed:
    """Where trials lie along one searched setting that has an order."""

    name: str
    low: float
    high: float
    log: bool
    listed: bool
    """Whether the space lists its values instead of a range."""
    values: dict[int, float]
    """{number of a trial: its value}."""
    positions: dict[int, float]
    """The same from 0, the low edge, to 1, the high one; by rank where values are listed."""


def study_of(ledger: Ledger, config: Config, space: Mapping[str, Any]) -> optuna.Study:
    """Return the study of a sweep as its sampler would see it: of a long one the best and the latest trials."""
    from cpivae.tuning.searcher import Proposer  # imports Ray

    return Proposer(make_space(space, config, "the sweep's space"), config, ledger).study


def for_plots(study: optuna.Study) -> optuna.Study:
    """Return a study of the trials that ran to their end, of many the best and the latest, for the plots.

    Optuna copies all trials for every setting it draws, with all that was reported of them.
    """
    ended = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if t.value is not None]
    if len(ended) > MAX_TRIALS:
        better = study.direction == optuna.study.StudyDirection.MAXIMIZE
        best = sorted(ended, key=lambda t: t.values[0], reverse=better)[: MAX_TRIALS // 2]
        latest = [t for t in ended if t not in best][-(MAX_TRIALS - len(best)) :]
        ended = sorted([*best, *latest], key=lambda t: t.number)
    slim = optuna.create_study(direction=study.direction)
    slim.add_trials(
        optuna.create_trial(params=t.params, distributions=t.distributions, value=t.values[0]) for t in ended
    )
    return slim


def n_complete(study: optuna.Study) -> int:
    """Count the trials that Optuna's plots rest on."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def n_good(n: int) -> int:
    """Return how many of ``n`` trials count as good when importance is reckoned."""
    return max(math.ceil(n / 10), min(_GOOD, n // 2))


def importance(study: optuna.Study) -> dict[str, float]:
    """Return each setting's share of what tells the good trials from the others (PED-ANOVA), the largest first.

    Empty where there are too few trials, or their scores are the same.
    """
    n = n_complete(study)
    if n < MIN_COMPLETE or not _tell_apart(study, n_good(n)):
        return {}
    with _without_warnings():
        return optuna.importance.get_param_importances(study, evaluator=_evaluator(n))


def _tell_apart(study: optuna.Study, n: int) -> bool:
    """Say whether the ``n`` best scores are better than the worst: where all are alike, all are good ones."""
    scores = sorted(trial.values[0] for trial in study.get_trials(deepcopy=False))
    if study.direction == optuna.study.StudyDirection.MAXIMIZE:
        scores.reverse()
    return bool(scores[n - 1] != scores[-1])


def importance_plot(study: optuna.Study, metric: str, names: Sequence[str]) -> dict[str, Any]:
    """Return Optuna's plot of the :func:`importance` of these settings as plain data."""
    plot = optuna.visualization.plot_param_importances
    with _without_warnings():
        return _plain(plot(study, evaluator=_evaluator(n_complete(study)), params=list(names), target_name=metric))


def parallel_plot(study: optuna.Study, metric: str, names: Iterable[str]) -> dict[str, Any]:
    """Return Optuna's parallel coordinates of the first few of these settings as plain data."""
    tried = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
    chosen = [name for name in names if name in tried][:_AXES]
    figure = _plain(optuna.visualization.plot_parallel_coordinate(study, params=chosen, target_name=metric))
    # Optuna cuts long names short at their end, where they differ.
    whole = [metric, *sorted(chosen)]
    figure["layout"]["xaxis"]["ticktext"] = whole
    for trace in figure["data"]:
        if "customdata" in trace:
            trace["customdata"] = [[name, value] for name, (_, value) in zip(whole, trace["customdata"], strict=True)]
    return figure


def placed(study: optuna.Study, records: Iterable[TrialRecord]) -> list[Placed]:
    """Return where trials lie along every setting that has an order, in the order of the settings' names."""
    numbers = {record.number for record in records}
    trials = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("trial") in numbers]
    names = sorted({name for trial in trials for name in trial.params})
    return [along for name in names if (along := _along(name, trials)) is not None]


def _along(name: str, trials: Iterable[FrozenTrial]) -> Placed | None:
    having = [trial for trial in trials if name in trial.params]
    distribution = having[0].distributions[name]
    scale = _scale(distribution)
    if scale is None:
        return None
    values = {int(t.user_attrs["trial"]): float(t.params[name]) for t in having}
    if isinstance(distribution, CategoricalDistribution):
        low, high, log = scale[0], scale[-1], False
        positions = {number: scale.index(value) / (len(scale) - 1) for number, value in values.items()}
    else:
        low, high, log = scale[0], scale[-1], bool(distribution.log)  # type: ignore[attr-defined]
        positions = {number: _position(value, low, high, log) for number, value in values.items()}
    return Placed(name, low, high, log, isinstance(distribution, CategoricalDistribution), values, positions)


def _scale(distribution: BaseDistribution) -> list[float] | None:
    """Return the ends of a range, or numbers that are listed in their order; None where there is no order."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = [c for c in distribution.choices if isinstance(c, int | float) and not isinstance(c, bool)]
        ordered = len(numbers) == len(distribution.choices) >= 3
        return sorted(map(float, numbers)) if ordered else None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [float(distribution.low), float(distribution.high)] if distribution.low < distribution.high else None


def _position(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hear nothing of a setting under a condition that was tried once: the report says on how many trials all rests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _evaluator(n: int) -> optuna.importance.PedAnovaImportanceEvaluator:
    return optuna.importance.PedAnovaImportanceEvaluator(target_quantile=n_good(n) / n)


def _plain(figure: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(figure.to_json())
    for own in ("template", "title", "plot_bgcolor"):  # the page has its own
        plain["layout"].pop(own, None)
    return plain
