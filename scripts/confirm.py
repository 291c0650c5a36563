"""The same as ``cpivae confirm``."""

import sys

from cpivae.cli.main import main

main(["confirm", *sys.argv[1:]])
