"""What a job asks of SLURM, from a file and from the options of ``cpivae submit slurm``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict, ValidationError

from cpivae.config.base import Section
from cpivae.config.load import explain
from cpivae.config.yaml import read_yaml_mapping
from cpivae.errors import ConfigError


def fits_into_a_line(value: str) -> bool:
    """Say whether a text has no line break or other control character; a batch script cannot hold one that has."""
    return re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", value) is None


def _one_line(value: str) -> str:
    if not fits_into_a_line(value):
        raise ValueError("must be one line of text")
    return value


def _time(value: str) -> str:
    if not re.fullmatch(r"\d+(:\d{1,2}){0,2}|\d+-\d{1,2}(:\d{1,2}){0,2}|(?i:unlimited|infinite)", value):
        raise ValueError(f"is no time that SLURM knows, got '{value}'; write 12:00:00 or 2-12:00:00 (days-hours)")
    return value


def _memory(value: str) -> str:
    if not re.fullmatch(r"\d+[KMGT]?", value):
        raise ValueError(f"is no size that SLURM knows, got '{value}'; write 64G")
    return value


def _option(value: str) -> str:
    if not value.startswith("--"):
        raise ValueError(f"must be an option of sbatch in its long form, such as --mail-type=END, got '{value}'")
    name = value[2:].partition("=")[0]
    for ours, instead in _OURS.items():
        if ours.startswith(name):  # sbatch takes the beginning of a name for it
            raise ValueError(f"--{ours} is set by the program; {instead}")
    return value


_OURS = {
    "requeue": "see max_requeues",
    "no-requeue": "set max_requeues to 0",
    "signal": "see warn_minutes",
    "output": "the job's log is in the sweep's folder",
    "error": "the job's log is in the sweep's folder",
    "open-mode": "the job's log is in the sweep's folder",
    "ntasks": "a node has one task",
    "ntasks-per-node": "a node has one task",
    "cpus-per-task": "see cpus_per_node",
    "gres": "see gpus_per_node and gpu_type",
    "mem": "see mem_per_node",
    "time": "see time",
    "partition": "see partition",
    "account": "see account",
    "qos": "see qos",
    "constraint": "see constraint",
    "array": "one job runs the whole sweep",
    "nodes": "see nodes",
    "no-kill": "a sweep goes on without a node that is lost",
    "export": "what runs on the nodes needs the job's environment",
    "clusters": "jobs are handed over to this machine's own cluster",
    "wait": "cpivae submit logs -f waits for a job",
    "job-name": "see the sweep's --study_name",
}

Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[Line, Field(min_length=1)]
Lines = Annotated[tuple[Line, ...], Strict(False)]


class SlurmSettings(Section):
    """What a job asks of SLURM."""

    nodes: int = Field(1, ge=1, le=10_000)
    """Machines."""
    gpus_per_node: int = Field(0, ge=0, le=64)
    """GPUs of each."""
    gpu_type: Word | None = None
    """Kind of GPU, as the cluster names it (such as a100); null for any."""
    cpus_per_node: int = Field(4, ge=1, le=4096)
    """CPUs of each."""
    mem_per_node: Annotated[str, AfterValidator(_memory)] | None = None
    """Memory of each, such as 64G; null for what the cluster gives a job by default."""
    time: Annotated[str, AfterValidator(_time)] | None = None
    """Time limit of a job, such as 12:00:00; null for the partition's. A sweep that needs longer is requeued."""
    partition: Word | None = None
    """Partition (queue); null for the cluster's default."""
    account: Word | None = None
    """Account that pays."""
    qos: Word | None = None
    """Quality of service."""
    constraint: Word | None = None
    """Features that nodes must have."""
    modules: Annotated[tuple[Word, ...], Strict(False)] = ()
    """Environment modules to load first, such as [cuda/12.4]."""
    env: Lines = ()
    """Shell lines that make cpivae available on a node, such as conda activate cpivae; [] for the Python of this
    machine."""
    container: Lines = ()
    """Words that start a program in a container, such as [apptainer, exec, --nv, /data/cpivae.sif]."""
    extra: Annotated[tuple[Annotated[Word, AfterValidator(_option)], ...], Strict(False)] = ()
    """More options of sbatch, such as [--mail-type=END]."""
    shared: Annotated[tuple[Annotated[Path, Strict(False)], ...], Strict(False)] = ()
    """Folders that every node sees although they look like this machine's own."""
    stage_data: bool = False
    """Copy the two tables to the node's own disk first, for file systems that are slow to read."""
    warn_minutes: float = Field(5, gt=0, le=120)
    """How long before the time limit the sweep is stopped, to be requeued."""
    max_requeues: int = Field(20, ge=0, le=1000)
    """How often the job may queue again by itself, at the time limit or after losing its nodes."""


_HABITS = {
    "account": "SBATCH_ACCOUNT",
    "partition": "SBATCH_PARTITION",
    "qos": "SBATCH_QOS",
    "constraint": "SBATCH_CONSTRAINT",
    "time": "SBATCH_TIMELIMIT",
}
"""Variables of sbatch, which would override a batch script; here they are what stands in it in place of null."""


def load_slurm_settings(file: Path | None, given: Mapping[str, Any]) -> SlurmSettings:
    """Read a file of settings; what is ``given`` takes precedence, and what is not settled is what sbatch is told by
    the user's environment.

    Raises
    ------
    ConfigError
        A file that cannot be read, an unknown setting, or a value that cannot be used.
    """
    text = {} if file is None else read_yaml_mapping(file)
    source = "the job's settings" if file is None else str(file)
    asked = {**text, **given}
    habits = {name: os.environ[of] for name, of in _HABITS.items() if asked.get(name) is None and os.environ.get(of)}
    if habits:
        source += f" (with {', '.join(_HABITS[name] for name in habits)} of the environment)"
    try:
        return SlurmSettings.model_validate({**asked, **habits})
    except ValidationError as error:
        raise ConfigError(source, explain(error, SlurmSettings)) from None
