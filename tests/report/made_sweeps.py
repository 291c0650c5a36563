"""Sweeps that are made event by event, and the tables they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cpivae.config.load import make_config, with_values
from cpivae.config.schema import Config
from cpivae.config.space import make_space
from cpivae.data.prepare import Folds, fingerprint, read_and_prepare
from cpivae.training.run import fit
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.journal import Journal
from cpivae.tuning.ledger import Ledger
from cpivae.tuning.record import BASE
from cpivae.tuning.sweep import sweep_config

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    'a"b,c',
    "=1+1",
    "{{ 7 * 7 }}",
    "β2-M & <b>co</b>",
)
"""Names of features that a table may well have, or that somebody may put there."""
SPACE = {
    "model.latent_dim": {"randint": [2, 16]},
    "training.learning_rate": {"loguniform": [1e-4, 1e-1]},
    "model.linear_skip": {"choice": ["none", "ridge"]},
}
CHOSEN = (
    {},
    {"model.latent_dim": 16, "training.learning_rate": 0.003, "model.linear_skip": "ridge"},
    {"model.latent_dim": 2, "training.learning_rate": 0.0001, "model.linear_skip": "none"},
)
"""The settings of the trials that are trained."""


def write_pair(folder: Path, n: int = 80, d_a: int = 12, d_b: int = 15) -> dict[str, Path]:
    """Write two views of the same factors, some of whose columns have hostile names."""
    random = np.random.default_rng(3)
    factors, paths = random.normal(size=(n, 3)), {}
    for platform, d in (("a", d_a), ("b", d_b)):
        values = 20 + factors @ random.normal(size=(3, d)) + 0.3 * random.normal(size=(n, d))
        values[random.random(values.shape) < 0.02] = np.nan
        names = [*HOSTILE[: min(d, len(HOSTILE))], *(f"{platform.upper()}{i:02d}" for i in range(len(HOSTILE), d))]
        paths[platform] = folder / f"{platform}.csv"
        pd.DataFrame(values, index=[f"S{i}" for i in range(n)], columns=names[:d]).to_csv(
            paths[platform], index_label="SampleID"
        )
    return paths


class Made:
    """A sweep that is put together event by event."""

    def __init__(self, path: Path, paths: dict[str, Path] | None = None, **overrides: Any) -> None:
        settings: dict[str, Any] = {
            "tuning": {"n_trials": 30, "max_epochs": 9, "asha": {"grace_period": 1}},
            "model": {"latent_dim": 4, "encoder_layers": [], "decoder_layers": []},
            "training": {"batch_size": 16},
            "logging": {"tensorboard": False},
        }
        self.config: Config = with_values(sweep_config(make_config(settings, "test")), overrides)
        self.folder, self.folds = SweepFolder(path), None if paths is None else self.read(paths)
        self.folder.create()
        space = make_space(SPACE, self.config, "space")
        described: dict[str, Any] = {"space": space.text, "study_name": path.name}
        if self.folds is not None:
            described |= {"data": self.folds[0].sources, "fingerprint": fingerprint(self.folds)}
        self.folder.describe(self.config, described)
        self.journal = Journal(self.folder.journal)
        self.ledger = Ledger(self.folder, self.config.tuning.goal(), None, self.journal)

    def read(self, paths: dict[str, Path]) -> Folds:
        return read_and_prepare(paths, self.config.data)[0]

    def propose(self, values: dict[str, Any]) -> int:
        number = len(self.ledger.courses)
        self.ledger.propose(number, values, number, "tpe" if number else BASE)
        self.ledger.begin(number)
        return number

    def told(
        self, values: dict[str, Any], scores: list[float], state: Any = "complete", failure: Any = "", error: str = ""
    ) -> int:
        """Add a trial whose scores are made up."""
        number = self.propose(values)
        best = -np.inf
        for epoch, score in enumerate(scores):
            best = max(best, score)
            self.ledger.epoch(number, epoch, best, int(np.argmax(scores[: epoch + 1])))
        if state != "running":
            self.ledger.end(number, state, failure, error)
        return number

    def trained(self, values: dict[str, Any], epochs: int = 3) -> int:
        """Add a trial that is really trained."""
        assert self.folds is not None
        number = self.propose(values)
        config = with_values(self.config, {**values, "training.seed": number, "training.max_epochs": epochs})
        run = fit(config, self.folds, self.folder.trials / f"trial_{number:05d}", name="test", is_trial=True).folder
        for row in run.history().to_dict("records"):
            seen = run.history()["val_cross_a_corr_mean"][: int(row["epoch"]) + 1]
            self.ledger.epoch(number, int(row["epoch"]), float(seen.max()), int(seen.argmax()))
        self.ledger.end(number, "complete")
        return number

    def close(self) -> SweepFolder:
        self.ledger.table_rests_until = 0.0
        self.ledger.table_outdated = True
        self.ledger.refresh_table()
        self.journal.close()
        return self.folder
