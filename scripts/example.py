"""The same as ``cpivae example``."""

import sys

from cpivae.cli.main import main

main(["example", *sys.argv[1:]])
