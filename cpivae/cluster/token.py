"""The token of a sweep's cluster, for all its machines.

``python -m cpivae.cluster.token`` makes the one that ``RAY_AUTH_TOKEN_PATH`` names, where there is none yet.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cpivae.errors import CpivaeError, FolderError
from cpivae.tuning.token import new_token, require_private


def make_token(path: Path) -> None:
    """Make a token, whole and readable by the user alone; keep one that is there already.

    Raises
    ------
    FolderError
        One is there that others can read, or that somebody else has put there; or there is no folder for it.
    """
    if not path.parent.is_dir():
        raise FolderError(
            f"there is no folder {path.parent} here, though the job has made it. A container sees it only if it is "
            "bound: see docs/clusters.md."
        )
    if os.path.lexists(path):
        require_private(path)
        return
    with new_token(path.parent) as beside:
        beside.replace(path)  # not linked, because not every shared file system has hard links


def main() -> None:
    """Make the token that the environment names."""
    try:
        make_token(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
    except CpivaeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None


if __name__ == "__main__":
    main()
