"""``cpivae doctor``: what is wrong with a machine gets a line that says what to do, whatever else breaks."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needed import lacking

from cpivae.cluster.doctor import machine, slurm, software, storage, sweep
from cpivae.cluster.doctor.checks import checks_for, examine
from cpivae.cluster.doctor.finding import Finding
from cpivae.cluster.storage import mount_of

LINE = re.compile(r"(ok   |note |WRONG)  (\S.{9})  (\S.*)")
Program = Callable[[str, str], None]


def program(folder: Path, name: str, script: str) -> None:
    """Write a program that stands in for one this machine may lack."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def only_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Leave nothing on PATH but what a test writes there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return lambda name, script: program(folder, name, script)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make a package look installed, before any other of its name."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install(name: str, version: str) -> None:
        described = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    return install


def test_this_environment_has_what_it_needs() -> None:
    (version,) = software.python()
    assert (version.level, version.what) == ("ok", f"Python {sys.version.split()[0]}; >=3.11 is needed")
    (found,) = software.packages()
    assert found.level == "ok"
    assert int(found.what.split()[0]) >= 20


def test_a_package_that_is_too_old_is_named_with_what_to_install(installed: Callable[[str, str], None]) -> None:
    installed("optuna", "3.6.1")
    installed("ray", "2.9.0")
    assert set(software.packages()) == {
        Finding("WRONG", "optuna 3.6.1 is installed, but >=5 is needed", "pip install 'optuna>=5'"),
        Finding("WRONG", "ray 2.9.0 is installed, but >=2.52 is needed", "pip install 'ray[tune]>=2.52'"),
    }


def test_a_copy_that_is_not_installed_is_told_from_one_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    here = software.metadata.version

    def version(name: str) -> str:
        if name == "cpivae":
            raise software.metadata.PackageNotFoundError(name)
        return here(name)

    monkeypatch.setattr(software.metadata, "version", version)
    (of_python,), (of_packages,) = software.python(), software.packages()
    assert of_python.level == "note"
    assert (of_packages.level, of_packages.advice) == ("WRONG", "in its folder: pip install -e .")


def test_a_second_lightning_is_noted(installed: Callable[[str, str], None]) -> None:
    assert [f.level for f in software.lightning()] == ["ok"]
    installed("lightning", "2.5.1")
    (found,) = software.lightning()
    assert found.level == "note"
    assert "lightning 2.5.1 is installed beside pytorch-lightning" in found.what
    assert "pip uninstall lightning" in found.advice


@pytest.mark.usefixtures("only_programs")
def test_without_a_driver_the_cpus_are_used() -> None:
    found = list(software.gpu())
    assert [f.level for f in found] == ["ok"] * len(found)
    assert found


def test_a_gpu_that_torch_cannot_use_is_wrong(only_programs: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch can use the GPU of this machine")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    only_programs("nvidia-smi", "echo 'NVIDIA A100-SXM4-40GB, 470.82.01'")
    (found,) = software.gpu()
    assert found.level == "WRONG"
    assert "NVIDIA A100-SXM4-40GB (driver 470.82.01)" in found.what
    assert ("built without CUDA" in found.what) == (torch.version.cuda is None)
    assert "install" in found.advice


def test_a_driver_that_does_not_answer_is_quoted(only_programs: Program) -> None:
    only_programs("nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = next(iter(software.gpu()))
    assert (found.level, found.what) == (
        "WRONG",
        "nvidia-smi says: Failed to initialize NVML: Driver/library version mismatch",
    )


def test_bash_is_needed(only_programs: Program) -> None:
    (found,) = machine.shell()
    assert (found.level, found.what.split(",")[0]) == ("WRONG", "there is no bash on PATH")
    only_programs("bash", "")
    assert [f.level for f in machine.shell()] == ["ok"]


def test_ports_open_on_this_machine() -> None:
    assert next(iter(machine.network())).level == "ok"


def test_a_loopback_device_that_is_down_is_wrong() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        lacking("a network of its own needs root and unshare (apt-get install util-linux)")
    code = "from cpivae.cluster.doctor.machine import network\nfor f in network(): print(f.level, f)"
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if not done.stdout:
        lacking(f"no network of its own can be made: {done.stderr}")
    assert done.stdout.startswith("WRONG no port can be opened and reached on 127.0.0.1")
    assert "ip link set lo up" in done.stdout


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name that everybody can enter."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_temporary_folder_takes_a_socket_unless_its_name_is_too_long(short: Path) -> None:
    assert next(iter(machine.temporary(short))).level == "ok"
    deep = short / ("d" * 40)
    deep.mkdir()
    found = next(iter(machine.temporary(deep)))
    assert found.level == "WRONG"
    assert re.search(r"takes no socket with a name of 1[1-4]\d bytes", found.what)
    assert "107 bytes are allowed" in found.advice
    assert list(deep.iterdir()) == []


def test_a_temporary_folder_that_is_missing_is_wrong(tmp_path: Path) -> None:
    (found,) = machine.temporary(tmp_path / "none")
    assert (found.level, found.what) == ("WRONG", f"{tmp_path / 'none'} cannot be written (No such file or directory)")


def test_no_shared_memory_is_no_more_than_slow(tmp_path: Path) -> None:
    assert [f.level for f in machine.shared_memory(tmp_path / "none")] == ["note"]


@pytest.mark.parametrize(("limit", "level"), [(100, "WRONG"), (1024, "note"), (8192, "ok")])
def test_the_hard_limit_of_open_files_counts(limit: int, level: str) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < limit:
        pytest.skip("the limit here is lower")
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {limit}))\n"
        "from cpivae.cluster.doctor.machine import open_files\n"
        "for found in open_files(): print(found.level, found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"{level} 64 open files at once, {limit} when a process asks for more")


