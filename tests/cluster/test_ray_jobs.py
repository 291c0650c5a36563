"""Sweeps as jobs of a Ray cluster that is there already: one that the test starts, with a token."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from cpivae.cluster.handed_over import jobs_of
from cpivae.tuning.folder import SweepFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

WriteTables = Callable[..., None]
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Cluster:
    """A head of one node."""

    address: str
    environment: dict[str, str]
    home: Path
    python: str

    def cpivae(self, *words: object, check: bool = True, with_token: bool = True) -> subprocess.CompletedProcess[str]:
        environment = os.environ | (self.environment if with_token else {"HOME": str(self.home)})
        done = subprocess.run(
            [self.python, "-m", "cpivae", *map(str, words)],
            cwd=self.home, env=environment, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment that has this one's packages, and what a cluster with a job interface needs beyond them."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "this.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    interpreter = str(folder / "bin" / "python")
    install = [interpreter, "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run([*install, "ray[default]"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ray[default] cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return interpreter


@pytest.fixture(scope="module")
def cluster(write_tables: WriteTables, tmp_path_factory: pytest.TempPathFactory, python: str) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("home")
    write_tables(home)
    (home / "tables").mkdir()
    for platform in ("a", "b"):
        (home / f"{platform}.csv").rename(home / "tables" / f"{platform}.csv")
    token = home / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    port = free_port()
    environment = {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "PYTHONPATH": str(ROOT), "PATH": f"{Path(python).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="cpt-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        head = subprocess.Popen(
            [
                *(python, "-m", "ray.scripts.scripts", "start", "--head", "--port=0", "--block"),
                "--num-cpus=3",
                *("--include-dashboard=true", f"--dashboard-port={port}", f"--temp-dir={temporary}"),
                *("--object-store-memory=100000000", f"--ray-client-server-port={free_port()}"),
                "--dashboard-agent-listen-port=0",
            ],
            env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_it_answers(address, head)
            yield Cluster(address, environment, home, python)
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(30)


def wait_until_it_answers(address: str, head: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and head.poll() is None:
        try:
            urlopen(f"{address}/api/version", timeout=5)
        except HTTPError:
            return  # it wants a token
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError("the cluster does not answer")


def tune(cluster: Cluster, *words: object, study: str, n_trials: int = 4, max_epochs: int = 3) -> list[object]:
    return [
        *("tune", "--no_report", "--config", "default", "--search_space", "smoke", "--platform_a", "tables/a.csv"),
        *("--platform_b", "tables/b.csv", "--output_dir", cluster.home / "sweeps", "--study_name", study, "--no_check"),
        *("--n_trials", n_trials, "--max_epochs", max_epochs, "--set", "logging.tensorboard=false", *words),
    ]


def test_a_sweep_is_shipped_run_and_looked_at(cluster: Cluster) -> None:
    sweep = SweepFolder(cluster.home / "sweeps" / "shipped")
    said = cluster.cpivae(
        "submit", "ray", "--address", cluster.address, "--working_dir", "tables", "--", *tune(cluster, study="shipped")
    ).stdout
    (job,) = jobs_of(sweep.path)
    assert f"job {job['job']} is handed over" in said
    assert job["command"][3:5] == ["--platform_a", "a.csv"], "paths in the shipped folder are relative to it"
    log = cluster.cpivae("submit", "logs", "-f", sweep.path).stdout
    assert "best of 4 trials" in log
    status = cluster.cpivae("submit", "status", sweep.path).stdout
    assert f"job     {job['job']}: succeeded, at {cluster.address}" in status
    assert "trials  4 of 4: 4 complete" in status
    assert (sweep.best_bundle / "weights.safetensors").is_file()


def test_a_job_that_is_cancelled_stops_cleanly_and_is_gone_on_with(cluster: Cluster) -> None:
    sweep = SweepFolder(cluster.home / "sweeps" / "cancelled")
    words = tune(cluster, "--set", "training.batch_size=4", study="cancelled", n_trials=8, max_epochs=60)
    order = ("submit", "ray", "--address", cluster.address, "--", *words)
    cluster.cpivae(*order)
    again = cluster.cpivae(*order, check=False)
    assert again.returncode == 2
    assert "has the sweep in" in again.stderr
    end = time.monotonic() + 100
    while not (sweep.journal.is_file() and '"event":"epoch"' in sweep.journal.read_text()):
        assert time.monotonic() < end, cluster.cpivae("submit", "logs", sweep.path).stdout
        time.sleep(0.5)
    assert "has stopped" in cluster.cpivae("submit", "cancel", sweep.path).stdout
    assert "interrupted" in cluster.cpivae("submit", "status", sweep.path).stdout
    assert "The same command with --resume goes on" in cluster.cpivae("submit", "logs", sweep.path).stdout


def test_without_the_token_nothing_is_told(cluster: Cluster) -> None:
    words = tune(cluster, study="refused")
    done = cluster.cpivae("submit", "ray", "--address", cluster.address, "--", *words, check=False, with_token=False)
    assert done.returncode == 2
    assert "does not do what it is asked" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (cluster.home / "sweeps" / "refused").exists()


def test_an_address_where_nobody_is(cluster: Cluster) -> None:
    words = tune(cluster, study="nobody")
    done = cluster.cpivae("submit", "ray", "--address", "http://127.0.0.1:9", "--", *words, check=False)
    assert done.returncode == 2
    assert "http://127.0.0.1:9 does not do what it is asked" in done.stderr
    done = cluster.cpivae(*tune(cluster, "--address", "127.0.0.1:9", study="nobody"), check=False)
    assert done.returncode == 2
    assert "no Ray cluster can be joined at 127.0.0.1:9" in done.stderr


def test_results_in_the_shipped_folder_would_be_lost(cluster: Cluster) -> None:
    words = tune(cluster, study="lost")
    done = cluster.cpivae(
        "submit", "ray", "--address", cluster.address, "--working_dir", ".", "--", *words, check=False
    )
    assert done.returncode == 2
    assert "results would be lost" in done.stderr
