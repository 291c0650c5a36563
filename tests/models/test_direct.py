"""res_unet: which layers meet, and the way to the other platform and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cpivae.batch import Batch
from cpivae.config.base import ModelSettings
from cpivae.models.direct import DirectModel, UNet

WIDTHS = {"a": 7, "b": 9}
B, L = 6, 3
ACROSS = [("a", "b"), ("b", "a")]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def settings(down: tuple[int, ...], up: tuple[int, ...]) -> ModelSettings:
    return ModelSettings(latent_dim=L, encoder_layers=down, decoder_layers=up, batch_norm=False, dropout_rate=0.0)


def model() -> DirectModel:
    return DirectModel({(s, t): UNet(WIDTHS[s], WIDTHS[t], settings((5,), (5,))) for s, t in ACROSS}, {}).eval()


@pytest.mark.parametrize(("down", "up"), [((), ()), ((8, 5), (5, 8)), ((8, 6, 5), (4,)), ((5,), (4, 6, 8)), ((), (4,))])
def test_each_layer_up_meets_the_layer_of_its_depth_on_the_way_down(down: tuple[int, ...], up: tuple[int, ...]) -> None:
    net = UNet(7, 9, settings(down, up))
    widths = [next(m for m in layer.modules() if isinstance(m, nn.Linear)).in_features for layer in net.up]
    below = [L, *up][: len(up)]
    beside = [*reversed(down), 0, 0, 0][: len(up)]
    assert widths == [a + b for a, b in zip(below, beside, strict=True)]
    assert net(torch.randn(B, 7)).shape == (B, 9)
    assert net.code(torch.randn(B, 7)).shape == (B, L)


def test_a_skip_carries_what_the_code_does_not() -> None:
    """With the code held at zero the output still depends on the input, through the layers beside it."""
    net, x = UNet(7, 9, settings((8,), (8,))).eval(), torch.randn(B, 7)
    for parameter in net.bottom.parameters():
        nn.init.zeros_(parameter)
    out = net(x)
    assert net.code(x).abs().max() == 0
    assert (out - out[:1]).abs().max() > 1e-3
    blind = UNet(7, 9, settings((), ())).eval()
    for parameter in blind.bottom.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(blind(x), blind(x)[:1].expand(B, 9))


def test_terms_by_hand() -> None:
    """Cross: one way. Cycle (Zhu et al. 2017, eq. 2, squared): there and back."""
    made = model()
    values = {p: torch.randn(B, d) for p, d in WIDTHS.items()}
    observed = {p: torch.rand(B, d) > 0.3 for p, d in WIDTHS.items()}
    terms = made.terms(Batch(values, values, observed))
    net = {(s, t): made.nets[f"{t}_from_{s}"] for s, t in ACROSS}

    def error(predicted: torch.Tensor, platform: str) -> torch.Tensor:
        rows = [(predicted - values[platform])[i][observed[platform][i]].square().mean() for i in range(B)]
        return torch.stack(rows).mean()

    there = {(s, t): net[s, t](values[s]) for s, t in ACROSS}
    cross = [error(there[s, t], t) for s, t in ACROSS]
    cycle = [error(net[t, s](there[s, t]), s) for s, t in ACROSS]
    assert set(terms) == {"cross_reconstruction", "cycle_reconstruction"}
    torch.testing.assert_close(terms["cross_reconstruction"], torch.stack(cross).mean())
    torch.testing.assert_close(terms["cycle_reconstruction"], torch.stack(cycle).mean())
    weights = list(made.parameters())
    gradients = (torch.autograd.grad(t, weights) for t in (terms["cycle_reconstruction"], torch.stack(cycle).mean()))
    for found, by_hand in zip(*gradients, strict=True):  # both ways of the cycle learn
        torch.testing.assert_close(found, by_hand)


def test_a_platform_is_predicted_from_itself_by_way_of_the_other() -> None:
    made, x = model(), torch.randn(B, 7)
    there_and_back = made.impute(made.impute(x, "a", "b"), "b", "a")
    torch.testing.assert_close(made.impute(x, "a", "a"), there_and_back)
