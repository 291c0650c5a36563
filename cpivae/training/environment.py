"""What a run depended on beside its settings: versions, machine, data."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import cpivae

_LIBRARIES = ("torch", "pytorch-lightning", "ray", "optuna")
_NUMERICS = ("numpy", "pandas", "scikit-learn", "torchmetrics", "pydantic", "skops")


@cache
def environment() -> dict[str, Any]:
    """Describe the program, its libraries and the machine, as plain data."""
    return {
        "cpivae": cpivae.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _LIBRARIES + _NUMERICS},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout the program runs from; None for an installed wheel."""
    checkout = Path(cpivae.__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return None
    return answer.stdout.strip() or None
