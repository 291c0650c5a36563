"""The pair: the tables of both platforms, reduced to the samples that both have measured."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.config.schema import DataSettings
from cpivae.data.labels import SAMPLE_ID, require_usable
from cpivae.data.measured import Origin
from cpivae.data.readers import read_measured, read_text_table
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
    origin: Origin


@dataclass(frozen=True)
class Pair:
    """Tables of both platforms for the same samples."""

    frames: dict[str, pd.DataFrame]
    """Platform -> N samples x D features, float64; the same ids in the order of platform a's file."""
    sources: dict[str, Source]
    """Platform -> file; empty for tables that never were in a file."""
    unmatched: dict[str, list[str]]
    """Platform -> ids that the other platform lacks, in the order of the file."""
    detected: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Platform -> N samples x D features, which values are not below the limit of detection; where files say so."""

    def join_report(self) -> list[str]:
        """Return the lines that tell a person what was joined and what was dropped."""
        lines = [line for p in PLATFORMS for line in (self._side(p), *self._of_file(p))]
        alike = [f"warning: {line}" for line in alike_ids(self.unmatched["a"], self.unmatched["b"])]
        return [*lines, *alike, f"{len(self.frames['a'])} shared samples"]

    def _side(self, platform: str) -> str:
        dropped = self.unmatched[platform]
        n_samples = len(self.frames[platform]) + len(dropped)
        file = f" ({self.sources[platform].path.name})" if platform in self.sources else ""
        size = f"platform {platform}: {n_samples} samples x {self.frames[platform].shape[1]} features{file}"
        return f"{size}; {len(dropped)} without a partner dropped: {listed(dropped)}" if dropped else size

    def _of_file(self, platform: str) -> list[str]:
        source = self.sources.get(platform)
        return [] if source is None else [f"  {line}" for line in source.origin.told()]


def read_pair(
    paths: Mapping[str, Path], settings: DataSettings | None = None, *, staged_in: Path | None = None
) -> Pair:
    """Read the tables of platforms ``a`` and ``b`` and keep the samples that both have.

    ``settings`` say how each is read (see :func:`cpivae.data.readers.read_measured`).  With ``staged_in`` they are read
    from copies in that folder, which are removed again: a file system that many machines share may be slow to read
    from, and each file is read twice.

    Raises
    ------
    DataError
        A table cannot be read, or no sample id is in both.
    """
    with _staged(paths, staged_in) as near:
        measured = {p: read_measured(near[p], settings) for p in PLATFORMS}
        sources = {p: Source(paths[p], sha256(near[p]), *m.values.shape, m.origin) for p, m in measured.items()}
    detected = {p: m.detected for p, m in measured.items() if m.below_lod is not None}
    return _join({p: m.values for p, m in measured.items()}, sources, detected)


@contextmanager
def _staged(paths: Mapping[str, Path], folder: Path | None) -> Iterator[Mapping[str, Path]]:
    if folder is None:
        yield paths
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix="cpivae-tables-") as temporary:
        copies = {p: Path(temporary) / p / paths[p].name for p in PLATFORMS}
        for platform, copy in copies.items():
            copy.parent.mkdir()
            shutil.copyfile(paths[platform], copy)
        yield copies


def pair_from_frames(frames: Mapping[str, pd.DataFrame]) -> Pair:
    """Pair tables that are already in memory, N samples x D features each, with the sample ids in the index.

    Raises
    ------
    DataError
        A platform is missing or unknown, a table breaks a rule that a file would have to keep, or no id is shared.
    """
    if set(frames) != set(PLATFORMS):
        raise DataError(f"tables for the platforms {listed(sorted(frames))} were given; exactly a and b are needed.")
    tables = {p: require_frame(frames[p], f"the table of platform {p}") for p in PLATFORMS}
    return _join(tables, {}, {})


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


def _join(frames: dict[str, pd.DataFrame], sources: dict[str, Source], detected: Mapping[str, pd.DataFrame]) -> Pair:
    a, b = (frames[p].index for p in PLATFORMS)
    shared = a[a.isin(b)]
    if shared.empty:
        raise DataError(_nothing_shared(frames))
    return Pair(
        frames={p: frames[p].loc[shared] for p in PLATFORMS},
        sources=sources,
        unmatched={"a": list(a[~a.isin(b)]), "b": list(b[~b.isin(a)])},
        detected={p: cells.loc[shared] for p, cells in detected.items()},
    )


def alike_ids(of_a: Iterable[str], of_b: Iterable[str]) -> list[str]:
    """Suggest, in one line or none, which ids of two tables may mean the same; nobody but the user can know.

    >>> alike_ids(["S1 ", "S2"], ["s1", "S3"])
    ["1 ids differ only by case or blanks and were not joined: 'S1 ' (a) and 's1' (b). If they are the same samples, \
write them alike; data.strip_ids removes blanks around them."]
    """
    pairs = alike_names(of_a, of_b)
    if not pairs:
        return []
    named = listed((f"'{a}' (a) and '{b}' (b)" for a, b in pairs), 3)
    return [
        f"{len(pairs)} ids differ only by case or blanks and were not joined: {named}. If they are the same samples, "
        "write them alike; data.strip_ids removes blanks around them."
    ]


def alike_names(names: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names that are in ``others`` but for case and blanks, each with its like.

    >>> alike_names(["IL6 ", "TNF"], ["il6", "CRP"])
    [('IL6 ', 'il6')]
    """
    spelt = {without_case_and_blanks(other): other for other in others}
    return [(name, spelt[key]) for name in names if (key := without_case_and_blanks(name)) in spelt]


def without_case_and_blanks(name: str) -> str:
    """Return what is left of a name that only a person may take for another."""
    return "".join(name.split()).casefold()


def _nothing_shared(frames: dict[str, pd.DataFrame]) -> str:
    a, b = frames["a"], frames["b"]
    message = f"no sample id is in both tables: a has {_first(a.index)}; b has {_first(b.index)}."
    alike = {without_case_and_blanks(i) for i in a.index} & {without_case_and_blanks(i) for i in b.index}
    columns = set(a.columns) & set(b.columns)
    if alike:
        return (
            f"{message} {len(alike)} would match without regard to case and surrounding blanks; if they are the same "
            "samples, write them alike in both files; data.strip_ids=true removes blanks around them."
        )
    if columns:
        return (
            f"{message} Column names such as '{min(columns)}' are in both; if those are the samples, read the tables "
            "with transpose."
        )
    return f"{message} Use the same ids in both files."


def _first(ids: pd.Index) -> str:
    return listed((f"'{i}'" for i in ids), 3)


def require_frame(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a table that is in memory as it would be if it had been read; ``source`` names it in errors.

    Raises
    ------
    DataError
        It breaks a rule that a file would have to keep.
    """
    try:
        table = frame.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} has a column that is not numeric: {error}.") from error
    table.index = pd.Index(list(map(str, frame.index)), dtype="str").rename(frame.index.name or SAMPLE_ID)
    table.columns = pd.Index(list(map(str, frame.columns)), dtype="str")
    require_usable(table, source)
    return table
