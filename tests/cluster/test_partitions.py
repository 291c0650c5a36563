"""What a cluster has, as its sinfo tells it, and what a job asks for that it has not."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from jobs import REPOSITORY
from lab import LOGIN, MakeLab

from cpivae.cluster import partitions as module
from cpivae.cluster.partitions import Nodes, Partition, partitions, problems_of
from cpivae.cluster.slurm import SlurmError, minutes
from cpivae.config.slurm import SlurmSettings

GPU = Partition("gpu", False, True, (Nodes(4, 64, 512_000, {"a100": 4}),), 2880, 2880)
MIXED = Partition("mixed", True, True, (Nodes(1, 128, 512_000, {"2080ti": 8}), Nodes(20, 16, 64_000, {})), 600, 2)


def told(*there: Partition, **asked: Any) -> list[str]:
    return problems_of(SlurmSettings(**{"time": "1:00:00", **asked}), there)


def test_what_fits_is_not_complained_about() -> None:
    each = {"gpus_per_node": 4, "gpu_type": "a100", "mem_per_node": "500G"}
    assert told(GPU, partition="gpu", nodes=4, time="2-0", **each) == []
    assert told(MIXED, nodes=21, cpus_per_node=16, mem_per_node="60G") == []
    assert told(MIXED, nodes=1, cpus_per_node=128, gpus_per_node=8, gpu_type="2080ti") == []


def test_a_job_is_warned_within_its_time() -> None:
    (problem,) = told(GPU, partition="gpu", time="5")
    assert "warned 5 minutes before its end, and may run 5 minutes in all" in problem
    (problem,) = told(GPU, partition="gpu", time="2-00:01")
    assert "longer than partition gpu allows (48:00:00)" in problem


def test_a_job_that_asks_for_no_time_has_what_the_partition_gives_such_jobs() -> None:
    (problem,) = told(MIXED, time=None)
    assert "and may run 2 minutes in all" in problem
    assert told(GPU, partition="gpu", time=None) == []


def test_all_nodes_must_have_all_that_each_is_to_have() -> None:
    (problem,) = told(MIXED, nodes=10, cpus_per_node=64, gpus_per_node=8)
    assert problem.startswith("10 nodes are asked for, and partition mixed has 1 with all that each is to have.")
    (problem,) = told(MIXED, nodes=22)
    assert problem.startswith("22 nodes are asked for, and partition mixed has 21.")


def test_a_job_may_have_less_than_there_is() -> None:
    few = Partition("few", True, True, (Nodes(8, 64, 64_000, {}),), most_nodes=2, most_cpus=16)
    assert told(few, nodes=2, cpus_per_node=16) == []
    assert told(few, nodes=3, cpus_per_node=17) == [
        "3 nodes are asked for, and partition few lets a job have 2. Lower --nodes",
        "17 CPUs in a node are asked for, and partition few lets a job have 16. Lower --cpus_per_node",
    ]
    many = Partition("many", True, True, (Nodes(8, 64, 64_000, {}),), least_nodes=4)
    (problem,) = told(many, nodes=2)
    assert problem == "partition many takes no job of less than 4 nodes. Raise --nodes"
    (problem,) = told(few, mem_per_node="2T")
    assert problem == "2097152 MB of memory in a node are asked for, and partition few has 64000. Lower --mem_per_node"
    (problem,) = told(few, nodes=9)
    assert problem == "9 nodes are asked for, and partition few has 8. Lower --nodes"


def test_of_several_partitions_one_must_do() -> None:
    assert told(MIXED, GPU, partition="mixed,gpu", nodes=4, gpus_per_node=4) == []
    assert told(MIXED, GPU, partition="mixed,gpu", nodes=40, gpus_per_node=1)
    (problem,) = told(MIXED, GPU, partition="mixed,gpus")
    assert problem == "there is no partition 'gpus'. Did you mean 'gpu'? There are mixed, gpu"


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("gpu:4", {"": 4}),
        ("gpu:2080ti:8", {"2080ti": 8}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2(S:0),gpu:a100:2(S:1),gpu:t4:1", {"a100": 4, "t4": 1}),
        ("fpga:2,gpu:nvidia_a100-sxm4-80gb:8,nvme:1", {"nvidia_a100-sxm4-80gb": 8}),
        ("gpu:1g.5gb:7,shard:28", {"1g.5gb": 7}),
        ("gpu:a100:no_consume:4,my-gpu:3", {"a100": 4}),
    ],
)
def test_the_gpus_of_a_node_are_read_by_their_kinds(gres: str, gpus: dict[str, int]) -> None:
    assert module._nodes("4", "64+", "512000+", gres) == Nodes(4, 64, 512_000, gpus)


@pytest.mark.parametrize("variable", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
def test_another_cluster_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "far")
    with pytest.raises(SlurmError, match=f"{variable} is far, and jobs are handed over to this machine's own cluster"):
        partitions()


@pytest.mark.parametrize(
    ("time", "value"),
    [("30", 30), ("30:30", 30.5), ("1:30:00", 90), ("2-12", 3600), ("1-1:30", 1530), ("infinite", float("inf"))],
)
def test_times_are_read_as_slurm_writes_them(time: str, value: float) -> None:
    assert minutes(time) == value


MORE = (
    "NodeName=big CPUs=128 RealMemory=512000 Gres=gpu:2080ti:8 NodeAddr=127.0.0.1 State=DOWN",
    "NodeName=small[1-20] CPUs=16 RealMemory=64000 NodeAddr=127.0.0.1 State=DOWN",
    "PartitionName=mixed Nodes=big,small[1-20] MaxTime=600 DefaultTime=2 State=UP",
    "PartitionName=one Nodes=n1 MinNodes=1 MaxNodes=1 MaxCPUsPerNode=2 MaxTime=60 State=UP",
    "PartitionName=secret Nodes=n1 Hidden=YES MinNodes=1024 State=DOWN",
)
ASK = "from cpivae.cluster.partitions import partitions; print(partitions())"


@pytest.mark.slow
def test_a_real_cluster_is_read_as_it_is(make_lab: MakeLab) -> None:
    lab = make_lab(nodes=1, users=("ada",), more=MORE)
    # What would show only a part of it.
    env = {"PYTHONPATH": str(REPOSITORY), "SINFO_PARTITION": "one", "SINFO_FORMAT": "%P"}
    printed = lab.run(LOGIN, [sys.executable, "-c", ASK], env=env, user="ada").stdout
    there = {p.name: p for p in eval(printed, vars(module) | {"inf": float("inf")})}
    assert there == {
        "main": Partition("main", True, True, (Nodes(1, 4, 4000, {}),), least_nodes=1),
        "mixed": replace(MIXED, default=False, least_nodes=1),
        "one": Partition("one", False, True, (Nodes(1, 4, 4000, {}),), 60, 60, 1, 1, 2),
        "secret": Partition("secret", False, False, (Nodes(1, 4, 4000, {}),), least_nodes=1024),
    }
