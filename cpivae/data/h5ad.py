"""AnnData's .h5ad: the matrix X with samples (obs) in rows, read as HDF5, so that nothing heavier is needed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from cpivae.data import hdf5
from cpivae.data.content import Content
from cpivae.data.labels import SAMPLE_ID
from cpivae.data.measured import Measured, Origin, plates_of
from cpivae.data.olink import is_flagged
from cpivae.errors import DataError

_SECONDS: Final = 600
"""No file that is whole takes as long."""


def read_h5ad(content: Content) -> Measured:
    """Read X, the names of obs and var, and from obs the plate and the QC warning, where there are columns so named.

    Raises
    ------
    DataError
        The file is damaged, or HDF5 without what AnnData writes.
    """
    found = _arrays(content)
    index = pd.Index(found["obs"], dtype="str", name=SAMPLE_ID)
    values = pd.DataFrame(found["X"], index=index, columns=pd.Index(found["var"], dtype="str"))
    flagged = None
    if "quality" in found:
        rows = is_flagged(pd.Series(found["quality"], dtype="str")).to_numpy()
        flagged = pd.DataFrame(np.repeat(rows[:, None], values.shape[1], axis=1), index, values.columns)
    return Measured(
        values,
        Origin("AnnData"),
        flagged=flagged,
        plates=plates_of(values, pd.Series(found["plate"], dtype="str")) if "plate" in found else (),
        proteins=pd.Series(found["protein"], values.columns, dtype="str") if "protein" in found else None,
    )


def _arrays(content: Content) -> dict[str, npt.NDArray[Any]]:
    """Have the file read by a process that may crash over it."""
    command = [sys.executable, "-m", hdf5.__name__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            command, input=content.data, capture_output=True, env=environment, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DataError(f"{content.path} is damaged: reading it as AnnData does not come to an end.") from None
    if done.returncode == hdf5.REFUSED:
        raise DataError(f"{content.path} {done.stdout.decode().strip()}")
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").splitlines() or ["no message"])[-1]
        raise DataError(
            f"{content.path} is damaged: reading it as AnnData ended with status {done.returncode} ({last[:200]})."
        )
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as arrays:
        return dict(arrays)
