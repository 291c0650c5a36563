"""A study's storage that shows a sampler the best and the latest trials, so that a proposal costs the same for ever."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Container, Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LATEST = 300
"""Ended trials up to which a sampler sees all of them, and after that the latest."""
BEST = 25
"""The best ones, however old: TPE takes no more than these for its good ones, and needs every one."""


class Window(optuna.storages.InMemoryStorage):
    """Holds all trials of one study; a list of them has those of the window.

    TPE, Gaussian process and CMA-ES take time that grows with the trials they see.  What is left out is what TPE
    gives the least weight to: the older trials among those that are not good.
    """

    def __init__(self) -> None:
        super().__init__()
        # By id, which is the number where there is one study.
        self._open: set[int] = set()
        self._ended: list[int] = []
        self._scores: list[tuple[float, int]] = []
        """Of complete trials, best first, the lower the better."""
        self._shown: list[FrozenTrial] | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of the window, and those that have not ended."""
        if len(self._ended) <= LATEST or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        if self._shown is None:
            ids = {number for _, number in self._scores[:BEST]} | set(self._ended[-LATEST:])
            self._shown = [self.get_trial(i) for i in ids]
        trials = [*self._shown, *(self.get_trial(i) for i in self._open)]
        trials = sorted((t for t in trials if states is None or t.state in states), key=lambda t: t.number)
        return copy.deepcopy(trials) if deepcopy else trials

    def whole(self, study_id: int) -> list[FrozenTrial]:
        """Return all trials, not to be changed."""
        return super().get_all_trials(study_id, deepcopy=False)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = super().create_new_trial(study_id, template_trial)
        self._open.add(number)
        self._note_end(number)
        return number

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        self._note_end(trial_id)
        return done

    def _note_end(self, number: int) -> None:
        trial = self.get_trial(number)
        if number not in self._open or not trial.state.is_finished():
            return
        self._open.remove(number)
        insort(self._ended, number)
        if trial.state is TrialState.COMPLETE:
            (direction,) = self.get_study_directions(0)
            insort(
                self._scores, (-trial.values[0] if direction is StudyDirection.MAXIMIZE else trial.values[0], number)
            )
        self._shown = None
