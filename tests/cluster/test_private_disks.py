"""A sweep over machines that share no folder: what they have in common is a bucket."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import REPOSITORY, prepare
from lab import LOGIN, Lab
from s3_server import s3_server

from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HEAD = "198.51.100.2:6399"
FETCH = """
import sys
from pathlib import Path
from cpivae.tuning.remote import Remote
Remote(sys.argv[1]).fetch(Path(sys.argv[2]))
"""


def test_trials_on_two_machines_meet_in_a_bucket(lab: Lab, write_tables: Callable[..., None], tmp_path: Path) -> None:
    home = prepare(lab.shared / tmp_path.name, write_tables, lab)
    start = lambda command, env: lab.popen(LOGIN, command, env=env)  # noqa: E731
    with s3_server(home / "s3", "lab", start, host=_address_of(lab, LOGIN)) as environment:
        # Their home folders are one here: the cache is where each machine has its own.
        env = environment | {"PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": "/tmp/cache"}
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        small = "--object-store-memory=100000000"
        lab.popen("n1", [*ray, small, "--head", f"--port={HEAD.split(':')[1]}", "--include-dashboard=false"], env=env)
        lab.popen("n2", [*ray, small, f"--address={HEAD}"], env=env)
        command = [
            *(
                sys.executable,
                "-m",
                "cpivae",
                "tune",
                "--no_report",
                "--config",
                "default",
                "--search_space",
                "space.yaml",
            ),
            *("--platform_a", "a.csv", "--platform_b", "b.csv", "--output_dir", "s3://lab/sweeps"),
            *("--study_name", "study", "--no_check", "--n_trials", "12", "--max_epochs", "25", "--address", HEAD),
            *("--nodes", "2", "--set", "training.batch_size=8", "--set", "tuning.asha.grace_period=15"),
        ]
        said = lab.run("n1", command, env=env, cwd=home, timeout=300).stdout
        assert "all of it s3://lab/sweeps/study" in said
        assert not lab.run("n2", ["ls", "/tmp/cache"], check=False).stdout, "nothing is kept on the other machine"
        lab.run(LOGIN, [sys.executable, "-c", FETCH, "s3://lab/sweeps/study", str(home / "copy")], env=env)
    folder = SweepFolder(home / "copy")
    events = list(read_journal(folder.journal))
    assert Counter(e["trial"] for e in events if e["event"] == "ended") == Counter(range(12))
    assert {e["node"] for e in events if "node" in e} == {"n1", "n2"}
    for record in folder.records():
        assert record.state in ("complete", "stopped"), record
        history = folder.trial(record).history()
        assert list(history["epoch"]) == list(range(record.epochs))
        assert history["val_cross_a_corr_mean"].max() == pytest.approx(record.score)
    assert (folder.best_bundle / "weights.safetensors").is_file()


def _address_of(lab: Lab, machine: str) -> str:
    return lab.run(machine, ["hostname", "-I"]).stdout.split()[0]
