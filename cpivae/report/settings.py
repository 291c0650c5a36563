"""Which settings matter: Optuna's own plots, in the page's colours and sizes."""

from __future__ import annotations

from typing import Any

from cpivae.names import Goal
from cpivae.report import figures as fig
from cpivae.report.figures import Figure
from cpivae.tuning import study as of_optuna

_BARS = 15
"""Settings whose importance is drawn."""
_SCALE = ("--scale-a", "--scale-b", "--scale-c", "--scale-d", "--scale-e")
"""From the worst score to the best."""


def section(study: of_optuna.Study, goal: Goal) -> tuple[dict[str, Any], Figure | None, Figure | None]:
    """Return what importance rests on, its plot and the parallel coordinates; None for what there is too little for."""
    study = of_optuna.for_plots(study)
    n, shares = of_optuna.n_complete(study), of_optuna.importance(study)
    names = list(shares) or sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})
    parallel = _parallel(of_optuna.parallel_plot(study, goal.metric, names), goal) if n >= 2 and names else None
    if not shares:
        absent = (
            f"{n} trials ran to their end inside the space. Importance needs {of_optuna.MIN_COMPLETE} whose scores "
            "differ: with fewer, chance alone orders the settings."
        )
        return {"n": n, "absent": absent}, None, parallel
    told = {"n": n, "good": of_optuna.n_good(n), "shown": min(_BARS, len(names)), "of": len(names)}
    return told, _bars(of_optuna.importance_plot(study, goal.metric, names[:_BARS])), parallel


def _bars(figure: Figure) -> Figure:
    layout = figure["layout"] | {"height": 90 + 24 * len(figure["data"][0]["y"])}
    layout["xaxis"] = layout.get("xaxis", {}) | {"title": {"text": "share of importance"}}
    layout["yaxis"] = layout.get("yaxis", {}) | {"title": {"text": ""}, "tickmode": "linear"}
    traces = [trace | {"marker": trace.get("marker", {}) | {"color": fig.ACCENT}} for trace in figure["data"]]
    return {"data": traces, "layout": layout}


def _parallel(figure: Figure, goal: Goal) -> Figure:
    """Give every line the colour of its score, the first axis, in steps that can be told apart."""
    traces = []
    for trace in figure["data"]:
        if trace.get("mode") == "lines" and isinstance(trace["y"][0], int | float):
            height = trace["y"][0] if goal.sign > 0 else 1 - trace["y"][0]
            color = _SCALE[min(int(height * len(_SCALE)), len(_SCALE) - 1)]
            trace = trace | {"line": trace["line"] | {"color": color, "width": 1.6}, "opacity": 0.8}
        elif trace.get("mode") == "markers":
            scale = _SCALE if goal.sign > 0 else _SCALE[::-1]
            stops = [[i / (len(scale) - 1), color] for i, color in enumerate(scale)]
            bar = trace["marker"]["colorbar"] | {"title": {"text": ""}, "outlinewidth": 0, "thickness": 14}
            trace = trace | {"marker": trace["marker"] | {"colorscale": stops, "reversescale": False, "colorbar": bar}}
        traces.append(trace)
    layout = figure["layout"] | {"height": 470, "margin": {"l": 40, "r": 40, "t": 40, "b": 150}}
    for note in layout.get("annotations", []):
        note |= {"font": {"size": 11, "color": fig.MUTED}, "bgcolor": "--paper", "borderpad": 1}
    layout["xaxis"] |= {
        "tickangle": 30,
        "ticktext": [name.partition(".")[2] or name for name in layout["xaxis"]["ticktext"]],
    }
    return {"data": traces, "layout": layout}
