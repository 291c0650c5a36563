"""The same as ``cpivae submit``."""

import sys

from cpivae.cli.main import main

main(["submit", *sys.argv[1:]])
