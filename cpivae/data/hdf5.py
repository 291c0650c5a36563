"""Reads AnnData from standard input and writes its arrays to standard output; run as a process of its own.

The HDF5 library is C, and some damaged files end the process that opens them.  This one may end.
"""

from __future__ import annotations

import io
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cpivae.data.cells import canonical
from cpivae.errors import DataError, listed

REFUSED: Final = 3
"""Exit status when standard output holds a sentence instead of arrays."""

_DENSEST: Final = 1100
"""Cells that a byte of the file may hold at most: what the best compression gives, and damaged sizes surpass."""

#: What is read of obs and var, where a column is so named -> its names as ``canonical`` spells them.
_OF_SAMPLES: Final = {"plate": ("plateid", "plate"), "quality": ("qcwarning", "sampleqc", "rowcheck")}
_OF_FEATURES: Final = {"protein": ("uniprot", "uniprotid")}


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return X (N, D), the names of obs (N,) and var (D,), and of what is there plate, quality (N,) and protein (D,).

    Raises
    ------
    DataError
        The file is damaged, or HDF5 without what AnnData writes; the message follows the name of the file.
    """
    import h5py  # a parent that only asks for REFUSED does not need it

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _arrays(file, _DENSEST * len(data))
    except DataError:
        raise
    except Exception as error:  # h5py turns damage into errors of any kind
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"is cut off or damaged and cannot be read as AnnData: {words[:200]}.") from error


def _arrays(file: Any, limit: int) -> dict[str, npt.NDArray[Any]]:
    missing = [name for name in ("X", "obs", "var") if name not in file]
    if missing:
        raise DataError(f"is an HDF5 file without {listed(missing)}: not AnnData. Export the matrix as CSV or parquet.")
    X, obs, var = (_inside(file, name) for name in ("X", "obs", "var"))
    if not (hasattr(obs, "keys") and hasattr(var, "keys")):
        raise DataError("was written by anndata before 0.7. Read it with a newer anndata and write it again.")
    found: dict[str, npt.NDArray[Any]] = {
        name: _column(group, _label(group), limit) for name, group in (("obs", obs), ("var", var))
    }
    shape = (len(found["obs"]), len(found["var"]))
    if shape[0] * shape[1] > limit:
        raise DataError(f"is damaged: it names {shape[0]} samples and {shape[1]} features, which it cannot hold.")
    found["X"] = _matrix(X, shape, limit)
    for group, meanings in ((obs, _OF_SAMPLES), (var, _OF_FEATURES)):
        columns = {canonical(name): name for name in group}
        for meaning, spellings in meanings.items():
            name = next((columns[spelling] for spelling in spellings if spelling in columns), None)
            if name is not None:
                found[meaning] = _column(group, name, limit)
    return found


def _label(group: Any) -> str:
    label = group.attrs.get("_index", "_index")
    return label.decode() if isinstance(label, bytes) else str(label)


def _column(group: Any, name: str, limit: int) -> npt.NDArray[np.str_]:
    """Return a column of an AnnData data frame as text; a missing category becomes empty."""
    if name not in group:
        raise DataError(f"lacks the column '{name}' of {group.name}: it is damaged, or no AnnData.")
    column = _inside(group, name)
    if not hasattr(column, "keys"):
        cells = np.ravel(_read(column, limit)).tolist()
        return np.array([c.decode() if isinstance(c, bytes) else str(c) for c in cells], dtype=np.str_)
    if "categories" not in column:
        return _column(column, "values", limit)
    categories = np.append(_column(column, "categories", limit), "")
    return categories[_read(_inside(column, "codes"), limit)]


def _matrix(X: Any, shape: tuple[int, int], limit: int) -> npt.NDArray[np.float64]:
    if not hasattr(X, "keys"):
        dense = np.asarray(_read(X, limit), dtype=np.float64)
        if dense.shape != shape:
            raise DataError(f"is damaged: X is {dense.shape}, and its names are for {shape}.")
        return dense
    from scipy import sparse

    kind = X.attrs.get("encoding-type")
    made = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}.get(kind)
    if made is None:
        raise DataError(f"has an X stored as {kind}. Dense, csr_matrix and csc_matrix are read.")
    matrix = made(tuple(np.asarray(_read(_inside(X, n), limit)) for n in ("data", "indices", "indptr")), shape=shape)
    matrix.check_format(full_check=True)
    return np.asarray(matrix.toarray(), dtype=np.float64)


def _inside(group: Any, name: str) -> Any:
    """Return a member of a group, unless it is a link to another file."""
    import h5py

    if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        raise DataError(f"has {name} in another file. Write one file that holds everything.")
    return group[name]


def _read(dataset: Any, limit: int) -> Any:
    if dataset.size is None or dataset.size > limit or dataset.external or dataset.is_virtual:
        raise DataError(f"is damaged, or has {dataset.name} in another file. Write one file that holds everything.")
    return dataset[()]


if __name__ == "__main__":
    try:
        arrays = read_arrays(sys.stdin.buffer.read())
    except DataError as refusal:
        print(refusal)
        sys.exit(REFUSED)
    np.savez(sys.stdout.buffer, **arrays)  # type: ignore[arg-type]  # by name, which may not be allow_pickle
