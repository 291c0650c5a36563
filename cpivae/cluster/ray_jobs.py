"""A sweep's job of a Ray cluster that is there already, by the cluster's job interface (``http://head:8265``)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from shlex import join
from typing import Any

from cpivae.cluster.handed_over import Standing, handing_over, remember
from cpivae.errors import CpivaeError, ResourceError

_LIVING = ("PENDING", "RUNNING")
_STOPS_BY_ITSELF = 120
"""Seconds that a driver has to stop its trials and write everything down."""


@dataclass(frozen=True)
class Order:
    """A sweep as a job of a Ray cluster."""

    address: str
    """Of the job interface, such as http://head:8265."""
    sweep: Path
    """Its folder."""
    command: Sequence[str]
    """What follows ``cpivae``: ``tune`` and its options."""
    working_dir: Path | None = None
    """Folder that is shipped to the cluster; the command's relative paths lie in it."""
    runtime_env: dict[str, Any] = field(default_factory=dict)
    """What Ray is to install or set, as its documentation describes."""

    @property
    def entrypoint(self) -> str:
        """The line that the head's shell runs; Ray tells it where the cluster is."""
        return self.line('"$RAY_ADDRESS"')

    def line(self, address: str) -> str:
        """Return the line for a shell; ``address`` is what stands in it for the cluster's."""
        return f"exec python -m cpivae {join(self.command)} --resume --address {address}"

    def environment(self) -> dict[str, Any]:
        """Return the job's ``runtime_env``."""
        # Ray would kill a driver that is still stopping its trials after three seconds.
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOPS_BY_ITSELF), **self.runtime_env.get("env_vars", {})}
        shipped = {} if self.working_dir is None else {"working_dir": str(self.working_dir)}
        return {**self.runtime_env, "env_vars": variables, **shipped}


def submit(order: Order) -> str:
    """Hand a job over and return its name.

    Raises
    ------
    ResourceError
        Nobody answers there, and nothing is left behind; or it does not take the job.
    """
    name = f"cpivae-{token_hex(6)}"
    with handing_over(order.sweep, CpivaeError), _asking(order.address):
        pass  # somebody is there, and a job can be recorded
    # First, because a job that is not recorded could be neither asked nor ended; one that nobody knows has ended.
    remember(order.sweep, "ray", name, address=order.address, command=list(order.command))
    with _asking(order.address) as client:
        client.submit_job(entrypoint=order.entrypoint, runtime_env=order.environment(), submission_id=name)
    return name


class RayJob:
    """A job that a Ray cluster has."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name

    def standing(self) -> Standing:
        try:
            with _asking(self.address) as client:
                told = client.get_job_info(self.name)
        except ResourceError as error:
            if "does not exist" not in str(error):
                raise
            return Standing("GONE", False, f"{self.address} knows it no longer")
        state = str(told.status.value)
        return Standing(state, state in _LIVING, f"{state.lower()}, at {self.address}: {told.message or ''}")

    def log(self, *, follow: bool) -> Iterator[str]:
        printed = 0
        while True:
            lives = self.standing().lives  # asked first, so that nothing is missed
            with _asking(self.address) as client:
                lines = client.get_job_logs(self.name).splitlines(keepends=True)
            whole = lines if not lives or not lines or lines[-1].endswith("\n") else lines[:-1]
            yield from whole[printed:]
            printed = len(whole)
            if not follow or not lives:
                return
            time.sleep(2)

    def cancel(self) -> str:
        if not (now := self.standing()).lives:
            return f"job {self.name} has ended already ({now.state.lower()})"
        with _asking(self.address) as client:
            client.stop_job(self.name)
        until = time.monotonic() + _STOPS_BY_ITSELF + 30
        while time.monotonic() < until:
            time.sleep(1)
            if not self.standing().lives:
                return f"job {self.name} has stopped; cpivae submit ray with --resume in the tune command goes on"
        return f"job {self.name} was asked to stop, and has not yet"


@contextmanager
def _asking(address: str) -> Iterator[Any]:
    """Yield a client; what it meets is told in a sentence."""
    if {"RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise CpivaeError(
            f"jobs of a Ray cluster need more of Ray than is installed ({error}): pip install 'cpivae[ray-jobs]'."
        ) from None
    try:
        yield JobSubmissionClient(address)
    except Exception as error:  # Ray's client raises many kinds, those of its own and of what it is built on
        reason = next((line for line in map(str.strip, str(error).splitlines()) if line), type(error).__name__)
        raise ResourceError(
            f"{address} does not do what it is asked: {reason} Check the address of the job interface (port 8265 as a "
            "rule), and the cluster's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)."
        ) from None
