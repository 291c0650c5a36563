"""The Ray cluster of a sweep: a private one on this machine, or one that is there already."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from cpivae.errors import InterruptedSweepError, ResourceError
from cpivae.names import TEMPORARY, TEMPORARY_PREFIX
from cpivae.training.hardware import cpus, gpus
from cpivae.tuning.interrupts import handlers_kept
from cpivae.tuning.leftovers import clear_up_after_the_dead
from cpivae.tuning.place import Node, Place
from cpivae.tuning.ray_environment import OF_ALL
from cpivae.tuning.token import make_private_token


def require_ray() -> None:
    """Notice that Ray's own processes are gone; Ray itself would wait for them, for minutes or for ever."""
    node = ray._private.worker._global_node
    gone = {name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"} if node is not None else set()
    if gone:
        raise InterruptedSweepError(
            f"a process of Ray ({', '.join(sorted(gone))}) has ended, and the sweep with it. No finished trial is "
            "lost: the same command with --resume goes on."
        )


@contextmanager
def local_ray(data_bytes: int) -> Iterator[None]:
    """Start a Ray of our own on this machine, with room for the data, and end it.

    Raises
    ------
    ResourceError
        The machine lacks something that Ray needs.
    """
    if shutil.which("bash") is None:
        raise ResourceError(
            "there is no bash on PATH, and Ray starts its workers with it: it would wait for them for ever. "
            "Install it, or set PATH."
        )
    clear_up_after_the_dead(TEMPORARY)
    make_private_token()
    temporary = tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{os.getpid()}-", dir=TEMPORARY)
    try:
        _init(
            address="local",  # never somebody else's cluster
            num_cpus=cpus(),
            num_gpus=gpus(),
            include_dashboard=False,
            object_store_memory=int(1.5 * data_bytes) + 200 * 2**20,
            _temp_dir=temporary,
        )
        yield
    finally:
        _shut_down()
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def joined_ray(address: str, n_nodes: int = 1) -> Iterator[Place]:
    """Join a Ray cluster, wait until it has so many nodes, and leave it at the end.

    A cluster with tokens is joined with the one that ``RAY_AUTH_TOKEN_PATH`` names, under ``RAY_AUTH_MODE=token``.

    Raises
    ------
    ResourceError
        Nobody answers there, or it refuses the token.
    """
    _require_answer(address)
    try:
        _init(address=address, runtime_env={"env_vars": OF_ALL})
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ResourceError(
            f"no Ray cluster can be joined at {address}: {reason} Check the address, that the cluster runs the same "
            "versions of Ray and Python, and its token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)."
        ) from None
    try:
        yield Place(_nodes(n_nodes), f"the cluster at {address}", address)
    finally:
        _shut_down()


def _require_answer(address: str) -> None:
    """Notice in seconds that nobody is there; Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", or something that Ray knows about
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TO_ANSWER).close()
    except OSError as error:
        raise ResourceError(
            f"no Ray cluster can be joined at {address}: {error.strerror or error}. Check the address, which ray start "
            "--head prints, and that this machine reaches it."
        ) from None


def _nodes(n_nodes: int) -> tuple[Node, ...]:
    """Wait for nodes that are still starting; go on with those that are there when they take too long."""
    until = time.monotonic() + WAIT_FOR_NODES
    while True:
        there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if len(there) >= n_nodes or time.monotonic() > until:
            if len(there) < n_nodes:
                told = f"warning: {len(there)} of {n_nodes} nodes have joined; going on with them, others may follow"
                print(told, file=sys.stderr)
            return tuple(Node(r.get("CPU", 0), r.get("GPU", 0), r.get("memory")) for r in there)
        time.sleep(0.2)


def _init(**options: Any) -> None:
    with handlers_kept():
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    # What happens to a trial is told by our own listener, in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def _shut_down() -> None:
    with handlers_kept():
        ray.shutdown()


WAIT_FOR_NODES = 600
"""Seconds; machines of a cloud take minutes to come."""
_TO_ANSWER = 10
"""Seconds."""
