"""Replicas in lockstep: each gets every row of its own split, in batches that are as many for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.batch import Batch
from cpivae.data.module import PairModule
from cpivae.data.prepare import PreparedData
from cpivae.errors import DataError
from cpivae.names import PLATFORMS, SPLITS, Split

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Lockstep:
    """Folds whose every row tells its number and its fold, and how they are dealt into batches."""

    folds: list[PreparedData]
    batch_size: int
    seeds: list[int]
    epoch: int

    def module(self) -> PairModule:
        return PairModule(self.folds, self.batch_size, self.seeds)

    def alone(self, replica: int) -> PairModule:
        return PairModule([self.fold(replica)], self.batch_size, [self.seeds[replica]])

    def fold(self, replica: int) -> PreparedData:
        return self.folds[replica % len(self.folds)]

    def steps(self, module: PairModule, split: Split) -> list[Sequence[Batch]]:
        loader = getattr(module, f"{split}_dataloader")()
        loader.sampler.set_epoch(self.epoch)
        steps = list(loader)
        assert len(loader) == len(steps)
        return steps


@st.composite
def locksteps(draw: st.DrawFn) -> Lockstep:
    sizes = draw(st.lists(st.integers(3, 12) | st.integers(3, 150), min_size=2, max_size=5))
    parts = np.repeat(np.arange(-1, len(sizes)), [draw(st.integers(3, 30)), *sizes])  # -1: test
    parts = np.random.default_rng(draw(seeds)).permutation(parts)
    folds = []
    for i in range(len(sizes)):
        splits = pd.Series(np.select([parts == -1, parts == i], ["test", "val"], "train"))
        rows = np.arange(len(parts), dtype=np.float32)[:, None]
        values, observed = {"a": rows, "b": -rows + i / 8}, dict.fromkeys(PLATFORMS, rows % 2 == 0)
        folds.append(PreparedData(splits, values, observed, {}, {}))
    replicas = draw(st.integers(1, 2 * len(folds)))
    return Lockstep(
        folds,
        draw(st.integers(3, 64)),
        draw(st.lists(seeds, min_size=replicas, max_size=replicas, unique=True)),
        draw(st.integers(0, 9)),
    )


def rows_of(batches: Sequence[Batch], fold: int) -> list[int]:
    """Return the numbers of the rows, which are a fold's."""
    a, b = (torch.cat([batch.targets[p] for batch in batches])[:, 0].tolist() for p in PLATFORMS)
    observed = torch.cat([batch.observed["a"] for batch in batches])[:, 0].tolist()
    assert b == [-row + fold / 8 for row in a]
    assert observed == [row % 2 == 0 for row in a]
    return list(map(int, a))


@given(locksteps(), st.sampled_from(SPLITS))
@settings(max_examples=120, deadline=None)
def test_each_replica_gets_every_row_of_its_own_split_once_in_as_many_batches_as_the_others(
    lockstep: Lockstep, split: Split
) -> None:
    steps = lockstep.steps(lockstep.module(), split)
    used = [lockstep.fold(r) for r in range(len(lockstep.seeds))]
    assert len(steps) == min(-(-len(fold.rows(split)) // lockstep.batch_size) for fold in used)
    assert {len(step) for step in steps} == {len(lockstep.seeds)}
    for r, batches in enumerate(zip(*steps, strict=True)):
        rows = rows_of(batches, r % len(lockstep.folds))
        assert sorted(rows) == used[r].rows(split).tolist()
        assert (rows == used[r].rows(split).tolist()) or split == "train"
        sizes = [len(batch.targets["a"]) for batch in batches]
        assert min(sizes) >= 2  # batch norm cannot take one row
        assert max(sizes) - min(sizes) <= 1


@given(locksteps(), st.sampled_from(SPLITS))
@settings(max_examples=80, deadline=None)
def test_a_replicas_batches_are_those_of_a_module_of_its_own_where_that_deals_as_many(
    lockstep: Lockstep, split: Split
) -> None:
    together = lockstep.steps(lockstep.module(), split)
    compared = 0
    for r in range(len(lockstep.seeds)):
        alone = lockstep.steps(lockstep.alone(r), split)
        assert len(alone) >= len(together)
        if len(alone) == len(together):
            compared += 1
            for step, (own,) in zip(together, alone, strict=True):
                for field in Batch._fields:
                    for p in PLATFORMS:
                        assert torch.equal(getattr(step[r], field)[p], getattr(own, field)[p])
    assert compared, "the smallest fold sets the pace"


@given(locksteps())
@settings(max_examples=40, deadline=None)
def test_the_order_of_training_rows_is_every_replicas_own_and_another_in_every_epoch(lockstep: Lockstep) -> None:
    orders = set()
    for epoch in (lockstep.epoch, lockstep.epoch + 1):
        steps = lockstep.steps(lockstep.module(), "train")
        orders |= {tuple(rows_of(b, r % len(lockstep.folds))) for r, b in enumerate(zip(*steps, strict=True))}
        lockstep = Lockstep(lockstep.folds, lockstep.batch_size, lockstep.seeds, epoch + 1)
    if min(len(fold.rows("train")) for fold in lockstep.folds) > 12:
        assert len(orders) == 2 * len(lockstep.seeds)


@given(locksteps(), st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_processes_share_the_rows_of_every_replica_and_train_in_step(lockstep: Lockstep, world: int) -> None:
    for split in SPLITS:
        shares = []
        for rank in range(world):
            module = lockstep.module()
            module.trainer = SimpleNamespace(global_rank=rank, world_size=world)  # type: ignore[assignment]
            shares.append(lockstep.steps(module, split))
        for r in range(len(lockstep.seeds)):
            seen = [rows_of([step[r] for step in steps], r % len(lockstep.folds)) for steps in shares]
            own, dealt = lockstep.fold(r).rows(split).tolist(), sorted(row for rows in seen for row in rows)
            assert len(dealt) == len(set(dealt)) == len(own) - (len(own) % world if split == "train" else 0)
            assert set(dealt) <= set(own)
        if split == "train":
            assert len({len(steps) for steps in shares}) == 1


def test_a_fold_with_fewer_rows_than_processes_is_refused_instead_of_leaving_rows_unscored() -> None:
    folds = []
    for size in (3, 9):
        splits = pd.Series(["train"] * 12 + ["val"] * size + ["test"] * 3 + ["train"] * (9 - size))
        rows = np.zeros((len(splits), 1), np.float32)
        folds.append(PreparedData(splits, dict.fromkeys(PLATFORMS, rows), dict.fromkeys(PLATFORMS, rows == 0), {}, {}))
    module = PairModule(folds, 32, [0, 1])
    module.trainer = SimpleNamespace(global_rank=0, world_size=4)  # type: ignore[assignment]
    with pytest.raises(DataError, match="a fold has 3 val rows, fewer than the 4 processes"):
        module.val_dataloader()
    module.train_dataloader()
    module.test_dataloader()
