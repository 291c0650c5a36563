"""Sweeps as jobs of a test's cluster: handed over by the program itself, watched, and checked by their journals."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import ENDED, LOGIN, Lab
from namespaces import Command

from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import read_journal

SPACE = """
model.latent_dim: {randint: [2, 16]}
training.learning_rate: {loguniform: [1e-4, 1e-2]}
"""
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Sweep:
    """A sweep of small models, of which every epoch takes a while."""

    lab: Lab
    home: Path
    user: str = "root"
    n_trials: int = 16
    max_epochs: int = 30
    tune: Sequence[object] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the user, beside the usual."""
    study: str = "study"
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.home / "sweeps" / self.study)

    def command(self) -> list[str]:
        words = [
            *("tune", "--no_report", "--config", "default", "--search_space", "space.yaml", "--platform_a", "a.csv"),
            *("--platform_b", "b.csv", "--output_dir", "sweeps", "--study_name", self.study, "--no_check"),
            *("--n_trials", self.n_trials, "--max_epochs", self.max_epochs, "--set", "logging.tensorboard=false"),
            *("--set", "training.batch_size=8", "--set", "tuning.checkpoint_seconds=0"),
            # Long enough for a node that starts late to get its share.
            *("--set", "tuning.asha.grace_period=15", *self.tune),
        ]
        return list(map(str, words))

    def cpivae(self, *words: object, check: bool = True, timeout: float = 120) -> Any:
        """Run a command of the program on the login machine."""
        command = [sys.executable, "-m", "cpivae", *map(str, words)]
        env = {"PYTHONPATH": str(REPOSITORY), **self.environment}
        return self.lab.run(LOGIN, command, env=env, user=self.user, cwd=self.home, check=check, timeout=timeout)

    def cpivae_started(self, *words: object) -> Command:
        """Start a command of the program on the login machine."""
        command = [sys.executable, "-m", "cpivae", *map(str, words)]
        env = {"PYTHONPATH": str(REPOSITORY), **self.environment}
        return self.lab.popen(LOGIN, command, env=env, user=self.user, cwd=self.home)

    def submit(self, *options: object, check: bool = True) -> Any:
        """Hand the sweep over; ``options`` are those of ``cpivae submit slurm``."""
        shared = [word for path in (self.lab.folder, REPOSITORY, Path(sys.prefix)) for word in ("--shared", path)]
        asked = ("--cpus_per_node", 2, "--mem_per_node", "2G", "--env", f"export PYTHONPATH={REPOSITORY}")
        path = ("--env", f"export PATH={Path(sys.executable).parent}:$PATH")
        return self.cpivae("submit", "slurm", *asked, *path, *shared, *options, "--", *self.command(), check=check)

    def submitted(self, *options: object) -> int:
        """Hand the sweep over and return the number of its job."""
        said = self.submit(*options).stdout
        return int(said.split("job ")[1].split()[0])

    def events(self, kind: str) -> list[dict[str, Any]]:
        if not self.folder.journal.is_file():
            return []
        return [e for e in read_journal(self.folder.journal) if e["event"] == kind]

    def ends(self) -> dict[int, dict[str, Any]]:
        return {e["trial"]: e for e in self.events("ended")}

    def wait_until(self, arrived: Callable[[], bool], job: int, timeout: float = 240) -> None:
        end = time.monotonic() + timeout
        while not arrived():
            assert time.monotonic() < end, f"the sweep stands still: {self.log(job)}"
            state = self.lab.job(job)["JobState"]
            assert state not in ENDED, f"the job has ended ({state}): {self.log(job)}"
            time.sleep(0.2)

    def wait_for_ends(self, number: int, job: int, timeout: float = 240) -> None:
        """Wait until so many trials have ended, and remember how."""
        self.wait_until(lambda: len(self.ends()) >= number, job, timeout)
        self.finished |= self.ends()

    def wait_for_the_job(self, job: int, timeout: float = 300) -> dict[str, str]:
        try:
            return self.lab.wait_for_job(job, timeout=timeout)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.log(job)}") from None

    def log(self, job: int) -> str:
        files = [*self.folder.cluster.glob(f"job-{job}.log"), *self.folder.cluster.glob(f"ray-{job}-*.log")]
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def require_complete(self) -> None:
        """Check that every trial ended, and what ``require_none_repeated`` does."""
        assert set(self.ends()) == set(range(self.n_trials))
        self.require_none_repeated()
        states = {r.state for r in self.folder.records()}
        assert states <= {"complete", "stopped"}, [r for r in self.folder.records() if r.failure]

    def require_none_repeated(self) -> None:
        """Check that no trial ended twice, that those known before ended as they had, and that the best is there."""
        times = Counter(e["trial"] for e in self.events("ended"))
        assert set(times.values()) == {1}
        assert all(self.ends()[number] == event for number, event in self.finished.items())
        assert (self.folder.best_bundle / "weights.safetensors").is_file()

    def nodes(self) -> set[str]:
        """Return the nodes that have trained an epoch."""
        return {e["node"] for e in self.events("epoch") if "node" in e}


def prepare(home: Path, write_tables: Callable[[Path], None], lab: Lab, user: str = "root") -> Path:
    """Put tables and a space into a folder of a user's."""
    home.mkdir(parents=True)
    write_tables(home)
    (home / "space.yaml").write_text(SPACE)
    uid = int(lab.run(LOGIN, ["id", "-u", user]).stdout)
    for path in (home, *home.iterdir()):
        os.chown(path, uid, uid)
    return home
