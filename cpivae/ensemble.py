"""The best trials of a sweep as one predictor: they impute the mean of their predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cpivae.config.schema import Config
from cpivae.data.scale import Scales
from cpivae.errors import FolderError
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.record import ranked
from cpivae.uncertainty.files import Calibrations
from cpivae.uncertainty.measure import measure
from cpivae.uncertainty.predict import Trained


def best_trials(path: Path, n: int) -> tuple[Config, list[Trained], Callable[[], Calibrations], Scales]:
    """Return the settings of a sweep's best trial, the models of its ``n`` best, what measures their uncertainty, and
    what the training tables were.

    Trials may differ in architecture; samples, splits and features are the same for all of a sweep.  Their uncertainty
    is that of the mean of their predictions, so it is measured for them together, on validation rows.

    Raises
    ------
    FolderError
        ``path`` is no sweep folder, or has fewer trials whose weights were kept.
    """
    sweep = SweepFolder.open(path)
    ranking = [sweep.again(record) for record in ranked(sweep.records(), sweep.goal())]
    runs = [again for again in ranking if again.run.final_model.is_file()]
    if len(runs) < n:
        raise FolderError(
            f"--ensemble {n} needs the weights of {n} trials, and the sweep {path} has {len(runs)} with a score and "
            f"weights (tuning.keep_weights is {sweep.config().tuning.keep_weights}). Take --ensemble {len(runs)}, or "
            "tune with a larger keep_weights."
            if runs
            else f"the sweep {path} has no trial with a score and weights; there is nothing to impute with."
        )
    trained = [one for again in runs[:n] for one in again.trained]

    def calibrations() -> Calibrations:
        # Test rows stay unread: nobody has looked at them for these trials together.
        return measure(trained, runs[0].folds, test=False)

    return runs[0].run.config(), trained, calibrations, runs[0].run.scales()
