"""A critic and a generator in one backward pass: neither term may move the other side."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import logsigmoid

from cpivae.config.base import ModelSettings
from cpivae.models.adversarial import AdversarialDecoder
from cpivae.models.generators import adversarial_decoder

B, D, L, K = 6, 7, 3, 2
SETTINGS = ModelSettings(latent_dim=L, batch_norm=False, dropout_rate=0.0)


@pytest.fixture
def decoder() -> AdversarialDecoder:
    torch.manual_seed(0)
    return adversarial_decoder(D, SETTINGS, (16, 16), 1.0)


@pytest.fixture
def losses(decoder: AdversarialDecoder) -> dict[str, torch.Tensor]:
    return decoder.losses(torch.randn(B, D), torch.rand(B, D) > 0.3, torch.randn(K, B, L))


def moved(part: nn.Module) -> set[bool]:
    return {p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()}


def test_the_generators_term_leaves_the_critic_alone(
    decoder: AdversarialDecoder, losses: dict[str, torch.Tensor]
) -> None:
    losses["adversarial"].mean().backward()
    assert moved(decoder.point) == {True}
    assert moved(decoder.critic) == {False}


def test_the_critics_term_leaves_the_generator_alone(
    decoder: AdversarialDecoder, losses: dict[str, torch.Tensor]
) -> None:
    losses["critic"].mean().backward()
    assert moved(decoder.point) == {False}
    assert moved(decoder.critic) == {True}


def test_terms_are_those_of_the_paper(decoder: AdversarialDecoder) -> None:
    """Goodfellow et al. 2014, section 3: -log D(made) for the generator, cross-entropy for the critic."""
    decoder.eval()  # spectral norms stand still
    x, z, observed = torch.randn(B, D), torch.randn(K, B, L), torch.ones(B, D, dtype=torch.bool)
    losses = decoder.losses(x, observed, z)
    made, real = decoder.critic(decoder.predict(z)), decoder.critic(x.expand(K, B, D))
    torch.testing.assert_close(losses["adversarial"], -logsigmoid(made))
    torch.testing.assert_close(losses["critic"], -logsigmoid(real) - logsigmoid(-made))


def test_the_critic_sees_no_cell_that_was_not_measured(decoder: AdversarialDecoder) -> None:
    decoder.eval()
    x, z, observed = torch.randn(B, D), torch.randn(K, B, L), torch.rand(B, D) > 0.5
    before = decoder.losses(x, observed, z)
    after = decoder.losses(x.where(observed, 100.0), observed, z)
    torch.testing.assert_close(after["critic"], before["critic"])


def test_the_critics_every_layer_has_a_spectral_norm_of_at_most_one(decoder: AdversarialDecoder) -> None:
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        terms = decoder.losses(torch.randn(B, D), torch.ones(B, D, dtype=torch.bool), torch.randn(K, B, L))
        sum(t.mean() for t in terms.values()).backward()
        optimizer.step()
    layers = [m for m in decoder.critic.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight, 2).item()
        assert 0.5 < largest <= 1.05  # followed by one step of power iteration at a time
