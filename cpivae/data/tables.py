"""The pair: the tables of both platforms, reduced to the samples that both have measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.data.labels import SAMPLE_ID, require_usable
from cpivae.data.readers import read_table, read_text_table
from cpivae.errors import DataError, did_you_mean, listed
from cpivae.files import sha256
from cpivae.names import PLATFORMS


@dataclass(frozen=True)
class Source:
    """Where the table of a platform came from, and its size before the join."""

    path: Path
    sha256: str
    n_samples: int
    n_features: int


@dataclass(frozen=True)
class Pair:
    """Tables of both platforms for the same samples."""

    frames: dict[str, pd.DataFrame]
    """Platform -> N samples x D features, float64; the same ids in the order of platform a's file."""
    sources: dict[str, Source]
    """Platform -> file; empty for tables that never were in a file."""
    unmatched: dict[str, list[str]]
    """Platform -> ids that the other platform lacks, in the order of the file."""

    def join_report(self) -> list[str]:
        """Return the lines that tell a person what was joined and what was dropped."""
        return [*(self._side(p) for p in PLATFORMS), f"{len(self.frames['a'])} shared samples"]

    def _side(self, platform: str) -> str:
        dropped = self.unmatched[platform]
        n_samples = len(self.frames[platform]) + len(dropped)
        file = f" ({self.sources[platform].path.name})" if platform in self.sources else ""
        size = f"platform {platform}: {n_samples} samples x {self.frames[platform].shape[1]} features{file}"
        return f"{size}; {len(dropped)} without a partner dropped: {listed(dropped)}" if dropped else size


def read_pair(paths: Mapping[str, Path], *, transpose: bool = False) -> Pair:
    """Read the tables of platforms ``a`` and ``b`` and keep the samples that both have.

    Raises
    ------
    DataError
        A table cannot be read (see :func:`cpivae.data.readers.read_table`), or no sample id is in both.
    """
    frames = {p: read_table(paths[p], transpose=transpose) for p in PLATFORMS}
    return _join(frames, {p: Source(paths[p], sha256(paths[p]), *frames[p].shape) for p in PLATFORMS})


def pair_from_frames(frames: Mapping[str, pd.DataFrame]) -> Pair:
    """Pair tables that are already in memory, N samples x D features each, with the sample ids in the index.

    Raises
    ------
    DataError
        A platform is missing or unknown, a table breaks a rule that a file would have to keep, or no id is shared.
    """
    if set(frames) != set(PLATFORMS):
        raise DataError(f"tables for the platforms {listed(sorted(frames))} were given; exactly a and b are needed.")
    tables = {p: _like_read(frames[p], f"the table of platform {p}") for p in PLATFORMS}
    return _join(tables, {})


def read_groups(path: Path, column: str, ids: pd.Index) -> pd.Series:
    """Return the group of every sample, for splits that keep a person or a plate together.

    Parameters
    ----------
    path
        A delimited table whose first column is the sample id; its other columns are text.
    column
        The column that holds the group.
    ids
        The samples, in the order of the result.

    Raises
    ------
    DataError
        The table cannot be read, has no such column, or leaves a sample of ``ids`` without a group.
    """
    table = read_text_table(path)
    if column not in table.columns:
        raise DataError(
            f"{path} has no column '{column}'.{did_you_mean(column, table.columns)} Columns: {listed(table.columns)}."
        )
    absent = [i for i in ids if i not in table.index]
    if absent:
        raise DataError(f"{path} has no row for {len(absent)} of {len(ids)} samples: {listed(absent)}. Add them.")
    groups = table[column].loc[ids]
    blank = groups.index[groups.str.strip() == ""]
    if len(blank):
        raise DataError(f"{path}: '{column}' is blank for {len(blank)} of {len(ids)} samples: {listed(blank)}.")
    return groups


def _join(frames: dict[str, pd.DataFrame], sources: dict[str, Source]) -> Pair:
    a, b = (frames[p].index for p in PLATFORMS)
    shared = a[a.isin(b)]
    if shared.empty:
        raise DataError(_nothing_shared(frames))
    return Pair(
        frames={p: frames[p].loc[shared] for p in PLATFORMS},
        sources=sources,
        unmatched={"a": list(a[~a.isin(b)]), "b": list(b[~b.isin(a)])},
    )


def _nothing_shared(frames: dict[str, pd.DataFrame]) -> str:
    a, b = frames["a"], frames["b"]
    message = f"no sample id is in both tables: a has {_first(a.index)}; b has {_first(b.index)}."
    alike = {i.strip().casefold() for i in a.index} & {i.strip().casefold() for i in b.index}
    columns = set(a.columns) & set(b.columns)
    if alike:
        return (
            f"{message} {len(alike)} would match without regard to case and surrounding blanks; if they are the same "
            "samples, write them alike in both files."
        )
    if columns:
        return (
            f"{message} Column names such as '{min(columns)}' are in both; if those are the samples, read the tables "
            "with transpose."
        )
    return f"{message} Use the same ids in both files."


def _first(ids: pd.Index) -> str:
    return listed((f"'{i}'" for i in ids), 3)


def _like_read(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    try:
        table = frame.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} has a column that is not numeric: {error}.") from error
    table.index = pd.Index(list(map(str, frame.index)), dtype="str").rename(frame.index.name or SAMPLE_ID)
    table.columns = pd.Index(list(map(str, frame.columns)), dtype="str")
    require_usable(table, source)
    return table
