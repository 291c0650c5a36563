"""The latent space: the codes of both platforms, side by side, in two dimensions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cpivae.names import PLATFORMS
from cpivae.report import figures as fig
from cpivae.report.predictions import Predictions, Table

MAX_SAMPLES: Final = 1500
"""Samples that are drawn; more are thinned out evenly."""
MIN_SAMPLES: Final = 5
_SEED = 0


def section(
    predictions: Predictions, *, umap: bool = True
) -> tuple[dict[str, Any], fig.Figure | None, fig.Figure | None]:
    """Return what the page says of the latent space, and its PCA and UMAP; None for what cannot be drawn.

    ``umap``: whether to draw it where umap-learn is installed, which may take half a minute.
    """
    n = len(predictions.ids)
    kept = np.unique(np.linspace(0, n - 1, min(n, MAX_SAMPLES)).round().astype(int))
    codes = {p: predictions.codes[p][kept] for p in PLATFORMS}
    ids, validating = [predictions.ids[i] for i in kept], predictions.validating[kept]
    wide = {p: table.shape[1] for p, table in codes.items()}
    if len(set(wide.values())) > 1:
        return {"absent": f"The platforms have codes of different lengths ({wide}): they share no space."}, None, None
    if len(kept) < MIN_SAMPLES or not all(np.isfinite(table).all() for table in codes.values()):
        return {"absent": "There are too few samples, or codes that are no numbers."}, None, None
    components, shares = principal_components(codes)
    axes = [f"component {i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares)]
    hue = np.argsort(np.argsort(components["a"][:, 0]))
    pca = _side_by_side(components, hue, ids, validating, axes)
    own, chance = recognised({p: table[validating] for p, table in codes.items()})
    thinned = "" if len(kept) == n else f" {len(kept)} of {n} samples are drawn."
    told = (
        f"Each sample has a code from either platform, in {wide['a']} dimensions. Colours go by the first component on "
        "platform A, and a sample has one colour on both sides. The more alike the two pictures, the better the "
        f"platforms are aligned: {own:.0%} of the validation samples are nearest to their own code from the other "
        f"platform (by chance {chance:.0%}). Pale: training samples.{thinned}"
    )
    if not umap:
        return {"told": told, "umap_absent": "It takes a while: cpivae report makes it, with umap-learn."}, pca, None
    try:
        from umap import UMAP
    except ImportError:
        absent = "Install umap-learn (pip install 'cpivae[umap]'), and make the report again with cpivae report."
        return {"told": told, "umap_absent": absent}, pca, None
    everything = np.concatenate([*codes.values()])
    # One process: with a seed it takes no more, and says so in a warning.
    reducer = UMAP(n_neighbors=min(15, len(everything) - 1), random_state=_SEED, n_jobs=1)
    placed = np.asarray(reducer.fit_transform(everything), dtype=np.float64)
    both = dict(zip(codes, np.split(placed, len(codes)), strict=True))
    return {"told": told}, pca, _side_by_side(both, hue, ids, validating, ["UMAP 1", "UMAP 2"])


def principal_components(codes: dict[str, Table]) -> tuple[dict[str, Table], Table]:
    """Return the first two components of both platforms' codes in one space, and their shares of the variance."""
    everything = np.concatenate([*codes.values()])
    centred = everything - everything.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    two = np.zeros((len(everything), 2))
    two[:, : min(2, sizes.size)] = (left * sizes)[:, :2]
    shares = np.zeros(2)
    if (total := (sizes**2).sum()) > 0:
        shares[: min(2, sizes.size)] = (sizes**2 / total)[:2]
    return dict(zip(codes, np.split(two, len(codes)), strict=True)), shares


def recognised(codes: dict[str, Table]) -> tuple[float, float]:
    """Return the share of samples whose nearest code of the other platform is their own, and what chance would give."""
    a, b = codes["a"], codes["b"]
    if not len(a):
        return float("nan"), float("nan")
    square = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)[None]
    rows = np.arange(len(a))
    own = np.concatenate([square.argmin(axis=1) == rows, square.argmin(axis=0) == rows])
    return float(own.mean()), 1 / len(a)


def _side_by_side(
    both: dict[str, Table], hue: np.ndarray, ids: list[str], validating: np.ndarray, titles: list[str]
) -> fig.Figure:
    traces = []
    for platform, at in both.items():
        for chosen, name, size, opacity in ((~validating, "training", 6, 0.35), (validating, "validation", 9, 0.95)):
            rows = np.flatnonzero(chosen)
            marker = {
                "color": hue[rows],
                "colorscale": "Viridis",
                "cmin": 0,
                "cmax": len(ids) - 1,
                "size": size,
                "opacity": opacity,
            }
            traces.append(
                fig.points(
                    at[rows, 0], at[rows, 1], name, "", marker=marker, showlegend=False,
                    text=[fig.label(ids[i]) for i in rows],
                    hovertemplate=f"%{{text}}<extra>{name}, {platform.upper()}</extra>",
                    **({} if platform == "a" else {"xaxis": "x2", "yaxis": "y2"}),
                )
            )  # fmt: skip
    layout: dict[str, Any] = {
        "xaxis": {"domain": [0, 0.485]},
        "xaxis2": {"domain": [0.515, 1], "matches": "x", "title": {"text": titles[0]}},
        "yaxis2": {"matches": "y", "anchor": "x2", "showticklabels": False},
        "margin": {"l": 64, "r": 24, "t": 36, "b": 56},
        "annotations": [
            {
                "text": f"<b>platform {p.upper()}</b>",
                "xref": "paper",
                "yref": "paper",
                "x": x,
                "y": 1.0,
                "yanchor": "bottom",
                "showarrow": False,
            }
            for p, x in (("a", 0.2425), ("b", 0.7575))
        ],
    }
    return fig.figure(traces, x=titles[0], y=titles[1], height=460, **layout)
