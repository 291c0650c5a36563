"""Continuing from a checkpoint in a new run folder, with the earlier best epoch still in the race."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from cpivae.errors import CheckpointError
from cpivae.files import link_or_copy, written_whole
from cpivae.names import RunFiles
from cpivae.training.callbacks import append_row
from cpivae.training.folder import RunFolder, read_checkpoint
from cpivae.training.module import PairLightning


def check_fits(path: Path, module: PairLightning) -> dict[str, Any]:
    """Read a checkpoint and make sure that it belongs to this model.

    Raises
    ------
    CheckpointError
        It is no checkpoint, holds weights only, or is of another architecture or other tables.
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
    return checkpoint


def adopt(checkpoint: dict[str, Any], path: Path, best: ModelCheckpoint, folder: RunFolder) -> Path:
    """Bring the earlier run's best checkpoints and metrics into ``folder``; return the checkpoint to continue from."""
    state = checkpoint["callbacks"].get(best.state_key)
    if state is not None:
        kept = {Path(old): score for old, score in state["best_k_models"].items() if Path(old).is_file()}
        moved = {old: folder.checkpoints / old.name for old in kept}
        for old, new in moved.items():
            link_or_copy(old, new)
        if state["best_k_models"] and len(kept) == len(state["best_k_models"]):
            state["best_k_models"] = {str(moved[old]): score for old, score in kept.items()}
            for key in ("best_model_path", "kth_best_model_path"):
                state[key] = str(moved[Path(state[key])]) if state[key] else ""
            state["dirpath"] = best.dirpath
    earlier = path.parent.parent / RunFiles.METRICS
    if path.parent.name == RunFiles.CHECKPOINTS and earlier.is_file():
        with earlier.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if int(row["epoch"]) <= checkpoint["epoch"]:
                    append_row(folder.path / RunFiles.METRICS, row)
    adopted = folder.checkpoints / RunFiles.LAST
    with written_whole(adopted) as beside:
        torch.save(checkpoint, beside)
    return adopted


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "x".join(map(str, shape)) or "a number"
