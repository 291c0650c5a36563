"""The same as ``cpivae models``."""

import sys

from cpivae.cli.main import main

main(["models", *sys.argv[1:]])
