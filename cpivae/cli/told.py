"""What several subcommands say in the same words."""

from __future__ import annotations

from collections.abc import Mapping


def test_scores(metrics: Mapping[str, float]) -> str:
    """Say how well each platform was imputed from the other on the test samples."""
    directions = (("a", "b"), ("b", "a"))
    return ", ".join(f"{t} from {s}: r {metrics[f'test_cross_{t}_corr_mean']:.4f}" for t, s in directions)
