"""Temporary folders that outlive a process which was killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cpivae.names import TEMPORARY_PREFIX


def clear_up_after_the_dead(where: Path) -> None:
    """Remove the temporary folders of processes that were killed before they could do so."""
    for folder in where.glob(f"{TEMPORARY_PREFIX}*"):
        owner = folder.name.removeprefix(TEMPORARY_PREFIX).partition("-")[0]
        if owner.isdigit() and folder.is_dir() and folder.stat().st_uid == os.getuid() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's by now
    return True
