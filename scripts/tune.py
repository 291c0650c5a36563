"""The same as ``cpivae tune``."""

import sys

from cpivae.cli.main import main

main(["tune", *sys.argv[1:]])
