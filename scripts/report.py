"""The same as ``cpivae report``."""

import sys

from cpivae.cli.main import main

main(["report", *sys.argv[1:]])
