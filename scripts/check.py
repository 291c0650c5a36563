"""The same as ``cpivae check``."""

import sys

from cpivae.cli.main import main

main(["check", *sys.argv[1:]])
