"""What a test needs of a machine, and not every machine has: a browser, SLURM, shellcheck."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

ALL_TESTS = "CPIVAE_ALL_TESTS"
"""Set where every test is to run: continuous integration must not be green because a program could not be installed."""


def lacking(what: str) -> NoReturn:
    """Skip the test, and say why; where all are to run, fail it."""
    if os.environ.get(ALL_TESTS):
        pytest.fail(f"{what}, and {ALL_TESTS} asks for all tests", pytrace=False)
    pytest.skip(what)