@pytest.mark.parametrize(
    ("mode", "entrance", "level"),
    [(0o600, 0o755, "ok"), (0o644, 0o755, "WRONG"), (0o644, 0o700, "note"), (0o640, 0o711, "WRONG")],
)
def test_a_token_that_others_can_read_is_wrong(
    short: Path, monkeypatch: pytest.MonkeyPatch, mode: int, entrance: int, level: str
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(short))
    assert [(f.level, f.what) for f in machine.token()] == [
        ("ok", f"no token of Ray yet; it will be {short}/.ray/auth_token")
    ]
    path = short / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o755)
    path.write_text("secret")
    path.chmod(mode)
    short.chmod(entrance)
    (found,) = machine.token()
    assert found.level == level
    assert found.advice == ("" if level == "ok" else f"chmod 600 {path}")
    assert "secret" not in str(found)


@pytest.mark.usefixtures("only_programs")
def test_a_machine_without_slurm_is_no_mistake() -> None:
    assert list(slurm.commands()) == [
        Finding("note", "not a SLURM machine: only needed for cpivae submit slurm"),
    ]


def test_partitions_are_listed(only_programs: Program) -> None:
    for name in slurm.COMMANDS:
        only_programs(name, "echo 'debug* up 2 30:00\ngpu up 16 2-00:00:00'")
    (found,) = slurm.commands()
    assert found.level == "ok"
    assert "debug* (up, 2 node(s), at most 30:00), gpu (up, 16 node(s), at most 2-00:00:00)" in found.what


def test_slurm_that_is_half_there_or_does_not_answer_is_wrong(only_programs: Program) -> None:
    only_programs("sbatch", "")
    only_programs("sinfo", "echo 'sinfo: error: unable to contact slurm controller' >&2; exit 1")
    missing, silent = slurm.commands()
    assert missing.level == silent.level == "WRONG"
    assert "sbatch, sinfo are here, srun, scontrol, squeue, scancel not" in missing.what
    assert "unable to contact slurm controller" in silent.what


def test_slurm_without_a_cluster_is_no_mistake(only_programs: Program) -> None:
    for name in slurm.COMMANDS:
        only_programs(name, "echo 'sinfo: fatal: Could not establish a configuration source' >&2; exit 1")
    (found,) = slurm.commands()
    assert (found.level, found.what.split(":")[0]) == ("note", "SLURM is installed, but knows no cluster")


def test_a_folder_on_a_local_disk_works_and_is_left_as_it_was(tmp_path: Path) -> None:
    found = list(storage.output(tmp_path / "not" / "yet"))
    assert len(found) == 5
    assert {f.level for f in found[1:]} == {"ok"}
    assert found[0].level in ("ok", "note")
    assert str(tmp_path) in found[0].what
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file_or_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = storage.output(tmp_path / "file" / "sweeps")
    assert (found.level, found.what) == ("WRONG", f"{tmp_path / 'file'} is a file, and results need a folder")
    *_, found = storage.output(Path("/proc/sweeps"))  # where not even root can make a folder
    assert found.level == "WRONG"
    assert found.what.startswith("/proc cannot be written")


