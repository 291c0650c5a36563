"""``cpivae doctor``: why does it not run here?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpivae.cli.tune_options import SWEEPS


def doctor(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="Where sweeps are to be kept.")] = SWEEPS,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the sweep of two tiny trials.")] = False,
) -> None:
    """Check this machine: versions, GPU, Ray, network, disks, SLURM; a line each, with what to do where it is wrong."""
    from cpivae.cluster.doctor.checks import checks_for, examine

    checks = checks_for(output_dir, quick=quick)
    width, wrong = max(map(len, checks)), 0
    for name, finding in examine(checks):
        wrong += finding.level == "WRONG"
        print(f"{finding.level:<5}  {name:<{width}}  {finding}", flush=True)
    if wrong:
        print(f"{wrong} of these lines say WRONG" if wrong > 1 else "one of these lines says WRONG")
        raise typer.Exit(2)
    print("nothing is wrong with this machine")
