"""Sweeps next to others: nothing is shared, nobody gets in, and no secret gets out."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import Sweep, prepare
from lab import LOGIN, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WriteTables = Callable[..., None]


def test_two_users_and_a_strangers_ray_on_one_node_do_not_see_each_other(
    lab: Lab, write_tables: WriteTables, tmp_path: Path
) -> None:
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=6379", "--num-cpus=1", "--block"]
    stranger = lab.popen("n1", [*ray, "--object-store-memory=80000000"])
    sweeps = [
        Sweep(lab, prepare(lab.shared / tmp_path.name / user, write_tables, lab, user), user, n_trials=6)
        for user in ("ada", "bob")
    ]
    on_one = ("--sbatch", "--nodelist=n1", "--mem_per_node", "1500M")
    jobs = [sweep.submitted(*on_one) for sweep in sweeps]
    both = lambda: all(sweep.events("epoch") for sweep in sweeps)  # noqa: E731
    sweeps[0].wait_until(both, jobs[0])
    for sweep, job in zip(sweeps, jobs, strict=True):
        assert sweep.lab.run("n1", ["stat", "-c", "%U", str(sweep.folder.journal)]).stdout.strip() == sweep.user
        sweep.wait_for_the_job(job)
        sweep.require_complete()
        assert sweep.folder.cluster.stat().st_mode & 0o777 == 0o700
    assert stranger.poll() is None, "nobody ends another's Ray"


CONNECT = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
except Exception as error:
    print("refused", type(error).__name__, error)
else:
    print("let in", ray.cluster_resources())
"""
CORES = 'for p in /proc/[0-9]*; do grep -qa cpivae.j $p/cmdline && grep "core file" $p/limits; done; true'
KNOCK = Path(__file__).with_name("knock.py")


def listeners(lab: Lab, node: str) -> set[tuple[str, int]]:
    """Return what is listened to on a node: (address, port), but for SLURM's own daemon."""
    found = set()
    for line in lab.run(node, ["ss", "--tcp", "--listening", "--numeric", "--no-header"]).stdout.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        if int(port) not in (6817, 6818):
            found.add((address, int(port)))
    return found


def test_without_the_token_nobody_gets_in_and_nobody_can_read_it(
    lab: Lab, write_tables: WriteTables, tmp_path: Path
) -> None:
    until_cancelled = 1000
    home = prepare(lab.shared / tmp_path.name, write_tables, lab, "ada")
    sweep = Sweep(lab, home, "ada", n_trials=until_cancelled)
    job = sweep.submitted("--nodes", 2)
    sweep.wait_for_ends(1, job)
    (token_file,) = sweep.folder.cluster.glob("token*")
    assert token_file.stat().st_mode & 0o777 == 0o600
    token = token_file.read_text()
    assert len(token) == 64

    (address_file,) = sweep.folder.cluster.glob("address-*")
    address = address_file.read_text()
    for environment in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
        said = said_to_a_stranger(lab, address, environment)
        assert "let in" not in said
        assert "nauthenticated" in said
    kinds = {kind for node in ("n1", "n2") for kind in refusing(lab, node, token_file)}
    assert kinds == {"control store", "syncer", "raylet", "objects", "worker", "client", "page"}
    for node in ("n1", "n2"):
        limits = lab.run(node, ["sh", "-c", CORES]).stdout.splitlines()
        assert {line.split()[4] for line in limits} == {"0"}, "no process of Ray writes its memory to a disk"
    denied = lab.run(LOGIN, ["cat", str(token_file)], user="bob", check=False)
    assert denied.returncode != 0

    for node in (LOGIN, "n1", "n2"):
        everything = ["sh", "-c", f"grep -laF {token} /proc/[0-9]*/cmdline /proc/[0-9]*/environ || true"]
        readers = lab.run(node, everything).stdout.split()
        assert [path for path in readers if "self" not in path and not is_the_search(lab, node, path)] == []
        files = lab.run(node, ["sh", "-c", f"grep -rlF {token} /tmp || true"]).stdout.split()
        assert set(files) <= {str(token_file)}
    sweep.cpivae("submit", "cancel", sweep.folder.path)
    assert not token_file.exists()
    written = lab.run(LOGIN, ["sh", "-c", f"grep -rlF {token} {sweep.home} || true"]).stdout
    assert written == ""


def refusing(lab: Lab, node: str, token_file: Path) -> set[str]:
    """Check that every port of Ray on a node does what it is asked with the token alone; return what there is."""
    rays = {(address, port) for address, port in listeners(lab, node) if not is_slurms(lab, node, port)}
    hosts = {("127.0.0.1" if address in ("*", "0.0.0.0", "[::]") else address, port) for address, port in rays}
    ports = [f"{host}:{port}" for host, port in hosts]
    told = lab.run(node, [sys.executable, str(KNOCK), str(token_file), *ports], user="ada", timeout=200).stdout
    answers: dict[str, dict[str, list[str]]] = json.loads(told)
    gone = [port for port, kinds in answers.items() if not kinds]
    assert not {int(port.rpartition(":")[2]) for port in gone} & {port for _, port in listeners(lab, node)}, answers
    for kinds in answers.values():
        for kind, (with_it, *without) in kinds.items():
            refused = ["401", "403"] if kind == "page" else ["UNAUTHENTICATED"] * 2
            assert without == refused, answers
            assert with_it not in refused, answers
    return {kind for kinds in answers.values() for kind in kinds}


def said_to_a_stranger(lab: Lab, address: str, environment: dict[str, str]) -> str:
    """Return what another user's Ray is told, up to the refusal: it goes on trying for minutes."""
    knock = ["timeout", "--signal=KILL", "45", sys.executable, "-c", CONNECT, address]
    process = lab.popen("n2", ["sh", "-c", f"{shlex.join(knock)} 2>&1"], env=environment, user="bob")
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "nauthenticated" in line:
            break
    process.kill()
    return said


def is_the_search(lab: Lab, node: str, path: str) -> bool:
    return lab.run(node, ["test", "-e", path], check=False).returncode != 0


def test_a_sweep_on_one_node_is_bound_to_loopback(lab: Lab, write_tables: WriteTables, tmp_path: Path) -> None:
    sweep = Sweep(lab, prepare(lab.shared / tmp_path.name, write_tables, lab, "bob"), "bob", n_trials=8)
    before = {node: listeners(lab, node) for node in ("n1", "n2")}
    job = sweep.submitted("--nodes", 1)
    sweep.wait_for_ends(1, job)
    (node,) = sweep.nodes()
    opened = listeners(lab, node) - before[node]
    assert opened, "Ray listens somewhere"
    # srun listens for its step's output; it is SLURM's, and asks for munge's credentials.
    ours = {(address, port) for address, port in opened if not is_slurms(lab, node, port)}
    assert ours
    assert {address for address, _ in ours} <= {"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"}, ours
    sweep.wait_for_the_job(job)
    sweep.require_complete()


def is_slurms(lab: Lab, node: str, port: int) -> bool:
    line = lab.run(node, ["ss", "-tlnpH", f"sport = :{port}"]).stdout
    return any(name in line for name in ('"srun"', '"slurmstepd"', '"slurmd"'))
