"""What a job may ask of SLURM: checked before anything is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cpivae.config.shipped import shipped_folder
from cpivae.config.slurm import SlurmSettings, load_slurm_settings
from cpivae.errors import ConfigError

SHIPPED = shipped_folder("configs") / "cluster" / "slurm.yaml"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"nodes": 0}, "nodes: input should be greater than or equal to 1, got 0"),
    ({"nodse": 2}, "nodse: unknown setting. Did you mean 'nodes'?"),
    ({"nodes": "two"}, "nodes: input should be a valid integer"),
    ({"time": "12 hours"}, "time: is no time that SLURM knows, got '12 hours'; write 12:00:00"),
    ({"mem_per_node": "64GB"}, "mem_per_node: is no size that SLURM knows, got '64GB'; write 64G"),
    ({"partition": "gpu\n#SBATCH --nodes=900"}, "partition: must be one line of text"),
    ({"account": "a\u2028b"}, "account: must be one line of text"),
    ({"partition": ""}, "partition: "),
    ({"extra": ["--signal=KILL"]}, "extra.0: --signal is set by the program; see warn_minutes"),
    ({"extra": ["rm -rf"]}, "extra.0: must be an option of sbatch in its long form, such as --mail-type=END, got"),
    ({"extra": ["-N4"]}, "extra.0: must be an option of sbatch in its long form"),
    ({"extra": ["--part=gpu"]}, "extra.0: --partition is set by the program; see partition"),
    ({"extra": ["--export=NONE"]}, "extra.0: --export is set by the program; what runs on the nodes needs"),
    (
        {"extra": ["--clusters=b"]},
        "extra.0: --clusters is set by the program; jobs are handed over to this machine's own",
    ),
    ({"env": ["one\ntwo"]}, "env.0: must be one line of text"),
]


@pytest.mark.parametrize(("given", "told"), REFUSED, ids=[told[:40] for _, told in REFUSED])
def test_what_is_refused_and_why(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_slurm_settings(None, given)
    assert [told in problem for problem in caught.value.problems] == [True]


def test_what_is_not_settled_is_what_the_users_environment_tells_sbatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCOUNT": "lab", "PARTITION": "gpu", "QOS": "", "TIMELIMIT": "1-0", "NODES": "9"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    file = tmp_path / "ours.yaml"
    file.write_text("partition: cpu\naccount: null\n")
    asked = load_slurm_settings(file, {"constraint": "ib"})
    assert (asked.account, asked.partition, asked.qos, asked.time) == ("lab", "cpu", None, "1-0")
    assert (asked.constraint, asked.nodes) == ("ib", 1)
    monkeypatch.setenv("SBATCH_TIMELIMIT", "UNLIMITED")
    assert load_slurm_settings(file, {}).time == "UNLIMITED"
    monkeypatch.setenv("SBATCH_TIMELIMIT", "soon")
    with pytest.raises(ConfigError, match=r"ours.yaml \(with SBATCH_ACCOUNT, SBATCH_TIMELIMIT of the environment\)"):
        load_slurm_settings(file, {})


@pytest.mark.parametrize("time", ["30", "30:00", "12:00:00", "2-12", "2-12:30", "2-12:30:15"])
def test_every_time_that_slurm_knows_is_taken(time: str) -> None:
    assert load_slurm_settings(None, {"time": time}).time == time


def test_the_shipped_file_holds_the_defaults_and_options_take_precedence(tmp_path: Path) -> None:
    assert load_slurm_settings(SHIPPED, {}) == SlurmSettings()
    file = tmp_path / "ours.yaml"
    file.write_text("partition: gpu\ntime: 12:00:00\nnodes: 4\nmodules: [cuda/12.4]\nshared: [/data]\n")
    asked = load_slurm_settings(file, {"nodes": 2})
    assert (asked.nodes, asked.partition, asked.time, asked.modules) == (2, "gpu", "12:00:00", ("cuda/12.4",))
    assert asked.shared == (Path("/data"),)


def test_a_problem_of_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text("partitoin: gpu\n")
    with pytest.raises(ConfigError, match="Did you mean 'partition'") as caught:
        load_slurm_settings(file, {})
    assert caught.value.source == str(file)
