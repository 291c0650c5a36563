"""The ``cpivae`` command: one file per subcommand, and one place where errors become a line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from cpivae.cli.baseline import baseline
from cpivae.cli.check import check
from cpivae.cli.confirm import confirm
from cpivae.cli.doctor import doctor
from cpivae.cli.example import example
from cpivae.cli.export import export
from cpivae.cli.impute import impute
from cpivae.cli.inspect import inspect
from cpivae.cli.models import models
from cpivae.cli.report import report
from cpivae.cli.simulate import simulate
from cpivae.cli.submit import app as submit
from cpivae.cli.train import train
from cpivae.cli.tune import tune
from cpivae.errors import CpivaeError

app = typer.Typer(
    help="Find, train and share the model that predicts one proteomics platform from another.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(tune)
app.command()(train)
app.command()(check)
app.command()(baseline)
app.command()(report)
app.command()(confirm)
app.add_typer(submit, name="submit")
app.command()(export)
app.command()(impute)
app.command()(inspect)
app.command()(models)
app.command()(example)
app.command()(simulate)
app.command()(doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status."""
    try:
        app(args=underscored(sys.argv[1:] if arguments is None else arguments), prog_name="cpivae")
    except CpivaeError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
    except OSError as error:
        if error.filename is None or os.environ.get("CPIVAE_DEBUG"):
            raise
        print(f"error: {error.filename}: {error.strerror}. Check the path, its rights and the disk.", file=sys.stderr)
        raise SystemExit(2) from None


def underscored(arguments: Sequence[str]) -> list[str]:
    """Take ``--platform-a`` for ``--platform_a``: options are spelt with underscores, values are left alone.

    >>> underscored(["train", "--platform-a=x-y", "--set", "a-b"])
    ['train', '--platform_a=x-y', '--set', 'a-b']
    """
    spelt = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            argument = f"--{name.replace('-', '_')}{equals}{value}"
        spelt.append(argument)
    return spelt
