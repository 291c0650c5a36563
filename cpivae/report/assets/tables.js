"use strict";
// Tables that can be sorted by any column, and saved as CSV whole however many rows are shown.

const csv = (table) => {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return [table.columns, ...table.rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
};

const save = (name, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

// A spreadsheet computes a cell that begins like this. Quotes do not keep it from that, and what does (an apostrophe before
// it) would give programs that read the file another name: so cells stay as they are, and people are told.
const looksLikeFormulas = (table) => table.rows.some((row) => row.some((value) => typeof value === "string" && /^[=+\-@\t\r]/.test(value)));

const warnOfFormulas = (heading) => {
  const note = document.createElement("p");
  note.className = "note formulas";
  note.textContent = "Some names begin with =, +, - or @, and are saved as they are. A spreadsheet would take them for formulas: import the file there, with its columns as text, instead of opening it.";
  heading.after(note);
};

const shown = (value, decimals = 4) => {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && decimals === 0) return value.toLocaleString("en");
  return decimals < 0 ? value.toExponential(2) : value.toFixed(decimals);
};

// Numbers of a column stand under each other: all have as many decimals as four digits of the largest need.
const decimalsOf = (values) => {
  const numbers = values.filter((v) => typeof v === "number");
  if (numbers.every(Number.isInteger)) return 0;
  const largest = Math.max(...numbers.map(Math.abs));
  if (largest < 0.01 || largest >= 1e6) return -1;
  return largest < 10 ? 4 : largest < 100 ? 2 : 1;
};

const compare = (a, b) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
};

// first, last: how many rows to show from an end of the table; choose: called with the row that is clicked.
function drawTable(place, table, { first, last, choose } = {}) {
  let rows = table.rows;
  // A table of which an end is shown is in the order of its second column; what has nothing there is not the worst.
  if (first || last) rows = rows.filter((row) => row[1] !== null);
  const half = Math.ceil(rows.length / 2); // of few rows none is both among the first and among the last
  if (last) rows = rows.slice(half).slice(-last).reverse();
  else if (first) rows = rows.slice(0, Math.min(first, half));
  const numeric = table.columns.map((_, i) => rows.some((r) => typeof r[i] === "number"));
  const decimals = table.columns.map((_, i) => decimalsOf(rows.map((r) => r[i])));
  const bold = new Set((table.bold || []).map((i) => table.rows[i]));
  const element = document.createElement("table");
  const head = element.createTHead().insertRow();
  const body = element.createTBody();
  const fill = () => {
    body.replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      if (bold.has(row)) line.className = "bold";
      row.forEach((value, i) => {
        const cell = line.insertCell();
        cell.textContent = shown(value, decimals[i]);
        if (numeric[i]) cell.className = "number";
      });
      if (choose) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "link";
        button.textContent = button.title = line.cells[0].textContent;
        button.addEventListener("click", () => choose(row));
        line.cells[0].replaceChildren(button);
      }
      return line;
    }));
  };
  table.columns.forEach((name, i) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (numeric[i]) cell.className = "number";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      const up = cell.getAttribute("aria-sort") === "ascending";
      head.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", up ? "descending" : "ascending");
      rows = [...rows].sort((a, b) => (up ? -1 : 1) * compare(a[i], b[i]));
      fill();
    });
    cell.append(button);
    head.append(cell);
  });
  fill();
  const frame = document.createElement("div");
  frame.className = "scroll";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", place.dataset.label || table.file);
  frame.append(element);
  place.replaceChildren(frame);
}
