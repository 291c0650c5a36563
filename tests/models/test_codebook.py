"""Vector quantisation by hand: nearest codes, straight-through gradients, moving averages, dead codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed

from cpivae.models.codebook import Codebook, CodebookPosterior

N, C, H, B = 4, 2, 5, 6
CODES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
VECTORS = torch.tensor([[1.0, 0.0], [3.0, 1.0], [9.0, 1.0], [1.0, 8.0], [2.0, 9.0], [11.0, 12.0]])
CHOSEN = torch.tensor([0, 0, 1, 2, 2, 3])


def book(decay: float = 0.9, *, by_gradient: bool = False) -> Codebook:
    torch.manual_seed(0)
    made = Codebook(N, C, decay, by_gradient=by_gradient)
    made.codes.data.copy_(CODES)
    made.counts.fill_(2.0)
    made.sums.copy_(2.0 * CODES)
    made.started.fill_(True)
    return made


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("by_gradient", [True, False])
def test_every_vector_gets_its_nearest_code(training: bool, by_gradient: bool) -> None:
    found = book(by_gradient=by_gradient).train(training)(VECTORS.view(2, 3, C))
    torch.testing.assert_close(found, CODES[CHOSEN].view(2, 3, C))


def test_codes_follow_the_moving_averages_of_the_paper() -> None:
    """van den Oord et al. 2017, eq. 6-8, by hand: n = (2, 1, 2, 1), sums of the vectors that chose each code."""
    learnt = book(decay=0.9).train()
    learnt(VECTORS)
    n = torch.tensor([2.0, 1.0, 2.0, 1.0])
    total = torch.tensor([[4.0, 1.0], [9.0, 1.0], [3.0, 17.0], [11.0, 12.0]])
    counts, sums = 0.9 * 2.0 + 0.1 * n, 0.9 * 2.0 * CODES + 0.1 * total
    torch.testing.assert_close(learnt.counts, counts)
    torch.testing.assert_close(learnt.sums, sums)
    torch.testing.assert_close(learnt.codes, sums / counts.unsqueeze(1))
    learnt(VECTORS)
    torch.testing.assert_close(learnt.counts, 0.9 * counts + 0.1 * n)


def test_evaluation_teaches_nothing() -> None:
    asked = book().eval()
    before = {name: value.clone() for name, value in asked.state_dict().items()}
    asked(VECTORS)
    assert all(torch.equal(value, before[name]) for name, value in asked.state_dict().items())


@pytest.mark.parametrize("by_gradient", [True, False])
def test_a_dead_code_comes_back_where_vectors_lie(by_gradient: bool) -> None:
    learnt = book(decay=0.5, by_gradient=by_gradient).train()
    learnt.codes.data[3] = 1000.0
    learnt.sums[3] = 2000.0
    near = VECTORS[:5]
    for _ in range(12):
        learnt(near)
    assert torch.cdist(learnt.codes.detach()[3:], near).min() < 1.0
    chosen = torch.cdist(near, learnt.codes.detach()).argmin(1)
    assert 3 in chosen


def test_one_dead_code_of_one_number_comes_back_finite() -> None:
    torch.manual_seed(0)
    learnt = Codebook(2, 1, 0.0, by_gradient=False).train()
    learnt(torch.tensor([[1.0], [1.1], [0.9]]))
    learnt.codes[1] = 1000.0
    learnt.sums[1] = 1000.0
    for _ in range(3):
        learnt(torch.tensor([[1.0], [1.1], [0.9]]))
    assert learnt.codes.isfinite().all()


def test_a_living_code_stays_where_it_is() -> None:
    learnt = book(decay=0.5).train()
    for _ in range(12):
        learnt(VECTORS)
    means = torch.stack([VECTORS[i == CHOSEN].mean(0) for i in range(N)])
    torch.testing.assert_close(learnt.codes, means, rtol=0, atol=0.02)


def test_the_first_batch_supplies_the_first_codes() -> None:
    torch.manual_seed(0)
    fresh = Codebook(N, C, 0.9, by_gradient=False).train()
    fresh(1000 + VECTORS)
    assert fresh.codes.min() > 900


def posterior(latent_dim: int, *, by_gradient: bool) -> tuple[CodebookPosterior, Codebook]:
    torch.manual_seed(0)
    shared = book(by_gradient=by_gradient)
    return CodebookPosterior(H, latent_dim, shared), shared


@pytest.mark.parametrize("latent_dim", [1, 2, 5, 6])
def test_codes_stand_side_by_side_and_the_last_is_cut_to_fit(latent_dim: int) -> None:
    made, shared = posterior(latent_dim, by_gradient=False)
    latents = made.eval()(torch.randn(B, H))
    shared.eval()
    assert latents.code.shape == (B, latent_dim)
    assert torch.equal(latents.z[0], latents.code)
    for first in range(0, latent_dim - 1, C):
        assert torch.cdist(latents.code[:, first : first + C], CODES).min(1).values.max() < 1e-5


@pytest.mark.parametrize("by_gradient", [True, False])
def test_the_gradient_goes_straight_through(by_gradient: bool) -> None:
    """van den Oord et al. 2017, section 3.2: the value is the code, its gradient that of the encoder's output."""
    made, shared = posterior(6, by_gradient=by_gradient)
    h, direction = torch.randn(B, H, requires_grad=True), torch.randn(B, 6)
    (made(h).code * direction).sum().backward()
    torch.testing.assert_close(h.grad, direction @ made.head.weight)
    torch.testing.assert_close(made.head.weight.grad, direction.T @ h.detach())
    assert shared.codes.grad is None


def test_each_penalty_pulls_one_side_only() -> None:
    """Section 3.2, eq. 3: the codebook term moves codes, the commitment term moves the encoder."""
    for name, encoder_moves, codes_move in (("commitment", True, False), ("codebook", False, True)):
        made, shared = posterior(6, by_gradient=True)
        made(torch.randn(B, H)).penalties[name].backward()
        moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in (made.head.weight, shared.codes)]
        assert moved == [encoder_moves, codes_move], name


def test_penalties_are_mean_squared_distances() -> None:
    made, shared = posterior(6, by_gradient=True)
    h = torch.randn(B, H)
    raw = made.head(h).view(B, 3, C)
    shared.eval()
    distance = (raw - shared(raw)).square().mean()
    penalties = made(h).penalties
    assert list(penalties) == ["commitment", "codebook"]
    for value in penalties.values():
        torch.testing.assert_close(value, distance)
    assert list(posterior(6, by_gradient=False)[0](h).penalties) == ["commitment"]


def learn_from_rows_of_its_own(rank: int, folder: str) -> None:
    """One of two processes: three steps on vectors that the other one does not see."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(rank)
    learnt = Codebook(N, C, 0.9, by_gradient=True).train()
    for _ in range(3):
        learnt(10 * rank + torch.randn(8, C))
    torch.save(learnt.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_several_processes_keep_one_codebook(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(learn_from_rows_of_its_own, args=(str(tmp_path),), nprocs=2)
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
