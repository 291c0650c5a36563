"""Predict one proteomics platform from another.  Importing this package imports nothing heavy."""

__version__ = "0.1.0"
