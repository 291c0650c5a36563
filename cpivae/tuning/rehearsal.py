"""A sweep of two trials on made-up data: does what a sweep needs work on this machine?

``python -m cpivae.tuning.rehearsal FOLDER`` runs it in a process of its own, which a Ray that hangs or aborts may take
with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from cpivae.config.load import make_config
from cpivae.config.space import make_space
from cpivae.data.prepare import prepare_folds
from cpivae.data.tables import pair_from_frames
from cpivae.training.hardware import cpus
from cpivae.tuning.folder import SweepFolder
from cpivae.tuning.sweep import run_sweep, sweep_config

N_TRIALS = 2


def rehearse(folder: Path) -> None:
    """Run two trials of one epoch side by side, each in a worker process, and leave the sweep in ``folder``."""
    settings = {
        "model": {"latent_dim": 2, "encoder_layers": [4], "decoder_layers": [4]},
        "training": {"batch_size": 32},
        "logging": {"tensorboard": False},
        # Two at a time also where there is one CPU.
        "tuning": {"n_trials": N_TRIALS, "max_epochs": 1, "cpus_per_trial": min(1.0, cpus() / N_TRIALS)},
    }
    config = sweep_config(make_config(settings, "rehearsal"))
    space = make_space({"training.learning_rate": {"loguniform": [1e-3, 1e-2]}}, config, "rehearsal")
    random = np.random.default_rng(0)
    samples = [f"S{i}" for i in range(60)]
    frames = {name: pd.DataFrame(random.normal(size=(60, 4)), samples, list("vwxy")) for name in ("a", "b")}
    folds = prepare_folds(pair_from_frames(frames), config.data)
    run_sweep(config, space, lambda: folds, SweepFolder(folder), study_name="rehearsal")


if __name__ == "__main__":
    rehearse(Path(sys.argv[1]))
