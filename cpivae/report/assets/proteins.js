"use strict";
// Predicted against measured for any protein: a search box, and values that lie in the page a byte each.

const MOST_HITS = 50;

function proteinPlot(root, data, tables, bytes) {
  const all = Object.keys(data.platforms).flatMap((platform) => tables[`proteins_${platform}`].rows.map((row, i) => ({
    platform, row, i, lower: String(row[0]).toLowerCase(),
  })));
  const source = (platform) => data.platforms[platform].source;
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const input = make("input", {
    id: "find", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder: "a part of its name",
    "aria-expanded": "false", "aria-controls": "found", "aria-autocomplete": "list",
  });
  const list = make("ul", { id: "found", role: "listbox", "aria-label": "Proteins found" });
  list.hidden = true;
  const title = make("p", { class: "protein-title", "aria-live": "polite" });
  const stats = make("p", { class: "note" });
  const place = make("div", { class: "figure" });
  root.replaceChildren(
    make("div", { class: "finder" }, make("label", { for: "find" }, `Find one of ${all.length.toLocaleString("en")} proteins`), input, list),
    title, stats, place,
  );
  let hits = [], active = -1, current = all[0];

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (to) => {
    active = to;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === to)));
    if (to < 0) return;
    list.children[to].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", list.children[to].id);
  };
  const find = () => {
    const words = input.value.trim().toLowerCase();
    // What begins with the words is more likely meant than what has them somewhere.
    const having = words ? all.filter((p) => p.lower.includes(words)) : all;
    hits = [...having.filter((p) => p.lower.startsWith(words)), ...having.filter((p) => !p.lower.startsWith(words))].slice(0, MOST_HITS);
    list.replaceChildren(...hits.map((hit, i) => {
      const item = make("li", { role: "option", id: `found-${i}`, "aria-selected": "false" },
        make("span", {}, String(hit.row[0])), make("span", {}, `${hit.platform.toUpperCase()}, r ${shown(hit.row[1])}`));
      item.addEventListener("mousedown", (event) => { event.preventDefault(); choose(hit); });
      return item;
    }));
    if (!hits.length) list.append(make("li", { class: "none" }, "No protein has that in its name."));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(hits.length && words ? 0 : -1);
  };
  const choose = (hit) => {
    current = hit;
    input.value = String(hit.row[0]);
    close();
    draw();
  };
  input.addEventListener("input", find);
  input.addEventListener("focus", () => { input.select(); find(); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && hits[active]) choose(hits[active]);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) find();
      else if (hits.length) mark((active + (event.key === "ArrowDown" ? 1 : -1) + hits.length) % hits.length);
    }
  });

  // Measured values of n samples, then predicted ones; see pack() in cpivae/report/proteins.py.
  const values = ({ platform, i }) => {
    const { start, ranges } = data.platforms[platform];
    const at = start + i * 2 * data.n;
    const [mLow, mHigh, pLow, pHigh] = ranges[i];
    const pairs = { x: [], y: [] };
    for (let j = 0; j < data.n; j++) {
      const m = bytes[at + j], p = bytes[at + data.n + j];
      if (m === data.missing || p === data.missing) continue;
      pairs.x.push(mLow + (m / data.levels) * (mHigh - mLow));
      pairs.y.push(pLow + (p / data.levels) * (pHigh - pLow));
    }
    return pairs;
  };
  function draw() {
    if (!current) return;
    const [name, r, r2, rmse, n] = current.row;
    const { x, y } = values(current);
    const ends = [Math.min(...x, ...y), Math.max(...x, ...y)];
    title.textContent = `${name} of ${current.platform.toUpperCase()}, predicted from ${source(current.platform).toUpperCase()}`;
    stats.textContent = `r ${shown(r)}, R² ${shown(r2)}, RMSE ${shown(rmse)}, ${n} measured values${x.length < n ? `, ${x.length} of them drawn` : ""}`;
    theme.draw(place, {
      data: [
        { type: "scatter", mode: "lines", x: ends, y: ends, line: { color: "--muted", dash: "dot", width: 1.5 }, hoverinfo: "skip" },
        {
          type: "scatter", mode: "markers", x, y, marker: { color: "--accent", size: 8, opacity: 0.75 },
          hovertemplate: "measured %{x:.4~g}<br>predicted %{y:.4~g}<extra></extra>",
        },
      ],
      layout: {
        height: 460, showlegend: false, title: { text: "" },
        xaxis: { title: { text: `measured ${label(name)}` } }, yaxis: { title: { text: "predicted" } },
      },
    });
  }
  return {
    root, draw,
    show(platform, name) {
      choose(all.find((p) => p.platform === platform && p.row[0] === name));
      root.scrollIntoView({ behavior: "smooth", block: "center" });
    },
  };
}
