"""GPUs of a job: each trial sees its own, and no other trial that runs beside it does.  The devices are not real."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path

import pytest
from jobs import REPOSITORY
from lab import LOGIN, Lab

from cpivae.cluster.script import Job, batch_script
from cpivae.config.slurm import SlurmSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DRIVER = """
import json, os, socket, sys, time
from contextlib import closing
from pathlib import Path

if sys.argv[1:3] != ["-m", "cpivae"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])  # whatever is not the driver is the real thing

from cpivae.tuning.ray_environment import set_ray_environment

set_ray_environment(loopback=False)
from ray import tune

from cpivae.config.load import load_config
from cpivae.config.space import make_space
from cpivae.tuning import engine
from cpivae.tuning.budget import Stopper
from cpivae.tuning.clusters import joined_ray
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.sweep import sweep_config

words = dict(zip(sys.argv, sys.argv[1:]))
seen = Path({seen!r})

def trial(proposed):
    begun, node = time.time(), socket.gethostname()
    (seen / node).touch()
    while not all((seen / name).exists() for name in ("n1", "n2")) and time.time() < begun + 90:
        time.sleep(0.2)  # a process may start later on one node than on the other
    time.sleep(1.5)
    told = dict(node=node, gpus=os.environ.get("CUDA_VISIBLE_DEVICES"), begun=begun, ended=time.time())
    told["threads"] = os.environ.get("OMP_NUM_THREADS")
    (seen / f"{{proposed['number']}}.json").write_text(json.dumps(told))
    tune.report(dict(epoch=0, score=0.5, score_sd=float("nan"), best_epoch=0, last=True, diverged=False))

with joined_ray(words["--address"], int(words["--nodes"])) as place:
    config = sweep_config(load_config("default", ["tuning.n_trials=12", "tuning.gpus_per_trial={share}"]), place)
    folder = SweepFolder(Path({sweep!r}))
    folder.create()
    with closing(Journal(folder.journal)) as journal:
        ledger = Ledger(folder, config.tuning.goal(), None, journal)
        space = make_space({{"model.latent_dim": {{"randint": [2, 64]}}}}, config, "space")
        engine.run(config, space, trial, ledger, place.trials(config.tuning), Stopper(config.tuning, ledger))
"""


@pytest.mark.parametrize("share", [1, 0.5])
def test_each_trial_sees_its_own_gpu_and_a_gpu_has_no_more_trials_than_fit(
    lab: Lab, tmp_path: Path, share: float
) -> None:
    home = lab.shared / tmp_path.name
    seen, sweep = home / "seen", home / "sweep"
    (sweep / "cluster").mkdir(parents=True)
    seen.mkdir()
    python = home / "python"
    text = DRIVER.format(python=sys.executable, seen=str(seen), sweep=str(sweep), share=share)
    python.write_text(f"#!{sys.executable}\n{text}")
    python.chmod(0o755)
    settings = SlurmSettings(
        nodes=2, gpus_per_node=2, cpus_per_node=4, mem_per_node="2G", env=(f"export PYTHONPATH={REPOSITORY}",)
    )
    script = sweep / "cluster" / "job.sh"
    script.write_text(batch_script(Job(settings, "gpus", sweep, home, ["tune"], str(python))))
    number = lab.run(LOGIN, ["sbatch", "--parsable", str(script)]).stdout.strip()
    lab.wait_for_job(number, timeout=200)

    trials = [json.loads(file.read_text()) for file in seen.glob("*.json")]
    assert len(trials) == 12
    assert {t["gpus"] for t in trials} == {"0", "1"}
    assert {t["threads"] for t in trials} == {"1"}, "one CPU each, and so many threads of numerical libraries"
    assert {t["node"] for t in trials} == {"n1", "n2"}
    for t in trials:
        beside = [u for u in trials if (u["node"], u["gpus"]) == (t["node"], t["gpus"]) and overlap(t, u)]
        assert len(most_at_once(beside)) <= round(1 / share)
    assert any(overlap(t, u) for t, u in combinations(trials, 2)), "trials run side by side"


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return one["begun"] < other["ended"] and other["begun"] < one["ended"]


def most_at_once(trials: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the largest set of trials that all run at one moment."""
    moments = [[t for t in trials if t["begun"] <= at["begun"] < t["ended"]] for at in trials]
    return max(moments, key=len)
