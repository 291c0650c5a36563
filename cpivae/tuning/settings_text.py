"""Searched settings in a few words, for lines that are short."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cpivae.terminal.drawing import cut

WIDTH = 36
"""Of one setting at most."""


def in_short(values: dict[str, Any]) -> list[str]:
    """Return each setting as name and value, without the section that it stands in where no other one is called so.

    >>> in_short({"model.latent_dim": 64, "loss_weights.ramp.epochs": 8, "training.learning_rate": 0.00123456})
    ['latent_dim 64', 'ramp.epochs 8', 'learning_rate 0.001235']
    >>> in_short({"model.encoder_layers": [256, 128], "model.decoder_layers": [512] * 8, "model.skip": []})
    ['encoder_layers 256-128', 'decoder_layers 8 x 512', 'skip none']
    >>> in_short({"a.dropout": 0.1, "b.dropout": 0.2, "linear_skip": "ridge"})
    ['a.dropout 0.1', 'b.dropout 0.2', 'linear_skip ridge']
    """
    names = {name: name.partition(".")[2] or name for name in values}
    times = Counter(names.values())
    items = []
    for name, value in values.items():
        told = _text(value)
        items.append(f"{cut(names[name] if times[names[name]] == 1 else name, WIDTH - 1 - len(told))} {told}")
    return items


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        parts = [_text(part) for part in value]
        alike = len(parts) > 2 and len(set(parts)) == 1
        return cut(f"{len(parts)} x {parts[0]}" if alike else "-".join(parts) or "none", WIDTH // 2)
    return cut(str(value), WIDTH // 2)
