"""Parquet, as pandas, polars, R's arrow and this package write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from cpivae.data.cells import as_number
from cpivae.data.labels import SAMPLE_ID, SAMPLES_IN_ROWS, Layout, quoted, reason, unusable_cell
from cpivae.errors import DataError, listed

_UNNAMED_INDEX: Final = "__index_level_"


def load_parquet(path: Path, content: bytes) -> Any:
    """Return a parquet file as an Arrow table.

    Raises
    ------
    DataError
        The file is cut off or damaged, or holds no columns.
    """
    try:
        # Not read_table: that one goes through datasets, which refuse repeated column names without naming them.
        with pyarrow.parquet.ParquetFile(pa.BufferReader(content)) as file:
            table = file.read()
        table.validate(full=True)
        _stored_index(table)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # any, from damage
        raise DataError(
            f"{path} is cut off or damaged and cannot be read as parquet: {reason(error)} Copy it again."
        ) from error
    if table.num_columns == 0:
        raise DataError(f"{path} holds no columns. The first one must be the sample id.")
    return table


def wide_parquet(path: Path, table: Any, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N rows x D columns as float64; index and columns are the labels as stored, not yet checked.

    The labels of the rows are the index that pandas stored with the file, when it has a name or is text, and the
    first column otherwise.

    Raises
    ------
    DataError
        An index of several levels, or a column that is not numeric.
    """
    names: list[str] = table.column_names
    index_columns = _stored_index(table)
    if len(index_columns) > 1:
        levels = listed(names[i] for i in index_columns)
        raise DataError(f"{path} has an index of several levels: {levels}. Keep one, the {layout.row_label}.")
    labels = index_columns[0] if index_columns else 0
    ignored = {i for i, name in enumerate(names) if name.startswith(_UNNAMED_INDEX)}
    columns = [i for i in range(table.num_columns) if i != labels and i not in ignored]
    index = _row_labels(path, table.column(labels), names[labels], layout)
    values = np.empty((table.num_rows, len(columns)), order="F")
    for position, i in enumerate(columns):
        values[:, position] = numbers(path, table.column(i), names[i], index.tolist(), layout)
    return pd.DataFrame(values, index=index, columns=pd.Index([names[i] for i in columns], dtype="str"))


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the labels as the first column, then the values as float64, missing ones as nulls."""
    values = frame.to_numpy(np.float64)
    columns = [pa.array([str(i) for i in frame.index], pa.string())]
    columns += [pa.array(values[:, i], from_pandas=True) for i in range(values.shape[1])]
    pyarrow.parquet.write_table(pa.table(columns, names=[str(frame.index.name or SAMPLE_ID), *frame]), path)


def _stored_index(table: Any) -> list[int]:
    """Return the positions of the stored index columns that name the rows; a range is described, not stored."""
    pandas_metadata = table.schema.pandas_metadata or {}
    names = [name for name in pandas_metadata.get("index_columns", []) if isinstance(name, str)]
    positions = [table.schema.get_field_index(name) for name in names]
    return [
        i
        for i, name in zip(positions, names, strict=True)
        if i >= 0 and (not name.startswith(_UNNAMED_INDEX) or _is_text(_plain(table.column(i)).type))
    ]


def _row_labels(path: Path, column: Any, name: str, layout: Layout) -> pd.Index:
    labels = _as_strings(column)
    if labels is None:
        raise DataError(
            f"{path}: the {layout.row_label}s, column {quoted(name)}, are of type {column.type}. They must be text or "
            "whole numbers, in the index or in the first column."
        )
    unnamed = not name.strip() or name.startswith(_UNNAMED_INDEX)
    return pd.Index(labels, dtype="str", name=SAMPLE_ID if unnamed else name)


def strings(path: Path, column: Any, name: str) -> pd.Series:
    """Return a column of N texts or whole numbers as text, empty where a cell is null.

    Raises
    ------
    DataError
        The column is of another type.
    """
    cells = _as_strings(column)
    if cells is None:
        raise DataError(f"{path}: column {quoted(name)} is of type {column.type}; text is expected there.")
    return cells


def _as_strings(column: Any) -> pd.Series | None:
    column = _plain(column)
    if not (_is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        return None
    cells: pd.Series = pyarrow.compute.fill_null(column.cast(pa.string()), "").to_pandas()
    return cells.astype("str")


def numbers(path: Path, column: Any, name: str, index: Sequence[str], layout: Layout = SAMPLES_IN_ROWS) -> Any:
    """Return a column of N numbers as float64; ``index`` (N,) names the rows.

    Raises
    ------
    DataError
        A cell is not numeric.
    """
    column = _plain(column)
    kind = column.type
    if _is_text(kind):
        return _parsed(path, column.to_pylist(), name, index, layout)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or _is_empty(kind)):
        raise DataError(
            f"{path}: column {quoted(name)} is of type {kind}, not numeric. Remove it or convert it to numbers."
        )
    return pyarrow.compute.cast(column, pa.float64(), safe=False).to_numpy()


def _parsed(path: Path, cells: list[str | None], name: str, index: Sequence[str], layout: Layout) -> Any:
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        value = as_number(cell or "")
        if value is None:
            place = f"row {row + 1} ({layout.row} {quoted(index[row])})"
            raise unusable_cell(path, place, name, str(cell))
        values[row] = value
    return values


def _plain(column: Any) -> Any:
    """Undo the dictionary encoding of pandas' categoricals."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_empty(kind: Any) -> bool:
    return bool(pa.types.is_null(kind))
