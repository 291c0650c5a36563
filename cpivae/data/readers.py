"""Read and write one wide table of measurements: samples in rows, features in columns, one number in a cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.data.adat import read_adat
from cpivae.data.delimited import read_numbers, read_strings, write_delimited
from cpivae.data.formats import DELIMITED, READABLE, require_kind, table_ending
from cpivae.data.labels import ANNOTATION, FEATURES_IN_ROWS, SAMPLE_ID, SAMPLES_IN_ROWS, require_labels, require_usable
from cpivae.data.parquet import read_parquet, write_parquet
from cpivae.data.text import load_text
from cpivae.errors import DataError, did_you_mean
from cpivae.files import written_whole

_HEAD_BYTES = 16


def read_table(path: Path, *, transpose: bool = False) -> pd.DataFrame:
    """Read N samples x D features, in the order of the file.

    Parameters
    ----------
    path
        A .csv, .tsv or .txt file (each also .gz), a .parquet or an .adat file.
    transpose
        The file has features in rows and samples in columns.

    Returns
    -------
    pd.DataFrame
        float64 in the units of the file (log2 RFU for .adat), NaN where a value is missing.  The index holds the
        sample ids as text, exactly as written; its name is the header above them, ``SampleID`` where that is blank
        or, in a transposed file, names the features.

    Raises
    ------
    DataError
        The file is missing, damaged or not what its ending says, a label is blank or repeated, or a cell is neither a
        finite number nor missing.
    """
    layout = FEATURES_IN_ROWS if transpose else SAMPLES_IN_ROWS
    with _readable(path):
        ending = table_ending(path, READABLE)
        with path.open("rb") as stream:
            require_kind(path, stream.read(_HEAD_BYTES), ending)
        if ending == ".adat":
            if transpose:
                raise DataError(f"{path}: an ADAT always has its samples in rows. Read it without transpose.")
            frame = read_adat(path).values
        elif ending == ".parquet":
            frame = read_parquet(path, layout)
        else:
            frame = read_numbers(load_text(path, ending), layout)
    require_usable(frame, path, layout)
    return frame.T.rename_axis(index=SAMPLE_ID, columns=None) if transpose else frame


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a delimited table whose cells stay text, such as the annotation of samples; the index is the first column.

    Raises
    ------
    DataError
        As :func:`read_table`, except that any cell is allowed.
    """
    with _readable(path):
        frame = read_strings(load_text(path, table_ending(path, DELIMITED)))
    require_labels(frame, path, ANNOTATION)
    return frame


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write N samples x D features whole or not at all, in the format that the ending of ``path`` names.

    The first column holds the index, which is text, under its name (``SampleID`` if it has none); a missing value
    becomes an empty cell; every number reads back as the same float64.  A .txt file is separated by tabs.

    Raises
    ------
    DataError
        The ending is no writable format, the folder is missing, or the table is one that :func:`read_table` refuses.
    """
    require_output(path)
    ending = table_ending(path)
    require_usable(frame.astype(np.float64), f"the table for {path}")
    try:
        with written_whole(path) as beside:
            if ending == ".parquet":
                write_parquet(frame, beside)
            else:
                write_delimited(frame, beside, ending)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def require_output(path: Path) -> None:
    """Check that :func:`write_table` can write ``path``, before hours of work.

    Raises
    ------
    DataError
        The ending is no writable format, the folder does not exist, or a folder has that name.
    """
    table_ending(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; a table is to be written there. Choose another name.")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written: the folder {path.parent} does not exist. Create it first.")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Check that the file is there, and turn what the operating system refuses into a sentence."""
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; a table file is expected.")
        if not path.exists():
            raise DataError(f"{path} does not exist.{_near_miss(path)}")
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _near_miss(path: Path) -> str:
    if not path.parent.is_dir():
        return f" Neither does its folder {path.parent}."
    return did_you_mean(path.name, (p.name for p in path.parent.iterdir()))
