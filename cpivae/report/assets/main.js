"use strict";

async function unpack(id) {
  const text = document.getElementById(`packed-${id}`).textContent;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const decode = (bytes) => new TextDecoder().decode(bytes);

function tabs(onShow) {
  const all = [...document.querySelectorAll("[role=tab]")];
  const show = (tab, focus) => {
    for (const other of all) {
      const on = other === tab;
      other.setAttribute("aria-selected", String(on));
      other.tabIndex = on ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
    }
    if (focus) tab.focus();
    history.replaceState(null, "", `#${tab.dataset.name}`);
    onShow(document.getElementById(tab.getAttribute("aria-controls")));
  };
  all.forEach((tab, i) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(all[(to + all.length) % all.length], true);
    });
  });
  const named = () => all.find((tab) => `#${tab.dataset.name}` === location.hash);
  addEventListener("hashchange", () => named() && show(named()));
  show(named() || all[0]);
}

async function start() {
  const script = document.createElement("script");
  script.textContent = decode(await unpack("plotly"));
  document.head.append(script);
  const data = JSON.parse(decode(await unpack("data")));
  const plot = data.proteins ? proteinPlot(document.getElementById("protein"), data.proteins, data.tables, await unpack("points")) : null;

  // A figure can only be drawn where it can be seen, so each waits for its tab.
  const show = (panel) => {
    for (const place of panel.querySelectorAll("[data-figure]:not(.drawn)")) {
      theme.draw(place, data.figures[place.dataset.figure]);
    }
    for (const place of panel.querySelectorAll("[data-table]:empty")) {
      const { table, first, last, protein } = place.dataset;
      const choose = protein ? (row) => plot.show(protein, row[0]) : undefined;
      drawTable(place, data.tables[table], { first: Number(first), last: Number(last), choose });
    }
    if (plot && panel.contains(plot.root)) plot.draw();
    panel.dataset.shown = "true";
  };
  for (const button of document.querySelectorAll("[data-csv]")) {
    const table = data.tables[button.dataset.csv];
    button.addEventListener("click", () => save(table.file, csv(table)));
    if (looksLikeFormulas(table)) warnOfFormulas(button.parentElement);
  }
  tabs(show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.querySelectorAll(".drawn").forEach((place) => theme.draw(place, place.figure));
  });
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  const message = document.getElementById("trouble");
  message.hidden = false;
  message.append(` (${error})`);
  throw error;
});
