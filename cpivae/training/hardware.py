"""What this machine has, and settings that say exactly what a run will use of it."""

from __future__ import annotations

import os

import torch

from cpivae.config.load import with_values
from cpivae.config.schema import Config
from cpivae.errors import ResourceError


def cpus() -> int:
    """Return the number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """Return the number of CUDA devices."""
    return torch.cuda.device_count()


def resolve_hardware(config: Config) -> Config:
    """Replace ``auto`` and null by what this machine has, so that the settings repeat the run anywhere.

    Raises
    ------
    ResourceError
        A GPU, or more of them, is asked for than this machine has.
    """
    asked = config.hardware
    accelerator = asked.accelerator
    if accelerator == "auto":
        accelerator = "gpu" if gpus() else "cpu"
    if accelerator == "gpu" and asked.devices > gpus():
        raise ResourceError(
            f"hardware.devices asks for {asked.devices} GPU(s), but this machine has {gpus()}. "
            "Set hardware.devices to what there is, or hardware.accelerator to cpu."
        )
    values = {"hardware.accelerator": accelerator, "hardware.threads": asked.threads or cpus()}
    return with_values(config, values)
