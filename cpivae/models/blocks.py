"""Feed-forward blocks that encoders and decoders are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cpivae.config.base import Activation, ModelSettings

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


@final
class Residual(nn.Module):
    """``body(x) + x``, with a linear map on the shortcut where the widths differ (He et al. 2016, eq. 1 and 2)."""

    def __init__(self, body: nn.Module, d_in: int, d_out: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if d_in == d_out else nn.Linear(d_in, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


def hidden_layer(d_in: int, d_out: int, settings: ModelSettings) -> nn.Module:
    """Linear map, batch norm, activation, dropout: (B, d_in) -> (B, d_out)."""
    # Batch norm subtracts the mean, so a bias before it would never get a gradient.
    parts: list[nn.Module] = [nn.Linear(d_in, d_out, bias=not settings.batch_norm)]
    if settings.batch_norm:
        parts.append(nn.BatchNorm1d(d_out))
    parts.append(ACTIVATIONS[settings.activation]())
    if settings.dropout_rate > 0:
        parts.append(nn.Dropout(settings.dropout_rate))
    body = nn.Sequential(*parts)
    return Residual(body, d_in, d_out) if settings.use_residual_blocks else body


def mlp(d_in: int, widths: Sequence[int], settings: ModelSettings, d_out: int | None = None) -> nn.Sequential:
    """Hidden layers of the given widths, then a linear map to ``d_out`` if given: (B, d_in) -> (B, d_out or H)."""
    sizes = [d_in, *widths]
    layers = [hidden_layer(a, b, settings) for a, b in pairwise(sizes)]
    if d_out is not None:
        layers.append(nn.Linear(sizes[-1], d_out))
    return nn.Sequential(*layers)


def with_spectral_norm(net: nn.Sequential, *, keep_last: bool) -> nn.Sequential:
    """Divide every linear map of ``net`` by its largest singular value (Miyato et al. 2018, eq. 8).

    ``keep_last`` leaves the last layer as it is.  The singular value is followed by power iteration, one step per
    training step.
    """
    for layer in list(net)[: -1 if keep_last else None]:
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                spectral_norm(module)
    return net


def width_after(d_in: int, widths: Sequence[int]) -> int:
    """Return H, the width that ``mlp(d_in, widths)`` ends with; without hidden layers that is its input's."""
    return widths[-1] if widths else d_in
