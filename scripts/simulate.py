"""The same as ``cpivae simulate``."""

import sys

from cpivae.cli.main import main

main(["simulate", *sys.argv[1:]])
