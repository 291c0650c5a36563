"""Is a new table on the scale of the one that a model was trained on?  By what its file says, and by its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cpivae.data.measured import AS_IN_FILE, LOGARITHMIC, NOT_SAID, Origin, looks_linear
from cpivae.data.preprocess import Floats, Preprocessor
from cpivae.errors import DataError, listed
from cpivae.names import PLATFORMS

Scales = Mapping[str, Origin]
"""Platform -> what its training table was, without notes; a platform is missing where nobody knows."""

_FAR: Final = 10.0
"""In scaled units: standard deviations of the training rows, or what ``data.normalization_method`` takes for them.
Single proteins of a sample may lie as far away, but not most of them; in other units (linear for log2) nearly all."""

_ROWS: Final = 256
"""So many samples are scaled at a time."""


def plain_scales(scales: Scales) -> dict[str, dict[str, str]]:
    """Return as plain data what may be shared: no path and no sample."""
    return {p: {"form": o.form, "units": o.units, "transform": o.transform} for p, o in scales.items()}


def read_scales(described: Mapping[str, Mapping[str, Any]]) -> Scales:
    """Read back :func:`plain_scales`.

    Raises
    ------
    KeyError, TypeError, AttributeError
        It is something else.
    """
    scales = {p: Origin(own["form"], own["units"], own["transform"]) for p, own in described.items()}
    if not all(isinstance(text, str) for o in scales.values() for text in (o.form, o.units, o.transform)):
        raise TypeError("form, units and transform are text")
    return scales


def scales_of_run(sources: Mapping[str, Mapping[str, Any]]) -> Scales:
    """Return what a run has recorded of its tables; those that never were in a file have no units that are known."""
    found = {p: sources.get(f"platform_{p}", {}) for p in PLATFORMS}
    return read_scales({p: own for p, own in found.items() if "units" in own})


def require_same_scale(trained: Origin | None, new: Origin | None, values: pd.DataFrame, platform: str) -> None:
    """Refuse a table (n, D) of which it is known that it is in other units than the training table of ``platform``.

    Raises
    ------
    DataError
        Both files say their units, and these differ; or values that should be logarithms are too large to be any.
    """
    if trained is None or trained.units == NOT_SAID:
        return
    units = NOT_SAID if new is None else new.units
    if units not in (NOT_SAID, trained.units):
        got = f"is in {units}"
    elif units == NOT_SAID and trained.units in LOGARITHMIC and looks_linear(values):
        got = f"has values that are too large to be logarithms (median {np.nanmedian(values.to_numpy()):.4g})"
    else:
        return
    of_file = f"the file as the vendor wrote it ({trained.form}), or " if trained.transform != AS_IN_FILE else ""
    raise DataError(
        f"the table {got}, and the model was trained on platform {platform} in {trained.units} ({trained.form}; "
        f"transform: {trained.transform}). Give {of_file}values in {trained.units}."
    )


def doubts(
    trained: Origin | None, new: Origin | None, *, logged: bool, far: list[str], n_samples: int, platform: str
) -> list[str]:
    """Return warnings of what looks like another scale but may be meant.

    ``logged``: the model takes the logarithm of this platform; ``far``: samples of :func:`samples_far_off`.
    """
    notes = []
    known = NOT_SAID if trained is None else trained.units
    if logged and known == NOT_SAID and new is not None and new.units in LOGARITHMIC:
        notes.append(
            f"warning: the table is in {new.units} already, and the model takes the logarithm of platform {platform} "
            f"again (data.log_transform.platform_{platform}.enabled); were its training values linear?"
        )
    if far:
        notes.append(
            f"warning: in {len(far)} of {n_samples} samples most values lie more than {_FAR:.0f} times the training "
            f"spread away from the training values, and what is predicted for them means nothing: {listed(far)}. The "
            f"table must be in the units of the training table of platform {platform}; is one linear and the other "
            "log2?"
        )
    return notes


def samples_far_off(preprocessor: Preprocessor, measured: Floats, ids: list[str]) -> list[str]:
    """Return the samples (of n) most of whose measured values (n, D) are nowhere near the training rows."""
    far: list[str] = []
    for start in range(0, len(measured), _ROWS):
        rows = slice(start, start + _ROWS)
        away = np.abs(preprocessor.scaled(measured[rows]))
        most = (away > _FAR).sum(axis=1) * 2 > (~np.isnan(away)).sum(axis=1)
        far += [name for name, off in zip(ids[rows], most, strict=True) if off]
    return far