def test_the_kind_of_a_file_system_is_that_of_the_innermost_and_last_mount(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    here = str(tmp_path / "my data").replace(" ", "\\040")
    table.write_text(
        "1 0 0:1 / / rw - ext4 /dev/root rw\n"
        f"2 1 0:2 / {here} rw,relatime shared:3 master:4 - ext4 /dev/sdb rw\n"
        f"3 2 0:3 / {here} rw,noexec - nfs4 server:/home\\040s rw,vers=4.2\n"
        f"4 1 0:4 / {here}2 rw - tmpfs tmpfs rw\n"
    )
    mount = mount_of(tmp_path / "my data" / "sweeps", table)
    assert mount is not None
    assert (mount.kind, mount.source, "noexec" in mount.options) == ("nfs4", "server:/home s", True)
    outside = mount_of(tmp_path, table)
    assert outside is not None
    assert (outside.kind, outside.point) == ("ext4", Path("/"))


def test_a_lock_that_stays_held_is_seen(tmp_path: Path) -> None:
    assert storage.locks(tmp_path).level == "ok"
    with (tmp_path / "lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        found = storage.locks(tmp_path)
    assert found.level == "WRONG"
    assert "flock fails" in found.what


def test_a_file_that_is_missing_for_a_moment_is_seen(tmp_path: Path) -> None:
    ended = threading.Event()

    def meddle() -> None:
        while not ended.is_set():
            (tmp_path / "replaced").unlink(missing_ok=True)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        found = storage.replacements(tmp_path)
    finally:
        ended.set()
        meddler.join()
    assert found.level == "WRONG"
    assert "No such file" in found.what


def test_too_little_room_is_wrong(tmp_path: Path) -> None:
    assert storage.room(tmp_path, least=1).level == "ok"
    assert storage.room(tmp_path, least=2**60).level == "WRONG"


def test_a_sweep_whose_process_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "cpivae").mkdir(parents=True)
    (tmp_path / "site" / "cpivae" / "__init__.py").write_text("raise OSError('libcudart.so.12: no such file')")
    monkeypatch.chdir(tmp_path / "site")  # python -m looks there first
    (tmp_path / "out").mkdir()
    (found,) = sweep.rehearsal(tmp_path / "out")
    assert found.level == "WRONG"
    assert "ended with status 1 (OSError: libcudart.so.12: no such file)" in found.what
    assert list((tmp_path / "out").iterdir()) == []


def test_a_check_that_breaks_is_told_and_the_others_go_on() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("ok", "so far")
        raise ImportError("libcudnn.so.9: cannot open shared object file\nmore")

    found = list(examine({"first": broken, "second": lambda: [Finding("note", "fine")]}))
    assert [(name, f.level) for name, f in found] == [("first", "ok"), ("first", "WRONG"), ("second", "note")]
    assert "ImportError (libcudnn.so.9: cannot open shared object file)" in found[1][1].what


def run_doctor(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program with a home of its own."""
    (folder / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "cpivae", "doctor", *words],
        cwd=folder,
        env=os.environ | {"HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def names_of(output: str) -> set[str]:
    *lines, last = output.splitlines()
    assert last.endswith("this machine") or "WRONG" in last
    parts = [LINE.fullmatch(line) for line in lines]
    assert all(parts), output
    return {part[2].strip() for part in parts if part}


def test_the_quick_doctor_prints_a_line_for_every_check(tmp_path: Path) -> None:
    done = run_doctor(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert names_of(done.stdout) == set(checks_for(tmp_path, quick=True))
    assert "nothing is wrong with this machine" in done.stdout
    assert done.stderr == ""


def test_the_doctor_ends_with_status_2_when_something_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_doctor(tmp_path, "--quick", "--output-dir", "file")
    assert done.returncode == 2
    assert re.search(r"^WRONG  output .*file is a file, .* -> choose another --output_dir$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("one of these lines says WRONG\n")


@pytest.mark.slow
def test_the_full_doctor_runs_a_sweep_and_leaves_no_more_than_a_private_token(tmp_path: Path) -> None:
    done = run_doctor(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names_of(done.stdout) == set(checks_for(tmp_path, quick=False))
    assert re.search(
        r"^ok     sweep       Ray starts, and two processes have trained two tiny trials", done.stdout, re.MULTILINE
    )
    left = [p for p in tmp_path.rglob("*") if p.is_file() and ".cache" not in p.parts]
    assert left == [tmp_path / "home" / ".ray" / "auth_token"]
    assert stat.S_IMODE(left[0].stat().st_mode) == 0o600


@pytest.mark.slow
def test_a_sweep_that_cannot_start_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.write_text("")  # Ray keeps its token in a folder there
    monkeypatch.setenv("HOME", str(home))
    (found,) = sweep.rehearsal(tmp_path)
    assert found.level == "WRONG"
    assert str(home) in found.what
