"""A decoder that is also judged: a critic learns to tell its rows from measured ones."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from cpivae.models.decoders import Decoder, PointDecoder, observed_mean


@final
class Critic(nn.Module):
    """Scores rows (K, B, D): high for measured ones, low for made-up ones; (K, B)."""

    def __init__(self, net: nn.Sequential, learning_rate_factor: float) -> None:
        """``net`` maps (rows, D) to (rows, 1)."""
        super().__init__()
        self.net, self.learning_rate_factor = net, learning_rate_factor

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]).squeeze(-1)


@final
class AdversarialDecoder(Decoder):
    """A point decoder as the generator of a VAE/GAN (Larsen et al. 2016; non-saturating loss, Goodfellow et al. 2014).

    One backward pass trains both sides: the generator's term sees the critic's weights as constants, and the critic's
    term sees the generator's rows as constants.  Cells that were not measured are zero in what the critic sees.
    """

    def __init__(self, point: PointDecoder, critic: Critic) -> None:
        super().__init__()
        self.point, self.critic = point, critic

    def losses(self, x: Tensor, observed: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Return the point's losses, ``adversarial`` (the generator's) and ``critic``, (K, B) each."""
        predicted = self.point.predict(z)  # (K, B, D)
        made, measured = predicted * observed, (x * observed).expand_as(predicted)
        constants = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        return {
            "reconstruction": observed_mean((predicted - x).square(), observed),
            "size": observed_mean(predicted.square(), observed),
            "adversarial": F.softplus(-functional_call(self.critic, constants, (made,))),
            "critic": F.softplus(-self.critic(measured)) + F.softplus(self.critic(made.detach())),
        }

    def predict(self, z: Tensor) -> Tensor:
        return self.point.predict(z)

    def start_at_zero(self) -> None:
        self.point.start_at_zero()
