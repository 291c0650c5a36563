"""Files that start a Ray cluster in a cloud and run a sweep on it: a RayJob of KubeRay, or machines by ``ray up``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from typing import Any

from cpivae.cluster.ray_jobs import Order
from cpivae.config.yaml import dump_yaml
from cpivae.errors import CpivaeError

DATA = "/data"
"""Where the tables are, in every container."""
_TOKEN = "~/.ray/auth_token"
"""Where Ray looks for a token that nothing else names."""
_NEVER_RUN = "Rendered from the schema, not tried on a cluster of this kind: read it before you use it."


@dataclass(frozen=True)
class Fleet:
    """What the cluster of a recipe is made of."""

    name: str
    image: str
    """Container image with cpivae in it, and the version of Ray that renders this."""
    workers: int
    cpus: int
    """Of each worker; the head trains nothing."""
    memory: str
    """Of each worker, as Kubernetes writes it: 32Gi."""
    gpus: int = 0
    """Of each worker."""
    claim: str = ""
    """KubeRay: the PersistentVolumeClaim that has the tables, mounted at ``/data``."""
    secret: str = ""
    """KubeRay: the Secret whose keys become environment variables, such as those of a bucket."""
    region: str = "us-east-1"
    """AWS: where the machines are."""
    machine: str = "g5.2xlarge"
    """AWS: the type of a worker."""
    head_machine: str = "m6i.xlarge"
    """AWS: the type of the head."""

    def __post_init__(self) -> None:
        """Refuse what Kubernetes would refuse, or take for something else."""
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,45}[a-z0-9])?", self.name):
            raise CpivaeError(
                f"'{self.name}' names no cluster: at most 47 small letters, digits and '-' are allowed, beginning and "
                "ending with a letter or digit. Give another --name."
            )
        if not re.fullmatch(r"[1-9]\d*(\.\d+)?(Ki|Mi|Gi|Ti|k|M|G|T)?", self.memory):
            raise CpivaeError(f"'{self.memory}' is no amount of memory for Kubernetes; write 32Gi.")


def kuberay(order: Order, fleet: Fleet, ray_version: str) -> str:
    """Return a RayJob of KubeRay (ray.io/v1, 1.5.1 or newer) that starts a cluster, runs the sweep and ends it."""
    spec = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": fleet.name},
        "spec": {
            "entrypoint": _entrypoint(order, fleet),
            "runtimeEnvYAML": dump_yaml(order.environment()),
            "shutdownAfterJobFinishes": True,
            # A lost head is another cluster, on which --resume goes on.
            "backoffLimit": 5,
            "rayClusterSpec": {
                "rayVersion": ray_version,
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},
                    "template": _pod(fleet, "ray-head", cpus=2, memory="8Gi", gpus=0),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "trials",
                        **dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), fleet.workers),
                        "rayStartParams": {},
                        "template": _pod(fleet, "ray-worker", cpus=fleet.cpus, memory=fleet.memory, gpus=fleet.gpus),
                    }
                ],
            },
        },
    }
    told = [_NEVER_RUN, f"kubectl apply -f THIS_FILE; kubectl get rayjob {fleet.name}"]
    return _commented(told, spec)


def aws(order: Order, fleet: Fleet, ray_version: str) -> str:  # noqa: ARG001
    """Return a cluster file for ``ray up``: virtual machines of a cloud, a head and workers that come at once."""
    export = "export RAY_AUTH_MODE=token"
    spec = {
        "cluster_name": fleet.name,
        "max_workers": fleet.workers,
        "provider": {"type": "aws", "region": fleet.region},
        "docker": {
            "image": fleet.image,
            "container_name": "cpivae",
            "run_options": ["--shm-size=8g"],
            **({"worker_run_options": ["--gpus=all"]} if fleet.gpus else {}),
        },
        "file_mounts": {_TOKEN: _TOKEN},
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 0}, "node_config": {"InstanceType": fleet.head_machine}},
            "trials": {
                "resources": {"CPU": fleet.cpus, "GPU": fleet.gpus},
                "node_config": {"InstanceType": fleet.machine},
                "min_workers": fleet.workers,
                "max_workers": fleet.workers,
            },
        },
        "head_start_ray_commands": [
            "ray stop",
            f"{export}; ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{export}; ray start --address=$RAY_HEAD_IP:6379"],
    }
    told = [
        _NEVER_RUN,
        "A token of your own, then the machines, the sweep, and their end:",
        "  ray get-auth-token --generate",
        "  ray up THIS_FILE",
        f"  ray rsync-up THIS_FILE YOUR_TABLES/ {DATA}/",
        f"  ray exec THIS_FILE {quote(f'{export}; {_entrypoint(order, fleet)}')}",
        "  ray down THIS_FILE",
    ]
    return _commented(told, spec)


def _entrypoint(order: Order, fleet: Fleet) -> str:
    # It runs on the head, where Ray finds its own cluster; a variable would be read by whichever shell comes first.
    return f"{order.line('auto')} --nodes {fleet.workers + 1}"


def _pod(fleet: Fleet, name: str, *, cpus: int, memory: str, gpus: int) -> dict[str, Any]:
    amounts = {"cpu": str(cpus), "memory": memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    container: dict[str, Any] = {
        "name": name,
        "image": fleet.image,
        "resources": {"limits": amounts, "requests": dict(amounts)},
    }
    pod: dict[str, Any] = {"containers": [container]}
    if fleet.secret:
        container["envFrom"] = [{"secretRef": {"name": fleet.secret}}]
    if fleet.claim:
        container["volumeMounts"] = [{"name": "tables", "mountPath": DATA}]
        pod["volumes"] = [{"name": "tables", "persistentVolumeClaim": {"claimName": fleet.claim}}]
    return {"spec": pod}


def _commented(lines: list[str], spec: dict[str, Any]) -> str:
    return "".join(f"# {line}\n" for line in "\n".join(lines).splitlines()) + dump_yaml(spec)
