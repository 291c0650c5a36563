"""What ends a sweep before all its trials are done."""

from __future__ import annotations

import time

from cpivae.config.tuning import TuningSettings
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import ranked


class Stopper:
    """Says when the time, the GPU hours or the patience of a sweep are spent."""

    def __init__(self, tuning: TuningSettings, ledger: Ledger) -> None:
        self.tuning, self.ledger = tuning, ledger
        self.started = time.monotonic() - ledger.seconds
        self.counted_at, self.counted = -1, 0

    def reason(self) -> str:
        """Return why the sweep ends now; empty while it goes on."""
        tuning, ledger = self.tuning, self.ledger
        if ledger.broken:
            return f"the last {len(ledger.last_errors)} trials ended with the same error"
        if tuning.time_budget is not None and time.monotonic() - self.started >= tuning.time_budget * 3600:
            return f"the time budget of {tuning.time_budget:.3g} h is spent"
        if tuning.gpu_hours is not None and ledger.gpu_hours >= tuning.gpu_hours:
            return f"the budget of {tuning.gpu_hours:g} GPU hours is spent"
        if tuning.patience is not None and self.without_improvement() >= tuning.patience:
            return f"{tuning.patience} trials have ended without improving on the best"
        return ""

    def without_improvement(self) -> int:
        """Count the trials that have ended since the best one did."""
        ended = self.ledger.order_of_ends
        if self.counted_at == len(ended):
            return self.counted  # Ray asks at every event
        best = ranked(self.ledger.records, self.tuning.goal())
        since = len(ended) - 1 - ended.index(best[0].number) if best and best[0].number in ended else 0
        self.counted_at, self.counted = len(ended), since
        return since
