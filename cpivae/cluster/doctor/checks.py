"""All checks, in the order of their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cpivae.cluster.doctor import machine, slurm, software, storage, sweep
from cpivae.cluster.doctor.finding import Finding, first_line

Check = Callable[[], Iterable[Finding]]


def checks_for(output_dir: Path, *, quick: bool) -> dict[str, Check]:
    """Return the checks by their names; ``quick`` leaves out the sweep."""
    checks: dict[str, Check] = {
        "python": software.python,
        "packages": software.packages,
        "lightning": software.lightning,
        "gpu": software.gpu,
        "shell": machine.shell,
        "network": machine.network,
        "temporary": machine.temporary,
        "memory": machine.shared_memory,
        "open files": machine.open_files,
        "output": lambda: storage.output(output_dir),
        "slurm": slurm.commands,
        "sweep": lambda: sweep.rehearsal(output_dir),
        "token": machine.token,  # after the sweep, because Ray makes one where there is none
    }
    if quick:
        del checks["sweep"]
    return checks


def examine(checks: dict[str, Check]) -> Iterator[tuple[str, Finding]]:
    """Make the checks one after the other and yield what each finds; one that breaks is a finding as well."""
    for name, check in checks.items():
        try:
            for finding in check():
                yield name, finding
        except Exception as error:  # whatever a broken installation may raise
            what = f"this check broke off with {type(error).__name__} ({first_line(error)})"
            yield name, Finding("WRONG", what, "mend what it names")
