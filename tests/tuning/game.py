"""A sweep without Ray: the ledger, the searcher and the referee, and trials that end as they are told to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from cpivae.config.schema import Config
from cpivae.config.space import make_space
from cpivae.tuning.causes import described
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal, read_journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.referee import Referee
from cpivae.tuning.searcher import Proposer

SPACE = {
    "model.latent_dim": {"lograndint": [2, 256]},
    "model.encoder_layers": {"layers": {"depth": [0, 2], "width": [8, 16]}},
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
}


class Game:
    """One process's view of a sweep, opened on a folder that may hold an earlier one's journal."""

    def __init__(self, folder: SweepFolder, config: Config, space: dict[str, Any]) -> None:
        self.folder = folder
        if not self.folder.trials.is_dir():
            self.folder.create()
        self.config = config
        self.n_proposed = 0
        self.journal = Journal(self.folder.journal)
        self.ledger = Ledger(self.folder, config.tuning.goal(), None, self.journal)
        self.ledger.replay(read_journal(self.folder.journal))
        self.searcher = Proposer(make_space(space, config, "space"), config, self.ledger)
        self.referee = Referee(config, self.ledger)

    def close(self) -> None:
        self.journal.close()

    def propose(self) -> Any:
        """Return the next trial, begun, as Ray would hold it; or what the searcher says instead."""
        self.n_proposed += 1
        ray_id = f"ray-{self.n_proposed}"
        proposed = self.searcher.suggest(ray_id)
        if not isinstance(proposed, dict):
            return proposed
        trial = SimpleNamespace(trial_id=ray_id, config=proposed)
        self.referee.on_trial_add(None, trial)
        self.ledger.begin(proposed["number"])
        return trial

    def report(self, trial: Any, epoch: int, score: float, *, last: bool = False, diverged: bool = False) -> str:
        """Report an epoch; end the trial where that is the decision, as Ray does."""
        spread = {"score_sd": float("nan"), "best_epoch": epoch}
        result = {"epoch": epoch, "score": score, **spread, "last": last, "diverged": diverged}
        decision = self.referee.on_trial_result(None, trial, result)
        if decision == "STOP" or last:
            self.referee.on_trial_complete(None, trial, result)
            self.searcher.on_trial_complete(trial.trial_id, result)
        return decision

    def lose(self, trial: Any, error: Exception | None = None) -> None:
        """End a trial by an error that its process has described, or by the loss of that process."""
        if error is not None:
            self.folder.errors.mkdir(exist_ok=True)
            self.folder.traceback(trial.config["number"]).write_text(described(error))
        self.referee.on_trial_error(None, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)

    def run(self, score_of: Callable[[dict[str, Any], int], float], epochs: int, most: int | None = None) -> int:
        """Run trials one after the other; return how many."""
        n = 0
        while (most is None or n < most) and not isinstance(trial := self.propose(), str | None):
            n += 1
            for epoch in range(trial.config["reported"] + 1, epochs):
                score = score_of(trial.config["values"], epoch)
                if self.report(trial, epoch, score, last=epoch + 1 == epochs) == "STOP":
                    break
        return n
