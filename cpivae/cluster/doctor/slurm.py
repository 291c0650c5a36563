"""The commands of SLURM, and whether they are answered."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

from cpivae.cluster.doctor.finding import Finding, last_line
from cpivae.cluster.slurm import plain_environment
from cpivae.errors import listed

COMMANDS = ("sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
_SECONDS = 15
_NO_CLUSTER = re.compile(r"establish a configuration source|slurm\.conf.*No such file")
"""What the commands say where the package is installed and nothing is configured."""


def commands() -> Iterator[Finding]:
    """Look for the commands and ask for the partitions."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if len(missing) == len(COMMANDS):
        yield Finding("note", "not a SLURM machine: only needed for cpivae submit slurm")
        return
    if missing:
        there = listed(command for command in COMMANDS if command not in missing)
        yield Finding(
            "WRONG",
            f"of SLURM's commands {there} are here, {listed(missing)} not, and cpivae submit slurm needs all",
            "add their folder to PATH, or load the cluster's module",
        )
    if "sinfo" not in missing:
        yield _partitions()


def _partitions() -> Finding:
    query = ["sinfo", "--noheader", "--all", "--summarize", "--format=%P %a %D %l"]
    try:
        answer = subprocess.run(
            query, capture_output=True, text=True, timeout=_SECONDS, check=False, env=plain_environment()
        )
        if _NO_CLUSTER.search(answer.stderr):
            return Finding("note", "SLURM is installed, but knows no cluster: only needed for cpivae submit slurm")
        said = "" if answer.returncode == 0 else last_line(answer.stderr) or f"status {answer.returncode}"
    except subprocess.TimeoutExpired:
        said = f"no answer in {_SECONDS} s"
    if said:
        return Finding(
            "WRONG",
            f"SLURM is installed, but sinfo fails ({said})",
            "only cpivae submit slurm needs it: use a login node of the cluster, or ask who runs it",
        )
    rows = [line.split() for line in answer.stdout.splitlines() if line.strip()]
    told = [f"{name} ({state}, {nodes} node(s), at most {limit})" for name, state, nodes, limit in rows]
    if not told:
        return Finding("WRONG", "SLURM answers, but has no partition for you", "ask who runs the cluster for one")
    return Finding("ok", f"SLURM answers; partitions: {listed(told)}")
