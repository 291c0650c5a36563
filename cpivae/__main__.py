"""``python -m cpivae`` is the ``cpivae`` command."""

from cpivae.cli.main import main

if __name__ == "__main__":
    main()
