"""Where a cluster can be started, and that nothing of it stays behind, however the tests end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from lab import LOGIN, LabError, MakeLab

# A lab in a process of its own, with a command and a job that would go on for long.
LONELY = """
import sys, time
from pathlib import Path
from lab import Lab
lab = Lab(Path(sys.argv[1]))
lab.start()
command = lab.popen("n1", ["sleep", "600"])
job = lab.run("login", ["sbatch", "--parsable", "--wrap", "sleep 600"]).stdout.strip()
lab.wait_for_job(job, ["RUNNING"])
print("up", flush=True)
time.sleep(600)
"""


def network(pid: int) -> str | None:
    """Return the name of a process's network; nothing if the process is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def networks_below(pid: int) -> set[str | None]:
    """Return the networks of the processes below one, without its own."""
    return {network(process.pid) for process in psutil.Process(pid).children(recursive=True)} - {network(pid), None}


def traces(folder: Path, networks: set[str | None]) -> list[str]:
    """Name the processes that are in one of the networks, or have the folder among their words or mounts."""
    found = []
    for process in psutil.process_iter():
        files = [Path(f"/proc/{process.pid}/{name}") for name in ("cmdline", "environ", "mountinfo")]
        try:
            known = network(process.pid) in networks or any(str(folder).encode() in f.read_bytes() for f in files)
        except OSError:
            continue  # gone meanwhile
        if known:
            found.append(f"{process.pid} {files[0].read_text()}")
    return found


def surroundings() -> tuple[list[Path], str]:
    """Return the network devices and mounts of this process."""
    return sorted(Path("/sys/class/net").iterdir()), Path("/proc/self/mountinfo").read_text()


def test_a_lab_that_is_stopped_leaves_nothing(make_lab: MakeLab) -> None:
    before, others = surroundings(), networks_below(os.getpid())
    lab = make_lab()
    sleeping = lab.popen("n2", ["sleep", "600"])
    job = lab.run(LOGIN, ["sbatch", "--parsable", "-N2", "--wrap", "sleep 600"]).stdout.strip()
    lab.wait_for_job(job, ["RUNNING"])
    networks = networks_below(os.getpid()) - others
    assert len(networks) == 4, "the switch and three machines"
    assert len(traces(lab.folder, networks)) > 12
    lab.stop()
    assert traces(lab.folder, networks) == []
    assert sleeping.returncode == -9
    assert surroundings() == before


def test_a_lab_that_cannot_start_leaves_nothing_and_says_why(make_lab: MakeLab, short: Path) -> None:
    before, others = surroundings(), networks_below(os.getpid())
    with pytest.raises(LabError, match=r"login: .*slurmctld: .*NoSuchSetting"):
        make_lab(settings={"NoSuchSetting": "1"})
    assert networks_below(os.getpid()) == others
    assert traces(short / "lab", set()) == []
    assert surroundings() == before


def test_a_lab_whose_tests_are_killed_leaves_nothing(possible: None, short: Path) -> None:  # noqa: ARG001
    folder = short / "lab"
    words = [sys.executable, "-c", LONELY, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as lonely:
        try:
            assert lonely.stdout is not None
            assert lonely.stdout.readline() == "up\n"
            processes = psutil.Process(lonely.pid).children(recursive=True)
            networks = networks_below(lonely.pid)
            assert len(networks) == 4, "the switch and three machines"
            assert len(traces(folder, networks)) > 12
        finally:
            lonely.kill()
    psutil.wait_procs(processes, timeout=10)
    assert traces(folder, networks) == []


@pytest.mark.parametrize(
    ("around", "path", "reason"),
    [
        ((), "/nowhere", "not installed: unshare, "),
        (("unshare", "--user", "--map-user=1000"), os.environ["PATH"], "not root"),
        (("unshare", "--user", "--map-root-user"), os.environ["PATH"], "cannot make namespaces: setpriv: "),
    ],
)
def test_the_reason_why_there_can_be_no_lab_is_said(
    possible: None,  # noqa: ARG001
    around: tuple[str, ...],
    path: str,
    reason: str,
) -> None:
    ask = f"import os; os.environ['PATH'] = {path!r}; from lab import why_not; print(why_not())"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    said = subprocess.run([*around, sys.executable, "-c", ask], capture_output=True, text=True, env=environment)
    assert said.stdout.startswith(reason), said
