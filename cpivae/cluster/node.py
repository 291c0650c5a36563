"""One node of a job: ``srun`` runs this program once on each.  It starts Ray there and ends it with the job.

The first node is the head; it publishes its address in a file that the others wait for.  When the file is removed, all
of them end.  A worker whose Ray ends is started again a few times.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cpivae.errors import CpivaeError, FolderError, InterruptedSweepError
from cpivae.files import write_text
from cpivae.tuning.ray_environment import OF_ALL

STARTS = 5
"""Times that a node's Ray is started before the node is given up."""
_FOR_THE_HEAD = 300
"""Seconds that a worker waits for the head's address."""
NO_HEAD = "none"
"""What is published instead of an address when the head cannot be started."""
_FOR_AN_END = 10
"""Seconds that Ray has to end its processes."""
_OURS = "cpivae.j"
_LOCK = ".lock"
_SHARE_OF_OBJECTS = 0.3
"""Of a node's memory, for the data that its processes share; as Ray has it."""
_LEAST_OBJECTS = 75 * 2**20
"""Bytes."""


def main() -> None:
    """Run Ray on this node until the job ends."""
    # Not all clusters pass the limits of the batch script on.  A core would hold the token.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ignored by all that is started here: a warning to the whole step must not end Ray, but the driver is to stop.
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    environment = os.environ | {name: value for name, value in OF_ALL.items() if name not in os.environ}
    published, is_head = Path(environment["CPIVAE_RAY_ADDRESS_FILE"]), _is_head(environment)
    try:
        # With the node's number: on some clusters, two nodes are one machine or share its /tmp.
        with private_folder(Path(f"{environment['CPIVAE_RAY_TEMP']}-{environment['SLURM_NODEID']}")) as temporary:
            _run(environment, temporary, published)
    except CpivaeError as error:
        if is_head:
            write_text(published, NO_HEAD)
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_status) from None


def start_arguments(environment: Mapping[str, str], temporary: Path, address: str | None) -> list[str]:
    """Return the options of ``ray start`` for a node with what SLURM has given it; ``address`` is None on the head."""
    memory, shared = _memory(environment), shutil.disk_usage("/dev/shm").free
    # Ray refuses to start with less than its least; what /dev/shm has no room for it keeps on the disk.
    objects = max(_LEAST_OBJECTS, int(min(_SHARE_OF_OBJECTS * memory, 0.9 * shared)))
    # Chosen by the system: fixed ports collide with those of other jobs on the node.
    role = ["--head", "--port=0", "--include-dashboard=false", f"--ray-client-server-port={_free_port()}"]
    return [
        *(role if address is None else [f"--address={address}"]),
        f"--num-cpus={environment.get('SLURM_CPUS_PER_TASK') or environment.get('SLURM_CPUS_ON_NODE', '1')}",
        f"--num-gpus={_gpus(environment)}",
        f"--memory={memory - objects}",
        f"--object-store-memory={objects}",
        f"--temp-dir={temporary}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--block",
    ]


@contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Make a node's temporary folder and remove it at the end, with those that earlier jobs have left.

    Raises
    ------
    FolderError
        Somebody else has a folder of that name.
    """
    for earlier in path.parent.glob(f"{_OURS}*"):
        _remove_unless_in_use(earlier)
    while (lock := _locked(path)) is None:
        pass
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        lock.close()


def _locked(path: Path) -> IO[str] | None:
    """Make a folder and its lock; None if another job, which looked for folders in no use, was quicker to remove it."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise FolderError(f"{path} is there already, and is not this job's. Remove it, or ask whose it is.") from None
    try:
        lock = (path / _LOCK).open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock.fileno()), (path / _LOCK).stat()):
            return lock
        lock.close()
    except FileNotFoundError:
        pass
    return None


def _remove_unless_in_use(folder: Path) -> None:
    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return
        with (folder / _LOCK).open("a") as lock:  # a job that was killed may have made no more than the folder
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # a job of ours uses it, or has just removed it


def _run(environment: Mapping[str, str], temporary: Path, published: Path) -> None:
    is_head = _is_head(environment)
    for attempt in range(1, STARTS + 1):
        address = None if is_head else _published(published)
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *start_arguments(environment, temporary, address)]
        process = subprocess.Popen(ray, env=dict(environment), stdin=subprocess.DEVNULL)
        try:
            was_up = _publish(temporary / "ray_current_cluster", published, process) if is_head else True
            while (status := process.poll()) is None and published.exists():
                time.sleep(0.5)
            if status is None:
                return
        finally:
            _end(process)
        print(f"Ray of {socket.gethostname()} has ended with {status} (start {attempt})", flush=True)
        if is_head and was_up:
            break  # what the cluster knew is lost with its head
        time.sleep(2)
    raise InterruptedSweepError(f"Ray of {socket.gethostname()} has ended, and is not started again.")


def _is_head(environment: Mapping[str, str]) -> bool:
    return environment["SLURM_PROCID"] == "0"


def _publish(made: Path, published: Path, process: subprocess.Popen[bytes]) -> bool:
    """Tell the other nodes the head's address once it is up; say whether it is."""
    while process.poll() is None:
        if made.is_file() and (address := made.read_text().strip()):
            write_text(published, address)
            return True
        time.sleep(0.1)
    return False


def _published(file: Path) -> str:
    until = time.monotonic() + _FOR_THE_HEAD
    while time.monotonic() < until:
        if file.is_file() and (address := file.read_text().strip()):
            if address == NO_HEAD:
                break
            return address
        time.sleep(0.2)
    raise InterruptedSweepError(f"the head has published no address in {file}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_FOR_AN_END)
    except subprocess.TimeoutExpired:
        process.kill()


def _gpus(environment: Mapping[str, str]) -> int:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device and device != "NoDevFiles"])
    return int(environment.get("SLURM_GPUS_ON_NODE") or 0)


def _memory(environment: Mapping[str, str]) -> int:
    """Return the bytes that SLURM has given the node, or that it has."""
    if of_node := int(environment.get("SLURM_MEM_PER_NODE") or 0):
        return of_node * 2**20
    if of_cpu := int(environment.get("SLURM_MEM_PER_CPU") or 0):
        return of_cpu * int(environment.get("SLURM_CPUS_ON_NODE", "1")) * 2**20
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
