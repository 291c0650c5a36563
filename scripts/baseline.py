"""The same as ``cpivae baseline``."""

import sys

from cpivae.cli.main import main

main(["baseline", *sys.argv[1:]])
