"""``cpivae simulate``: a pair of tables of any size, whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    output_dir: Annotated[Path, typer.Option("--output_dir", help="New folder for the tables and what was planted.")],
    n: Annotated[int, typer.Option("--n", help="Samples.")] = 4000,
    platform_a: Annotated[int, typer.Option("--platform_a", help="Features of platform A.")] = 2168,
    platform_b: Annotated[int, typer.Option("--platform_b", help="Features of platform B.")] = 2731,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same tables.")] = 0,
) -> None:
    """Write a simulated Olink-SomaScan pair: real factors, published agreement, detection limits, missing values."""
    from cpivae.data.simulation.folder import write_simulated_pair

    planted = write_simulated_pair(output_dir, n, {"a": platform_a, "b": platform_b}, seed)
    quartiles = planted["quartiles_of_matched_correlations"]
    print(f"{planted['matched_features']} features are on both platforms; quartiles of their correlation:")
    for name in ("published", "measured_spearman", "measured_pearson"):
        print(f"  {name.replace('_', ', '):<20}" + "  ".join(f"{value:.2f}" for value in quartiles[name]))
    gaps = planted["missing_cells"]
    print(f"missing cells: {gaps['a']:.1%} of platform a, {gaps['b']:.1%} of platform b")
    print(f"wrote {n} samples x {platform_a} and {platform_b} features to {output_dir}")
