"use strict";

// Theme: the system's, unless the reader chose otherwise; storage may be off for file://.
const stored = { get() { try { return localStorage.theme; } catch { return undefined; } },
                 set(value) { try { localStorage.theme = value; } catch { /* not kept */ } } };
if (stored.get()) document.documentElement.dataset.theme = stored.get();
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  stored.set(root.dataset.theme);
});

// Sorting: numbers from the largest and words from A, then the other way round, then the table's
// own order with its groups; what is absent stays last.
function value(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.sort ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && Number.isFinite(number) ? number : text;
}

function compare(a, b) {
  const numbers = [typeof a, typeof b].filter((kind) => kind === "number").length;
  if (numbers === 2) return a - b;
  if (numbers === 1) return typeof a === "number" ? 1 : -1;
  return String(a).localeCompare(String(b));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const values = original.filter((row) => !row.classList.contains("group"))
        .map((row) => value(row, column));
      const numeric = values.some((own) => typeof own === "number");
      const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
      const next = { undefined: first, [first]: second }[heading.ariaSort ?? undefined];
      headings.forEach((other) => { other.ariaSort = null; });
      if (!next) { body.replaceChildren(...original); return; }
      heading.ariaSort = next;
      const rows = original.filter((row) => !row.classList.contains("group"));
      const absent = (row) => {
        const own = value(row, column);
        return numeric ? typeof own !== "number" : own === "";
      };
      rows.sort((a, b) => {
        if (absent(a) !== absent(b)) return absent(a) ? 1 : -1;
        const order = compare(value(a, column), value(b, column));
        return next === "ascending" ? order : -order;
      });
      body.replaceChildren(...rows);
    });
  });
}

// Filter: rows whose label has the text; groups left without rows go as well.
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const wanted = filter.value.trim().toLowerCase();
  for (const body of document.querySelectorAll("section[id] .scroll tbody")) {
    let group = null;
    for (const row of body.rows) {
      if (row.classList.contains("group")) { group = row; row.hidden = wanted !== ""; continue; }
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      if (!row.hidden && group) group.hidden = false;
    }
  }
});

// Provenance: what stands behind a number.
const dialog = document.getElementById("provenance");
const source = document.getElementById("provenance-data");
const known = source ? JSON.parse(source.textContent) : null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function pairs(entries) {
  const list = element("dl");
  for (const [name, text, reasons = []] of entries) {
    if (text === "" || text === undefined) continue;
    const value = element("dd", String(text));
    value.append(...reasons.map((reason) => element("small", reason)));
    list.append(element("dt", name.replaceAll("_", " ")), value);
  }
  return list;
}

function folded(title, entries) {
  const made = element("details");
  made.append(element("summary", title), pairs(entries));
  return made;
}

function seedTable(spec, values) {
  const table = element("table");
  const row = (kind, texts) => {
    const made = element("tr");
    made.append(...texts.map((text) => element(kind, String(text))));
    return made;
  };
  const steps = spec.convergence ? `steps (convergence ${spec.convergence})` : "steps";
  table.append(row("th", ["seed", "value", steps, "seconds"]));
  spec.seeds.forEach((s, at) => {
    table.append(row("td", [s.seed, values[at], s.steps, s.seconds]));
  });
  return table;
}

function show(id) {
  const cell = known.cells[id];
  const spec = known.specs[cell.spec];
  const close = element("button", "×", "close");
  close.type = "button";
  close.ariaLabel = "Close";
  close.addEventListener("click", () => dialog.close());
  const parts = [close, element("h2", cell.title), element("p", cell.where, "meta")];
  parts.push(element("p", cell.sd ? `${cell.mean} ± ${cell.sd}` : cell.mean, "big"));
  parts.push(pairs([["95 % interval", cell.interval], ["the paper", cell.paper],
    ["grade", cell.grade], ["status", cell.status], ["split", cell.split], ["source", cell.source]]));
  if (spec && spec.seeds.length) {
    const scroll = element("div", undefined, "scroll");
    scroll.append(seedTable(spec, cell.values));
    parts.push(scroll, pairs([["implementation", spec.implementation], ...Object.entries(spec.made)]),
      ...[["Model", "config"], ["Training", "training"], ["Protocol", "protocol"]]
        .filter(([, part]) => spec.settings[part])
        .map(([title, part]) => folded(title, spec.settings[part])));
  } else if (spec) {
    parts.push(element("p", "No runs stand behind this cell."));
  }
  dialog.replaceChildren(...parts);
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-cell]");
  if (target) show(target.dataset.cell);
  else if (event.target === dialog) dialog.close(); // the backdrop
});
