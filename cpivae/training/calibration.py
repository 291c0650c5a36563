"""How uncertain the models of a run are: measured at its end, or when somebody asks."""

from __future__ import annotations

from cpivae.data.prepare import Folds
from cpivae.training.again import Again
from cpivae.training.folder import RunFolder
from cpivae.uncertainty.files import Calibrations, read_calibrations, write_calibrations


def calibrations_of(again: Again) -> Calibrations:
    """Return how uncertain a run's models are: what the run has measured, or what is measured now.

    Test rows are read only where the run has been scored on them already.

    Raises
    ------
    FolderError
        It has not been measured, and its tables are not where they were, or are others.
    """
    run = again.run
    features = {p: fitted.features for p, fitted in run.preprocessors().items()}
    known = read_calibrations(run.path, features)
    tested = bool(run.test_metrics())
    if known and (not tested or all(c.test_coverage is not None for c in known.values())):
        return known
    return again.calibrations


def write_calibrations_of(run: RunFolder, folds: Folds) -> None:
    """Measure how uncertain a run's models are, whose ``folds`` are at hand, and write it into its folder."""
    found = Again(run, lambda: folds).calibrations
    write_calibrations(run.path, found, {p: fitted.features for p, fitted in folds[0].preprocessors.items()})
