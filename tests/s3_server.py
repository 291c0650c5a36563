"""An S3 interface on this machine, from a package in an environment of its own: its pins are not this project's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PACKAGES = ("moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
_MAKE_BUCKET = """
import sys
from pyarrow import fs
system, path = fs.FileSystem.from_uri(f"s3://{sys.argv[1]}?allow_bucket_creation=true")
system.create_dir(path)
"""
Start = Callable[[Sequence[str], dict[str, str]], Any]
"""Starts a command with additions to its environment and returns its process."""


def on_this_machine(command: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["env", *(f"{name}={value}" for name, value in environment.items()), *command])


@contextmanager
def s3_server(
    folder: Path, bucket: str, start: Start = on_this_machine, host: str = "127.0.0.1"
) -> Iterator[dict[str, str]]:
    """Run a server with one empty bucket; yield what its users need in their environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "pip"), "install", "--quiet", *_PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"moto cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    log = folder / "server.log"
    log.touch()
    serve = f"exec {folder}/bin/python {folder}/bin/moto_server -H {host} -p 0 > {log} 2>&1"
    server = start(["sh", "-c", serve], {})
    try:
        environment = {
            "AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": _address(log, server),
        }  # fmt: skip
        assert start([sys.executable, "-c", _MAKE_BUCKET, bucket], environment).wait(60) == 0
        yield environment
    finally:
        server.terminate()
        server.wait(20)


def _address(log: Path, server: Any) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        for line in log.read_text().splitlines():
            if "Running on " in line:
                return line.rpartition("Running on ")[2].strip()
        time.sleep(0.1)
    raise AssertionError(f"the server does not answer: {log.read_text()}")
