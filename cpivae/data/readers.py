"""Read and write one wide table of measurements: samples in rows, features in columns, one number in a cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.config.schema import DataSettings
from cpivae.data.adat import measured_adat
from cpivae.data.content import Content, load_content
from cpivae.data.delimited import read_numbers, read_strings, write_delimited
from cpivae.data.formats import table_ending
from cpivae.data.h5ad import read_h5ad
from cpivae.data.labels import (
    ANNOTATION,
    FEATURES_IN_ROWS,
    SAMPLE_ID,
    SAMPLES_IN_ROWS,
    Layout,
    require_labels,
    require_usable,
)
from cpivae.data.measured import Measured, Origin
from cpivae.data.olink import is_long
from cpivae.data.olink_long import long_from_parquet, long_from_text
from cpivae.data.olink_wide import is_wide, read_wide
from cpivae.data.parquet import load_parquet, wide_parquet, write_parquet
from cpivae.data.text import DELIMITERS, Text, load_text
from cpivae.data.workbook import load_workbook
from cpivae.errors import DataError, did_you_mean
from cpivae.files import written_whole


def read_table(path: Path, *, transpose: bool = False) -> pd.DataFrame:
    """Read N samples x D features, in the order of the file; see :func:`read_measured`."""
    return read_measured(path, DataSettings(transpose=transpose)).values


def read_measured(path: Path, settings: DataSettings | None = None) -> Measured:
    """Read a table of one platform; what kind of file it is, its content tells.

    Wide text (comma, semicolon or tab), parquet or .xlsx; Olink NPX in long form or NPX Manager's wide one; SomaScan
    ADAT; AnnData.  Any of them may be compressed with gzip.

    Parameters
    ----------
    path
        The file.
    settings
        ``transpose``, ``strip_ids`` and ``drop_qc_warnings`` say how to read it; all else is left alone.

    Returns
    -------
    Measured
        float64 in the units of the file (log2 RFU for ADAT), NaN where a value is missing.  The index holds the
        sample ids as text, exactly as written; its name is the header above them, ``SampleID`` where that is blank
        or, in a transposed file, names the features.

    Raises
    ------
    DataError
        The file is missing, damaged or of no known kind, a label is blank or repeated, or a cell is neither a finite
        number nor missing.
    """
    settings = settings or DataSettings()
    with readable(path):
        layout = FEATURES_IN_ROWS if settings.transpose else SAMPLES_IN_ROWS
        measured = _measured(load_content(path), layout)
    if settings.strip_ids:
        measured = measured.stripped()
    require_usable(measured.values, path)
    return measured.without_flagged(path) if settings.drop_qc_warnings else measured


def _measured(content: Content, layout: Layout) -> Measured:
    if content.container == "adat":
        return _as_laid_out(content, measured_adat(content), layout)
    if content.container == "hdf5":
        return _as_laid_out(content, read_h5ad(content), layout)
    if content.container == "parquet":
        table = load_parquet(content.path, content.data)
        if is_long(table.column_names):
            return _as_laid_out(content, long_from_parquet(content.path, table), layout)
        return _plain(content, wide_parquet(content.path, table, layout), "wide parquet", layout)
    text = text_of(content)
    read = read_wide if is_wide(text) else long_from_text if is_long(next(text.rows())[1]) else None
    if read is not None:
        if content.container == "text":  # a cell of a workbook may have several lines, and swallows none
            text.require_unbroken()
        measured = _as_laid_out(content, read(text), layout)
    else:
        measured = _plain(content, read_numbers(text, layout), form_of_text(content, text), layout)
    return replace(measured, origin=measured.origin.noting(text.note)) if text.note else measured


def _as_laid_out(content: Content, measured: Measured, layout: Layout) -> Measured:
    """Refuse to turn a file whose format says what its rows are."""
    if layout is FEATURES_IN_ROWS:
        name = "an ADAT" if content.container == "adat" else measured.origin.form
        raise DataError(f"{content.path}: {name} always has its samples in rows. Read it without transpose.")
    return measured


def _plain(content: Content, frame: pd.DataFrame, form: str, layout: Layout) -> Measured:
    """Turn a plain table so that samples are rows; its labels are checked first, by the names of its own axes."""
    require_usable(frame, content.path, layout)
    values = frame.T.rename_axis(index=SAMPLE_ID, columns=None) if layout is FEATURES_IN_ROWS else frame
    return Measured(values, Origin(form))


def text_of(content: Content) -> Text:
    """Return the text of a delimited file or of the sheet of a workbook."""
    return load_workbook(content) if content.container == "workbook" else load_text(content)


def form_of_text(content: Content, text: Text) -> str:
    """Say in words how a plain table is written down."""
    return "wide .xlsx" if content.container == "workbook" else f"wide {DELIMITERS[text.delimiter]}-separated text"


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a table whose cells stay text, such as the annotation of samples; the index is the first column.

    Raises
    ------
    DataError
        As :func:`read_table`, except that any cell is allowed.
    """
    with readable(path):
        content = load_content(path)
        if content.container not in ("text", "workbook"):
            raise DataError(f"{path} is not text. Export the annotation as CSV.")
        frame = read_strings(text_of(content))
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
def readable(path: Path) -> Iterator[None]:
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
