"""Knocks at the ports of a Ray with Ray's own calls: ``knock.py TOKEN_FILE HOST:PORT...``.

Prints ``{HOST:PORT: {call: [answer with the token, without one, with a wrong one]}}`` as JSON, for the calls
that a port knows.  What they do with the token shows that they are the right ones, and that its absence is refused.
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
from ray.core.generated import core_worker_pb2, gcs_service_pb2, node_manager_pb2, ray_client_pb2

CALLS = {
    "control store": ("NodeInfoGcsService/GetAllNodeInfo", gcs_service_pb2.GetAllNodeInfoRequest()),
    "raylet": ("NodeManagerService/GetSystemConfig", node_manager_pb2.GetSystemConfigRequest()),
    "objects": ("ObjectManagerService/Pull", None),  # Ray's package has no Python for this one
    "worker": ("CoreWorkerService/NumPendingTasks", core_worker_pb2.NumPendingTasksRequest()),
    "client": ("RayletDriver/ClusterInfo", ray_client_pb2.ClusterInfoRequest()),
}
"""Harmless ones, one for each kind of server that Ray has."""
SECONDS = 5


NODE = ("node_id", "ab" * 28)
"""Whom a stranger to the syncer claims to be; without this, Ray 2.60 aborts before it looks for a token."""


def answer_to(port: str, method: str, request: bytes, headers: list[tuple[str, str]]) -> str:
    with grpc.insecure_channel(port) as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(request, timeout=SECONDS, metadata=headers)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def answer_of_the_syncer(port: str, headers: list[tuple[str, str]]) -> str:
    with grpc.insecure_channel(port) as channel:
        call = channel.stream_stream("/ray.rpc.syncer.RaySyncer/StartSync")
        try:
            next(call(iter(()), timeout=SECONDS, metadata=[*headers, NODE]))
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def answer_of_a_page(port: str, headers: list[tuple[str, str]]) -> str:
    try:
        with urlopen(Request(f"http://{port}/", headers=dict(headers)), timeout=SECONDS) as page:
            return str(page.status)
    except HTTPError as error:
        return str(error.code)
    except (OSError, HTTPException):
        return "none"


def knock(port: str, token: str) -> dict[str, list[str]]:
    tries = [[("authorization", f"Bearer {given}")] if given else [] for given in (token, "", "0" * 64)]
    answers = {
        "page": [answer_of_a_page(port, headers) for headers in tries],
        "syncer": [answer_of_the_syncer(port, headers) for headers in tries],
    }
    for kind, (method, message) in CALLS.items():
        request = b"" if message is None else message.SerializeToString()
        answers[kind] = [answer_to(port, method, request, headers) for headers in tries]
    return {kind: told for kind, told in answers.items() if told[0] not in ("UNIMPLEMENTED", "UNAVAILABLE", "none")}


if __name__ == "__main__":
    token_file, *ports = sys.argv[1:]
    secret = Path(token_file).read_text()
    print(json.dumps({port: knock(port, secret) for port in ports}))
