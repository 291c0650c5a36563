"""The same as ``cpivae export``."""

import sys

from cpivae.cli.main import main

main(["export", *sys.argv[1:]])
