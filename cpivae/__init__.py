"""Predict one proteomics platform from another.  Importing this package imports nothing heavy.

For notebooks: :func:`read_table`, :func:`train`, :func:`tune`, :func:`load_bundle` and, in the manner of scikit-learn,
:class:`CrossPlatformImputer`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CrossPlatformImputer", "load_bundle", "read_table", "train", "tune"]

if TYPE_CHECKING:
    from cpivae.api import load_bundle, read_table, train, tune
    from cpivae.estimator import CrossPlatformImputer


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cpivae.estimator" if name == "CrossPlatformImputer" else "cpivae.api"), name)
