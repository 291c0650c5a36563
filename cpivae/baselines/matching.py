"""Which features of two platforms are the same protein: by name, by UniProt accession, or by a list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from cpivae.config.schema import DataSettings
from cpivae.data.readers import read_measured, read_text_table
from cpivae.errors import DataError, did_you_mean, listed
from cpivae.names import PLATFORMS

Matches = list[tuple[str, str]]
"""(feature of a, feature of b); a feature may stand in several."""

Keys = Mapping[str, Iterable[str]]
"""Feature -> what else it is called, such as its UniProt accession."""

COLUMNS: Final = tuple(f"feature_{p}" for p in PLATFORMS)

#: https://www.uniprot.org/help/accession_numbers
_ACCESSION = re.compile(
    r"(?<![A-Za-z0-9])(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(?![A-Za-z0-9])"
)


def matching_features(features: Mapping[str, Iterable[str]], more: Mapping[str, Keys] | None = None) -> Matches:
    """Match features, by platform, that share a name, the part of it before ``|``, or a UniProt accession in it.

    ``more`` has further names of features, by platform.  Letter case does not count.

    >>> matching_features({"a": ["IL8|OID00471", "TNF_P01375"], "b": ["10000-28|P01375", "il8"]})
    [('IL8|OID00471', 'il8'), ('TNF_P01375', '10000-28|P01375')]
    """
    by_key: dict[str, dict[str, None]] = defaultdict(dict)
    for name in features["b"]:
        for key in _keys(name, (more or {}).get("b", {})):
            by_key[key][name] = None
    found: dict[tuple[str, str], None] = {}
    for name in features["a"]:
        for key in _keys(name, (more or {}).get("a", {})):
            found |= dict.fromkeys((name, partner) for partner in by_key.get(key, ()))
    return list(found)


def _keys(name: str, more: Keys) -> Iterator[str]:
    for text in (name, *more.get(name, ())):
        yield text.casefold()
        yield text.partition("|")[0].strip().casefold()
        yield from (accession.casefold() for accession in _ACCESSION.findall(text))


def names_in_file(path: Path, settings: DataSettings | None = None) -> dict[str, list[str]]:
    """Return what a table says of its features beside their names: UniProt accessions, and an ADAT's gene symbols.

    A SOMAmer for a complex has the symbol of each of its parts.

    ``settings``: how the table is read, as for :func:`cpivae.data.readers.read_measured`.
    """
    measured = read_measured(path, settings)
    more: dict[str, list[str]] = defaultdict(list)
    if measured.proteins is not None:
        for name, text in measured.proteins.items():
            more[str(name)] += [text] if text.strip() else []
    if measured.genes is not None:
        for name, text in measured.genes.items():
            more[str(name)] += text.split()
    return {name: texts for name, texts in more.items() if texts}


def read_feature_map(path: Path, features: Mapping[str, Iterable[str]]) -> Matches:
    """Read matches from a delimited table with the columns ``feature_a`` and ``feature_b``.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or names no feature of the tables.
    """
    table = read_text_table(path)
    table = table.reset_index() if table.index.name in COLUMNS else table
    for column in COLUMNS:
        if column not in table:
            raise DataError(
                f"{path} has no column '{column}'.{did_you_mean(column, table.columns)} A list of matching features "
                f"has the columns {listed(COLUMNS)}."
            )
    known = pd.DataFrame({c: table[c].isin(set(features[p])) for p, c in zip(PLATFORMS, COLUMNS, strict=True)})
    both = table[known.all(axis="columns")]
    if both.empty:
        counts = ", ".join(f"{int(known[c].sum())} of {c}" for c in COLUMNS)
        raise DataError(
            f"{path} has {len(table)} rows, and none names a feature of both tables ({counts} are known). Names are "
            f"compared as written, such as {_one(table)}; the tables have {_one_of(features)}."
        )
    return list(dict.fromkeys(zip(both[COLUMNS[0]], both[COLUMNS[1]], strict=True)))


def _one(table: pd.DataFrame) -> str:
    return " and ".join(f"'{table[c].iloc[0]}'" for c in COLUMNS) if len(table) else "none"


def _one_of(features: Mapping[str, Iterable[str]]) -> str:
    return " and ".join(f"'{next(iter(features[p]))}'" for p in PLATFORMS)
