"""Continuing from a checkpoint in a new run folder, with the earlier best epoch still in the race."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from cpivae.errors import CheckpointError
from cpivae.files import link_or_copy, written_whole
from cpivae.names import RunFiles
from cpivae.training.folder import RunFolder, read_checkpoint
from cpivae.training.history import copy_rows
from cpivae.training.module import FINGERPRINT, SETTINGS, PairLightning


def check_fits(path: Path, module: PairLightning) -> dict[str, Any]:
    """Read a checkpoint and make sure that it belongs to this model.

    Raises
    ------
    CheckpointError
        It is no checkpoint, holds weights only, is of another model, data or optimiser, or has no epoch to go.
    """
    checkpoint = read_checkpoint(path)
    saved = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differ = [name for name in sorted(saved | wanted) if saved.get(name) != wanted.get(name)]
    if differ:
        name = differ[0]
        raise CheckpointError(
            f"the checkpoint {path} is of another model: {len(differ)} of {len(wanted)} weights differ in name or "
            f"shape (first: {name}, {_shape(saved.get(name))} in the checkpoint, {_shape(wanted.get(name))} in the "
            "settings). "
            f"Use the {RunFiles.CONFIG} of the run that wrote it, and the same tables."
        )
    if "optimizer_states" not in checkpoint:
        raise CheckpointError(
            f"the checkpoint {path} holds weights only and cannot be continued. "
            f"Use a run's {RunFiles.CHECKPOINTS}/{RunFiles.LAST}."
        )
    settings = module.training_settings
    if checkpoint.get(FINGERPRINT) != module.fingerprint:
        raise CheckpointError(
            f"the checkpoint {path} was trained on other samples, features or splits, so rows that it has learnt could "
            "be among the new test rows. Use the same tables and the same data settings."
        )
    now, then = module.described, checkpoint.get(SETTINGS, {})
    changed = [key for key in now if then.get(key) != now[key]]
    if changed:
        was, wanted_now = (", ".join(f"{key}={given.get(key)}" for key in changed) for given in (then, now))
        raise CheckpointError(
            f"the checkpoint {path} was trained with {was}, not {wanted_now}: a resumed run keeps its model, its data "
            "and its optimiser. Use these settings, or start a new run."
        )
    done, wanted_epochs = checkpoint["epoch"] + 1, settings.stop_epoch or settings.max_epochs
    if done >= wanted_epochs:
        raise CheckpointError(
            f"the checkpoint {path} has {done} epochs behind it and the settings ask for {wanted_epochs}: nothing is "
            "left to train. Raise training.max_epochs (or training.stop_epoch)."
        )
    return checkpoint


def has_whole_state(run: RunFolder) -> bool:
    """Say whether a trial that was cut off can be continued from its state.

    A process may be killed after an epoch's state is kept and before its metrics are, and a machine may lose what it
    had not yet written to its disk.
    """
    if not run.state.is_file() or not (run.path / RunFiles.METRICS).is_file():
        return False
    try:
        checkpoint = read_checkpoint(run.state)
        (best,) = (state for state in checkpoint["callbacks"].values() if "best_model_path" in state)
        read_checkpoint(run.best_of_state(Path(best["best_model_path"]).name))
    except CheckpointError:
        return False
    return checkpoint["epoch"] in run.history()["epoch"].to_numpy()


def adopt(checkpoint: dict[str, Any], path: Path, best: ModelCheckpoint, folder: RunFolder) -> Path:
    """Bring the earlier run's best checkpoints and metrics into ``folder``; return the checkpoint to continue from.

    They come together or not at all: where the best weights are gone, or were chosen by another metric, the race
    starts anew.
    """
    callbacks = checkpoint["callbacks"]
    state = callbacks.get(best.state_key)
    # The states of checkpoint callbacks are full of the earlier run's paths.
    checkpoint["callbacks"] = {key: s for key, s in callbacks.items() if "best_k_models" not in s}
    earlier = path.parent.parent / RunFiles.METRICS
    if state is not None and path.parent.name == RunFiles.CHECKPOINTS and earlier.is_file():
        # The run may have been moved since: its files are beside this one, whatever their paths were.
        files = {old: path.parent / Path(old).name for old in state["best_k_models"]}
        if path.name == RunFiles.STATE:
            files = {old: RunFolder(path.parent.parent).best_of_state(file.name) for old, file in files.items()}
        kept = {old: file for old, file in files.items() if file.is_file()}
        if state["best_model_path"] in kept:
            for old, file in kept.items():
                link_or_copy(file, folder.checkpoints / Path(old).name)
            link_or_copy(kept[state["best_model_path"]], folder.final_model)
            moved = {old: str(folder.checkpoints / Path(old).name) for old in kept}
            state["best_k_models"] = {new: state["best_k_models"][old] for old, new in moved.items()}
            for key in ("best_model_path", "kth_best_model_path"):
                state[key] = moved.get(state[key], "")
            checkpoint["callbacks"][best.state_key] = state | {"dirpath": best.dirpath}
            for name in (RunFiles.REPLICAS, RunFiles.METRICS):
                copy_rows(earlier.with_name(name), folder.path / name, checkpoint["epoch"])
    adopted = folder.checkpoints / (RunFiles.STATE if path.name == RunFiles.STATE else RunFiles.LAST)
    with written_whole(adopted) as beside:
        torch.save(checkpoint, beside)
    return adopted


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a number"
