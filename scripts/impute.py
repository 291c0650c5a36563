"""The same as ``cpivae impute``."""

import sys

from cpivae.cli.main import main

main(["impute", *sys.argv[1:]])
