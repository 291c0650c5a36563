"""The same as ``cpivae doctor``."""

import sys

from cpivae.cli.main import main

main(["doctor", *sys.argv[1:]])
