"""The LightningDataModule: batches of whole rows, fetched in bulk from arrays that are never copied.

Every step of a run sees one batch per replica: of its own fold, in its own order.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from cpivae.batch import Batch
from cpivae.data.prepare import Folds, PreparedData
from cpivae.errors import DataError
from cpivae.names import PLATFORMS, Split, fold_of

RowsOfReplicas = tuple[npt.NDArray[np.int64], ...]
Batches = tuple[Batch, ...]


ON_GPU = 1 / 32
"""Share of a GPU's memory that a run's tables may take there; larger ones stay where they are."""


class PairedRows(Dataset[Batch]):
    """Rows by list of row numbers: one indexing operation per platform fetches a whole batch."""

    def __init__(self, data: PreparedData, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.values = {p: _as_tensor(data.values[p]).to(self.device) for p in PLATFORMS}
        self.observed = {p: _as_tensor(data.observed[p]).to(self.device) for p in PLATFORMS}

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Batch:
        index = torch.from_numpy(rows).to(self.device)
        values = {p: table[index] for p, table in self.values.items()}
        return Batch(inputs=values, targets=values, observed={p: mask[index] for p, mask in self.observed.items()})


class BatchRows(Sampler[npt.NDArray[np.int64]]):
    """Deals rows into batches of nearly equal size, so that no tail of one row upsets batch norm.

    The order depends on (seed, epoch) alone, not on any global random state: a resumed run sees the same batches.
    With several processes (``world``) each gets its own share, and in training all get equally many batches.
    """

    def __init__(
        self, rows: npt.NDArray[np.int64], batch_size: int, *, shuffle: bool, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the rows; Lightning calls this at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._share(self.rows)) / self.batch_size)

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        yield from self.dealt(len(self))

    def dealt(self, n_batches: int) -> list[npt.NDArray[np.int64]]:
        """Deal the epoch's rows into so many batches."""
        rows = self.rows
        if self.shuffle:
            rows = np.random.default_rng((self.seed, self.epoch)).permutation(rows)
        return np.array_split(self._share(rows), n_batches) if n_batches else []

    def _share(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if self.shuffle:  # equal shares: data-parallel training waits for every process at every step
            rows = rows[: len(rows) - len(rows) % self.world] if len(rows) >= self.world else rows
        return rows[self.rank :: self.world]


class LockstepRows(Sampler[RowsOfReplicas]):
    """Deals rows to replicas that train side by side: a batch for each at every step, as many steps for all."""

    def __init__(self, samplers: Sequence[BatchRows]) -> None:
        self.samplers = samplers

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the rows."""
        for sampler in self.samplers:
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        # Folds of groups differ in size: the smallest sets the pace, so that no replica gets a batch of one row.
        return min(map(len, self.samplers))

    def __iter__(self) -> Iterator[RowsOfReplicas]:
        return zip(*(sampler.dealt(len(self)) for sampler in self.samplers), strict=True)


class LockstepBatches(Dataset[Batches]):
    """Batches by row numbers, for every replica from its fold."""

    def __init__(self, tables: Sequence[PairedRows]) -> None:
        self.tables = tables

    def __getitem__(self, rows: RowsOfReplicas) -> Batches:
        return tuple(table[chosen] for table, chosen in zip(self.tables, rows, strict=True))


class PairModule(pl.LightningDataModule):
    """Training, validation and test loaders over prepared data, a batch at a time for every replica."""

    def __init__(self, folds: Folds, batch_size: int, seeds: Sequence[int]) -> None:
        """``seeds``: one per replica."""
        super().__init__()
        self.batch_size, self.seeds = batch_size, seeds
        self.of_replicas = [fold_of(replica, len(folds)) for replica in range(len(seeds))]
        self.prepared = folds
        self.folds = [folds[fold] for fold in self.of_replicas]
        self.dataset = self._batches()

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Bring the tables to the GPU that will compute, if they may be there."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        if device.type == "cuda" and bytes_on_gpu(self.prepared, torch.cuda.get_device_properties(device).total_memory):
            self.dataset = self._batches(device)

    def _batches(self, device: torch.device | None = None) -> LockstepBatches:
        tables = [PairedRows(data, device) for data in self.prepared]
        return LockstepBatches([tables[fold] for fold in self.of_replicas])

    def train_dataloader(self) -> DataLoader[Batches]:
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batches]:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batches]:
        return self._loader("test")

    def _loader(self, split: Split, *, shuffle: bool = False) -> DataLoader[Batches]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sizes = {len(data.rows(split)) for data in self.folds}
        if len(sizes) > 1 and min(sizes) < world:
            raise DataError(
                f"a fold has {min(sizes)} {split} rows, fewer than the {world} processes they are shared between. "
                "Take fewer folds, or lower hardware.devices."
            )
        sampler = LockstepRows(
            [
                BatchRows(data.rows(split), self.batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world)
                for data, seed in zip(self.folds, self.seeds, strict=True)
            ]
        )
        # batch_size=None: the sampler yields whole batches, and no loader process is needed to collate rows.
        # Its own generator: a loader draws a seed for such processes all the same, and noise would depend on when.
        return DataLoader(self.dataset, sampler=sampler, batch_size=None, generator=torch.Generator())


def bytes_on_gpu(folds: Folds, total: int) -> int:
    """Return what the tables of a run take of a GPU with ``total`` bytes of memory.

    Fetching a batch there saves a third of a short epoch, and a CPU, of which a GPU that many trials share has few for
    each.  Too large a share of the memory would cost trials at a time.
    """
    needed = sum(data.nbytes for data in folds)
    return needed if needed <= ON_GPU * total else 0


def _as_tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    with warnings.catch_warnings():
        # Arrays from shared memory are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
