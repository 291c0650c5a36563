"""SLURM's own commands: what a job is doing, and handing one over."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from cpivae.errors import CpivaeError

LIVING = (
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "COMPLETING", "STAGE_OUT",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT",
)  # fmt: skip
"""States of a job that may still do something."""
_TEXT = re.compile(r"\b(JobName|Comment|AdminComment|SystemComment|Command|WorkDir|StdErr|StdIn|StdOut)=(.*)")
"""What has a line of its own, or the end of one, in what SLURM says of a job, and may contain anything."""
_SECRET = "RAY_AUTH_TOKEN"


_NO_ANSWER = re.compile(r"timed out|unable to contact|zero bytes|communication", re.IGNORECASE)
"""What the commands say where the controller may have done what it was asked for."""


class SlurmError(CpivaeError):
    """SLURM does not do what it is asked."""


class SlurmRefusalError(SlurmError):
    """SLURM is not there, or refuses."""


def ask(*command: str) -> str:
    """Run one of SLURM's commands and return what it prints.

    Raises
    ------
    SlurmRefusalError
        The command is missing or fails.
    SlurmError
        It does not answer.
    """
    if shutil.which(command[0]) is None:
        raise SlurmRefusalError(
            f"there is no {command[0]} here: this machine does not belong to a SLURM cluster. Log in to one of its "
            "login nodes, or run cpivae tune itself."
        )
    try:
        # In a session of its own, which a terminal's Ctrl-C does not reach: it could end sbatch at any point.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=plain_environment(),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{command[0]} has not answered for a minute; SLURM may be down. Look with squeue what it knows of before "
            "you try again."
        ) from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        if _NO_ANSWER.search(reason):
            raise SlurmError(f"{command[0]} has had no answer: {reason}. Look with squeue before you try again.")
        raise SlurmRefusalError(f"{command[0]} refuses: {reason}")
    return done.stdout


def plain_environment() -> dict[str, str]:
    """Return this process's environment without what would change the commands' meaning, or what a job must not keep.

    Variables take precedence over what a batch script says; those of the job that this process may itself be in are
    another job's.  A job gets the rest, and SLURM keeps that on its disk.
    """
    kept = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
    foreign = ("SBATCH_", "SLURM_", "SINFO_", "SCANCEL_", "SCONTROL_", "SQUEUE_", "SRUN_", "SALLOC_")
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (name.startswith(foreign) or name == _SECRET)
    }


def submitted(script: Path) -> int:
    """Hand a batch script over and return the number of its job.

    Raises
    ------
    SlurmError
        As :func:`ask` does, or the answer has no number.
    """
    answer = ask("sbatch", "--parsable", str(script))
    number = re.search(r"^(\d+)(;.*)?$", answer, re.MULTILINE)  # what wraps sbatch on some clusters has more to say
    if number is None:
        raise SlurmError(
            f"sbatch has answered {answer.strip()!r}, which has no line with the number of a job. Look with squeue "
            "whether it has taken one."
        )
    return int(number[1])


def job(number: int) -> dict[str, str]:
    """Return what SLURM says of a job, by its own names; nothing where it has forgotten it."""
    try:
        answer = ask("scontrol", "show", "job", str(number))
    except SlurmError as error:
        if "Invalid job id" in str(error):
            return {}
        raise
    told: dict[str, str] = {}
    for line in answer.splitlines():
        text = _TEXT.search(line)
        told |= dict(re.findall(r"(\S+?)=(\S*)", line[: text.start()] if text else line))
        told |= {text[1]: text[2]} if text else {}
    return told


def minutes(time: str) -> float:
    """Read a time as SLURM writes it: minutes, m:s, h:m:s, days-h, days-h:m:s or infinite.

    >>> minutes("1-12:00:00")
    2160.0
    """
    if time.lower() in ("infinite", "unlimited", "n/a", "partition_limit"):
        return float("inf")
    days, dash, rest = time.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if dash:
        hours, mins, seconds = [*parts, 0.0, 0.0][:3]
    elif len(parts) < 3:
        hours, (mins, seconds) = 0.0, [*parts, 0.0][:2]
    else:
        hours, mins, seconds = parts
    return (int(days) * 24 if days else 0) * 60 + hours * 60 + mins + seconds / 60


def megabytes(size: str) -> float:
    """Read a size as sbatch does: megabytes unless a unit says otherwise."""
    factor = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}.get(size[-1])
    return float(size) if factor is None else float(size[:-1]) * factor
