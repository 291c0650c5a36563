"""Batches: every row once, nearly equal sizes, an order that a resumed run finds again, and no copy of the data."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cpivae.batch import Batch
from cpivae.data.module import BatchRows, PairedRows, PairModule, bytes_on_gpu
from cpivae.data.prepare import PreparedData

rows_of = st.integers(1, 300).map(lambda n: np.random.default_rng(n).permutation(1000)[:n])


def dealt(sampler: BatchRows) -> list[list[int]]:
    return [batch.tolist() for batch in sampler]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@given(rows_of, st.integers(3, 80), st.booleans(), st.integers(0, 99), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_every_row_once_in_batches_of_nearly_equal_size(
    rows: np.ndarray, batch_size: int, shuffle: bool, seed: int, epoch: int
) -> None:
    sampler = BatchRows(rows, batch_size, shuffle=shuffle, seed=seed)
    sampler.set_epoch(epoch)
    batches = dealt(sampler)
    assert sorted(flat(batches)) == sorted(rows.tolist())
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(sampler) == len(batches) == -(-len(rows) // batch_size)
    assert min(sizes) >= 2 or len(rows) < 4  # batch norm cannot take one row


def test_without_shuffling_rows_keep_their_order() -> None:
    rows = np.array([5, 3, 9, 1])
    assert flat(dealt(BatchRows(rows, 3, shuffle=False, seed=0))) == [5, 3, 9, 1]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    rows = np.arange(50)

    def order(seed: int, epoch: int) -> list[int]:
        np.random.seed(np.random.randint(1000))
        torch.manual_seed(int(torch.randint(1000, ())))
        sampler = BatchRows(rows, 8, shuffle=True, seed=seed)
        sampler.set_epoch(epoch)
        return flat(dealt(sampler))

    assert order(1, 0) == order(1, 0)
    assert order(1, 3) == order(1, 3)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_dealing_leaves_the_global_random_state_alone() -> None:
    state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    dealt(BatchRows(np.arange(50), 8, shuffle=True, seed=1))
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(torch.get_rng_state(), torch_state)


@given(rows_of, st.integers(3, 40), st.integers(1, 5), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_training_shares_are_disjoint_and_of_equal_length(
    rows: np.ndarray, batch_size: int, world: int, epoch: int
) -> None:
    shares = []
    for rank in range(world):
        sampler = BatchRows(rows, batch_size, shuffle=True, seed=1, rank=rank, world=world)
        sampler.set_epoch(epoch)
        shares.append(dealt(sampler))
        assert len(sampler) == len(shares[-1])
    seen = [row for share in shares for row in flat(share)]
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(rows.tolist())
    if len(rows) >= world:
        assert len({len(share) for share in shares}) == 1
        assert len(seen) == len(rows) - len(rows) % world


def test_rows_left_out_by_unequal_shares_differ_between_epochs() -> None:
    left_out = set()
    for epoch in range(40):
        seen: set[int] = set()
        for rank in range(3):
            sampler = BatchRows(np.arange(11), 4, shuffle=True, seed=0, rank=rank, world=3)
            sampler.set_epoch(epoch)
            seen |= set(flat(dealt(sampler)))
        left_out |= set(range(11)) - seen
    assert left_out == set(range(11))


@given(rows_of, st.integers(3, 40), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_validation_shares_cover_every_row_once(rows: np.ndarray, batch_size: int, world: int) -> None:
    shares = [BatchRows(rows, batch_size, shuffle=False, seed=1, rank=rank, world=world) for rank in range(world)]
    assert sorted(row for share in shares for row in flat(dealt(share))) == sorted(rows.tolist())


def test_a_process_without_rows_has_no_batches() -> None:
    sampler = BatchRows(np.arange(3), 8, shuffle=False, seed=0, rank=3, world=4)
    assert len(sampler) == 0
    assert dealt(sampler) == []


# ---------------------------------------------------------------------------------------------- rows


def test_fetched_rows_are_the_rows_asked_for(prepared: PreparedData) -> None:
    rows = np.array([7, 0, 7, 30])
    batch = PairedRows(prepared)[rows]
    assert isinstance(batch, Batch)
    for platform in ("a", "b"):
        np.testing.assert_array_equal(batch.inputs[platform].numpy(), prepared.values[platform][rows])
        np.testing.assert_array_equal(batch.targets[platform].numpy(), prepared.values[platform][rows])
        np.testing.assert_array_equal(batch.observed[platform].numpy(), prepared.observed[platform][rows])
        assert batch.observed[platform].dtype == torch.bool
        assert batch.inputs[platform].dtype == torch.float32


def test_the_tables_are_not_copied(prepared: PreparedData) -> None:
    dataset = PairedRows(prepared)
    for platform in ("a", "b"):
        assert dataset.values[platform].data_ptr() == prepared.values[platform].ctypes.data
        assert dataset.observed[platform].data_ptr() == prepared.observed[platform].ctypes.data


def test_arrays_from_shared_memory_need_not_be_writable(prepared: PreparedData) -> None:
    def read_only(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        copies = {platform: array.copy() for platform, array in arrays.items()}
        for copy in copies.values():
            copy.flags.writeable = False
        return copies

    locked = PreparedData(
        prepared.splits,
        read_only(prepared.values),
        read_only(prepared.observed),
        prepared.preprocessors,
        prepared.sources,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = PairedRows(locked)
    batch = dataset[np.arange(5)]
    assert dataset.values["a"].data_ptr() == locked.values["a"].ctypes.data
    batch.inputs["a"] += 1  # a batch is the model's own
    np.testing.assert_array_equal(locked.values["a"], prepared.values["a"])


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_loaders_deal_the_rows_of_their_split(prepared: PreparedData, split: str) -> None:
    module = PairModule([prepared], batch_size=32, seeds=[1])
    batches = [batch for (batch,) in getattr(module, f"{split}_dataloader")()]
    for platform in ("a", "b"):
        dealt_rows = np.concatenate([batch.targets[platform].numpy() for batch in batches])
        own = prepared.values[platform][prepared.rows(split)]
        if split == "train":
            assert not np.array_equal(dealt_rows, own)
            dealt_rows, own = np.sort(dealt_rows, axis=0), np.sort(own, axis=0)
        np.testing.assert_array_equal(dealt_rows, own)


def test_both_platforms_of_a_batch_are_the_same_samples(prepared: PreparedData) -> None:
    number = {row.tobytes(): i for i, row in enumerate(prepared.values["a"])}
    for (batch,) in PairModule([prepared], batch_size=32, seeds=[1]).train_dataloader():
        rows = [number[row.tobytes()] for row in batch.targets["a"].numpy()]
        np.testing.assert_array_equal(batch.targets["b"].numpy(), prepared.values["b"][rows])


def test_tables_are_brought_to_a_gpu_with_room_for_many_of_them(prepared: PreparedData) -> None:
    assert bytes_on_gpu([prepared], 32 * prepared.nbytes) == prepared.nbytes
    assert bytes_on_gpu([prepared, prepared], 64 * prepared.nbytes) == 2 * prepared.nbytes
    assert bytes_on_gpu([prepared, prepared], 64 * prepared.nbytes - 64) == 0
    assert bytes_on_gpu([prepared], 0) == 0
