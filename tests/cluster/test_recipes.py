"""Files for clouds: valid by the schemas of those who read them, and as the documentation shows them."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import ROOT, commands_of

from cpivae.cli.main import main
from cpivae.cluster.ray_jobs import Order
from cpivae.cluster.recipes import Fleet, aws, kuberay
from cpivae.errors import CpivaeError

OF_MACHINES = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


def closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object that has these properties and no other."""
    properties = {**required, **optional}
    return {
        "type": "object", "required": list(required), "properties": properties, "additionalProperties": False,
    }  # fmt: skip


TEXT, WHOLE, TEXTS = {"type": "string"}, {"type": "integer"}, {"additionalProperties": {"type": "string"}}
OF_RAYJOB = closed(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": closed({"name": {"type": "string", "maxLength": 47}}),
        "spec": closed(
            {
                "entrypoint": TEXT,
                "rayClusterSpec": closed(
                    {
                        "headGroupSpec": closed({"rayStartParams": TEXTS, "template": {"type": "object"}}),
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": closed(
                                {"groupName": TEXT, "rayStartParams": TEXTS, "template": {"type": "object"}},
                                replicas=WHOLE, minReplicas=WHOLE, maxReplicas=WHOLE,
                            ),
                        },
                        "rayVersion": TEXT,
                    },
                    authOptions=closed({"mode": {"enum": ["token", "disabled"]}}),
                ),
            },
            runtimeEnvYAML=TEXT, shutdownAfterJobFinishes={"type": "boolean"}, backoffLimit=WHOLE,
        ),
    }
)  # fmt: skip
"""The fields of KubeRay's API reference (ray.io/v1) that a sweep's job uses, with their types."""


def order(*words: str) -> Order:
    return Order("", Path("unused"), ["tune", *words], None, {"pip": ["cpivae"]})


def fleet(**more: Any) -> Fleet:
    return Fleet(**{"name": "sweep", "image": "lab/cpivae:1", "workers": 3, "cpus": 8, "memory": "32Gi"} | more)


def require_valid_rayjob(text: str) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(text)
    jsonschema.validate(spec, OF_RAYJOB)
    cluster = spec["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, "1.30", strict=True)
    return spec


@pytest.mark.parametrize("more", [{}, {"gpus": 2}, {"claim": "tables", "secret": "bucket"}])
def test_a_rayjob_is_one_and_asks_for_what_was_asked(more: dict[str, Any]) -> None:
    spec = require_valid_rayjob(kuberay(order("--config", "default"), fleet(**more), "2.60.0"))["spec"]
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    limits = {"cpu": "8", "memory": "32Gi"} | ({"nvidia.com/gpu": "2"} if "gpus" in more else {})
    assert container["resources"]["limits"] == limits
    assert workers["replicas"] == 3
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert ("volumeMounts" in container) == ("claim" in more) == ("envFrom" in container)
    assert yaml.safe_load(spec["runtimeEnvYAML"])["pip"] == ["cpivae"]
    assert shlex.split(spec["entrypoint"]) == [
        *(
            "exec",
            "python",
            "-m",
            "cpivae",
            "tune",
            "--config",
            "default",
            "--resume",
            "--address",
            "auto",
            "--nodes",
            "4",
        )
    ]


def test_the_validation_would_notice() -> None:
    text = kuberay(order(), fleet(), "2.60.0")
    for right, wrong in (
        ("  entrypoint:", "  entrypiont:"),
        ("cpu: '8'", "cpu: [8]"),
        ("image:", "imgae:"),
        ("backoffLimit: 5", "backoffLimit: five"),
    ):
        assert right in text
        with pytest.raises(Exception, match=r"entrypiont|\[8\]|imgae|five"):
            require_valid_rayjob(text.replace(right, wrong))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(aws(order(), fleet(), "").replace("max_workers", "most")), OF_MACHINES)


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_cluster_file_is_one(gpus: int) -> None:
    text = aws(order("--config", "default"), fleet(gpus=gpus), "2.60.0")
    spec = yaml.safe_load(text)
    jsonschema.validate(spec, OF_MACHINES)
    assert spec["available_node_types"]["trials"]["min_workers"] == 3
    assert spec["available_node_types"]["trials"]["resources"] == {"CPU": 8, "GPU": gpus}
    assert all("RAY_AUTH_MODE=token" in spec[f"{kind}_start_ray_commands"][1] for kind in ("head", "worker"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=4))
def test_no_name_breaks_out(words: list[str]) -> None:
    spec = require_valid_rayjob(kuberay(order(*words), fleet(), "2.60.0"))
    assert shlex.split(spec["spec"]["entrypoint"])[5:-5] == words
    text = aws(order(*words), fleet(), "")
    jsonschema.validate(yaml.safe_load(text), OF_MACHINES)
    (line,) = [line for line in text.split("\n") if line.startswith("#   ray exec")]
    inner = shlex.split(line.removeprefix("#"))[-1].partition("; exec ")[2]
    assert shlex.split(inner)[4:-5] == words


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "My sweep"}, "'My sweep' names no cluster"),
        ({"name": "a" * 48}, "at most 47"),
        ({"memory": "32GB"}, "'32GB' is no amount of memory"),
        ({"memory": "0Gi"}, "no amount"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(CpivaeError, match=re.escape(said)):
        fleet(**more)


@pytest.mark.parametrize("kind", ["kuberay", "aws"])
def test_the_documented_recipes_are_what_is_rendered(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = [c for c in commands_of("docs/clusters.md") if f"submit recipe {kind}" in c]
    words, _, target = command.partition(" > ")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(shlex.split(words)[1:])
    shown = (ROOT / target.strip()).read_text()
    assert capsys.readouterr().out == re.sub(r"rayVersion: .*", f"rayVersion: {version('ray')}", shown)
