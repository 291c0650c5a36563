"use strict";
// Figures name colours by what they mean (--accent); this puts in those of the theme.

const theme = {
  color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  },
  // Only strings that are a variable's name: labels are never touched.
  colored(value) {
    if (typeof value === "string") return /^--[a-z-]+$/.test(value) ? theme.color(value) : value;
    if (Array.isArray(value)) return value.map(theme.colored);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, theme.colored(item)]));
    }
    return value;
  },
  axis(given) {
    return {
      gridcolor: theme.color("--grid"), zerolinecolor: theme.color("--line"), linecolor: theme.color("--line"),
      tickfont: { color: theme.color("--muted"), size: 12 }, automargin: true, ...theme.colored(given),
      title: { text: given.title ? given.title.text : "", font: { size: 13 }, standoff: 10 },
    };
  },
  layout(given) {
    const layout = {
      margin: { l: 64, r: 24, t: 16, b: 56 }, hovermode: "closest", ...theme.colored(given),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: theme.color("--font"), size: 13, color: theme.color("--ink") },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.color("--line"), activecolor: theme.color("--accent") },
      hoverlabel: {
        bgcolor: theme.color("--raised"), bordercolor: theme.color("--line"),
        font: { family: theme.color("--font"), color: theme.color("--ink") },
      },
    };
    layout.legend = { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...layout.legend };
    for (const name of Object.keys(layout).concat(["xaxis", "yaxis"])) {
      if (/^[xy]axis\d*$/.test(name)) layout[name] = theme.axis(layout[name] || {});
    }
    return layout;
  },
  draw(element, figure) {
    element.classList.add("drawn");
    element.figure = figure;
    return Plotly.react(element, theme.colored(figure.data), theme.layout(figure.layout), {
      responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  },
};

// Plotly takes some of HTML in its labels; what comes from a table is to be seen as it is.
const label = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
