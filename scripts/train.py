"""The same as ``cpivae train``."""

import sys

from cpivae.cli.main import main

main(["train", *sys.argv[1:]])
