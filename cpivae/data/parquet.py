"""Parquet, as pandas, polars, R's arrow and this package write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from cpivae.data.labels import SAMPLE_ID, SAMPLES_IN_ROWS, Layout, quoted, unusable_cell
from cpivae.errors import DataError, listed

_UNNAMED_INDEX: Final = "__index_level_"


def read_parquet(path: Path, layout: Layout = SAMPLES_IN_ROWS) -> pd.DataFrame:
    """Return N rows x D columns as float64; index and columns are the labels as stored, not yet checked.

    The labels of the rows are the index that pandas stored with the file, when it has a name or is text, and the
    first column otherwise.

    Raises
    ------
    DataError
        The file is cut off or damaged, has an index of several levels, or a column that is not numeric.
    """
    try:
        # Not read_table: that one goes through datasets, which refuse repeated column names without naming them.
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
        names: list[str] = table.column_names
        index_columns = _stored_index(table)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # pyarrow turns damage into any of these; the first line is enough to tell kinds of damage apart.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} is cut off or damaged and cannot be read as parquet: {reason} Copy it again."
        ) from error
    if len(index_columns) > 1:
        levels = listed(names[i] for i in index_columns)
        raise DataError(f"{path} has an index of several levels: {levels}. Keep one, the {layout.row_label}.")
    if table.num_columns == 0:
        raise DataError(f"{path} holds no columns. The first one must be the {layout.row_label}.")
    labels = index_columns[0] if index_columns else 0
    ignored = {i for i, name in enumerate(names) if name.startswith(_UNNAMED_INDEX)}
    columns = [i for i in range(table.num_columns) if i != labels and i not in ignored]
    index = _row_labels(path, table.column(labels), names[labels], layout)
    values = np.empty((table.num_rows, len(columns)), order="F")
    for position, i in enumerate(columns):
        values[:, position] = _numbers(path, table.column(i), names[i], index, layout)
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
    column = _plain(column)
    if not (_is_text(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        raise DataError(
            f"{path}: the {layout.row_label}s, column {quoted(name)}, are of type {column.type}. They must be text or "
            "whole numbers, in the index or in the first column."
        )
    labels = ["" if label is None else str(label) for label in column.to_pylist()]
    unnamed = not name.strip() or name.startswith(_UNNAMED_INDEX)
    return pd.Index(labels, dtype="str", name=SAMPLE_ID if unnamed else name)


def _numbers(path: Path, column: Any, name: str, index: pd.Index, layout: Layout) -> Any:
    column = _plain(column)
    kind = column.type
    if _is_text(kind):
        row = next((i for i, cell in enumerate(column.to_pylist()) if cell is not None), None)
        if row is not None:
            place = f"row {row + 1} ({layout.row} {quoted(index[row])})"
            raise unusable_cell(path, place, name, column[row].as_py())
    elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or _is_empty(kind)):
        raise DataError(
            f"{path}: column {quoted(name)} is of type {kind}, not numeric. Remove it or convert it to numbers."
        )
    return pyarrow.compute.cast(column, pa.float64(), safe=False).to_numpy()


def _plain(column: Any) -> Any:
    """Undo the dictionary encoding of pandas' categoricals."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_empty(kind: Any) -> bool:
    return bool(pa.types.is_null(kind))
