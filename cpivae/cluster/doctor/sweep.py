"""A real sweep: Ray starts, two worker processes train, results are written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cpivae.cluster.doctor.finding import Finding, last_line
from cpivae.files import existing

_SECONDS = 180
"""After which a sweep that takes ten is given up: Ray may wait for ever."""


def rehearsal(output_dir: Path) -> Iterator[Finding]:
    """Run the smallest sweep where results would be kept, in a process that may hang or be aborted by Ray."""
    where = existing(output_dir)
    if not os.access(where, os.W_OK) or not where.is_dir():
        where = Path(tempfile.gettempdir())
    try:
        folder = Path(tempfile.mkdtemp(dir=where, prefix=".cpivae-doctor-"))
    except OSError:  # the check of the folder has said so
        folder = Path(tempfile.mkdtemp(prefix=".cpivae-doctor-"))
    started = time.perf_counter()
    try:
        said, trouble = _run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    took = time.perf_counter() - started
    if not trouble:
        yield Finding("ok", f"Ray starts, and two processes have trained two tiny trials ({took:.0f} s in all)")
        return
    yield Finding(
        "WRONG",
        f"a sweep of two tiny trials {trouble} ({said or 'it said nothing'})",
        "mend what other lines call WRONG, or try again when the machine is less busy; "
        f"{sys.executable} -m cpivae.tuning.rehearsal NEW_FOLDER shows all of it",
    )


def _run(folder: Path) -> tuple[str, str]:
    """Return the last line that the sweep's process wrote, and how it failed."""
    command = [sys.executable, "-m", "cpivae.tuning.rehearsal", str(folder / "sweep")]
    # A file, because a pipe would stay open for as long as any process that Ray has left behind.
    with (folder / "said.txt").open("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            trouble = _trouble(process.wait(_SECONDS))
        except subprocess.TimeoutExpired:
            trouble = f"was not done after {_SECONDS} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        return last_line(said.read()), trouble


def _trouble(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else ""
