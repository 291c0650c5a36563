"""A disk that fills up while a sweep runs on it: one of a few hundred kilobytes, which the test mounts."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from needed import lacking

from cpivae.errors import InterruptedSweepError
from cpivae.tuning.full_disk import disk_is_full, has_room, interrupted_when_full

TUNE = (
    f"{sys.executable} -m cpivae tune --no_report --no_check --config default --search_space smoke --platform_a a.csv "
    "--platform_b b.csv --output_dir small --study_name sweep --n_trials 4 --max_epochs 3 --max_concurrent 1 --resume"
)
SCRIPT = f"""
mount -t tmpfs -o size=$1 none small || exit 99
{TUNE}
echo "status $?" | tee small/sweep/status
find small -name '*.tmp*'
mount -o remount,size=50m none small
{TUNE}
echo "status $?"
cat small/sweep/trials.csv
"""


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [60, 330], ids=["at once", "in a later trial"])
def test_a_sweep_on_a_full_disk_is_interrupted_and_goes_on_when_there_is_room(
    kilobytes: int, tmp_path: Path, write_tables: Callable[..., None]
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        lacking("this machine lets nobody mount a disk of their own")
    write_tables(tmp_path)
    (tmp_path / "small").mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", SCRIPT, "sh", f"{kilobytes}k"],
        cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert re.findall(r"^status (\d+)", done.stdout, re.MULTILINE) == ["75", "0"], said
    assert re.findall("^error: .*", done.stderr, re.MULTILINE) != [], said
    assert "make room, and give the same command with --resume" in done.stderr
    assert "Traceback" not in said
    assert ".tmp" not in done.stdout, "nothing is left half written"
    rows = done.stdout.rpartition("status 0\n")[2].splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == [0, 1, 2, 3]
    assert all("complete" in row or "stopped" in row for row in rows), "no trial is lost to the disk"


def of_a_disk(error: BaseException, *after: BaseException) -> BaseException:
    for later in after:
        later.__context__, error = error, later
    return error


def test_what_means_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    full, gone = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.ENOENT, "No such file")
    assert disk_is_full(full)
    assert disk_is_full(of_a_disk(full, RuntimeError("Ray has wrapped it")))
    assert not disk_is_full(gone)
    assert not disk_is_full(RuntimeError("wrong shape"))
    with pytest.raises(RuntimeError) as of_torch:
        torch.save({"weights": torch.zeros(100_000)}, "/dev/full")
    assert disk_is_full(of_torch.value)
    assert has_room(tmp_path)


def test_an_interruption_that_was_wrapped_comes_out_as_itself() -> None:
    inside = InterruptedSweepError("the reason")
    with pytest.raises(InterruptedSweepError, match=r"^the reason$"), interrupted_when_full("sweep"):
        raise of_a_disk(inside, RuntimeError("Ray's own"))
    with pytest.raises(ValueError, match="ours"), interrupted_when_full("sweep"):
        raise ValueError("ours")
