"use strict";

// "Does A beat B?": any two rows of Table 2. Everything was worked out when the page was made; a
// pair is stored once, as logs of A / B, so that B against A is the same with the signs turned.
const pairsSource = document.getElementById("pairs-data");
const pairsData = pairsSource ? JSON.parse(pairsSource.textContent) : { datasets: {} };
const byId = (id) => document.getElementById(id);

// As the tables print numbers: a true minus sign, a no-break space before the per cent sign.
const minus = (text) => text.replace("-", "−");
const fixed = (x, digits) => (x === null ? "" : minus(x.toFixed(digits)));
const percent = (x) => {
  if (x === null) return "";
  const text = (100 * x).toFixed(1);
  return `${text === "-0.0" ? "0.0" : minus(x >= 0 ? `+${text}` : text)}\u00a0%`;
};
const unsigned = (x) => percent(x).replace("+", "");
const ratio = (log) => (log === null ? null : Math.expm1(log));
const interval = (low, high, format) =>
  (low === null || high === null ? "no interval" : `${format(low)} to ${format(high)}`);

function pairOf(dataset, metric, a, b) {
  const n = dataset.rows.length;
  const [i, j] = a < b ? [a, b] : [b, a];
  const stored = dataset.pairs[metric][i * n - (i * (i + 1)) / 2 + (j - i - 1)];
  const pair = Object.fromEntries(pairsData.fields.map((name, at) => [name, stored[at]]));
  pair.reason = stored[pairsData.fields.length] ?? "";
  if (a < b) return pair;
  const turned = { ...pair };
  const negated = (x) => (x === null ? null : -x);
  for (const term of ["kept", "left_out", "price"]) {
    turned[term] = negated(pair[term]);
    turned[`${term}_low`] = negated(pair[`${term}_high`]);
    turned[`${term}_high`] = negated(pair[`${term}_low`]);
  }
  for (const protocol of ["kept", "left_out"]) for (const end of ["", "_low", "_high"]) {
    turned[`win_${protocol}${end}`] = pair[`loss_${protocol}${end}`];
    turned[`loss_${protocol}${end}`] = pair[`win_${protocol}${end}`];
  }
  return turned;
}

// An interval on the log scale with a line at no difference.
function plot(pair, term, reach) {
  const made = element("span", undefined, "forest");
  made.ariaHidden = "true";
  const at = (x) => `${50 + (48 * Math.max(-reach, Math.min(reach, x))) / reach}%`;
  const mark = (className, left, width) => {
    const part = element("span", undefined, className);
    part.style.left = left;
    if (width) part.style.width = width;
    made.append(part);
  };
  mark("zero", "50%");
  const [low, high] = [pair[`${term}_low`], pair[`${term}_high`]];
  if (low !== null && high !== null)
    mark("span", at(low), `${parseFloat(at(high)) - parseFloat(at(low))}%`);
  if (pair[term] !== null) mark("point", at(pair[term]));
  return made;
}

function grid(headings, rows, className) {
  const table = element("table", undefined, className);
  const head = table.createTHead().insertRow();
  for (const text of headings) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [label, ...cells] of rows) {
    const row = body.insertRow();
    const heading = element("th", label);
    heading.scope = "row";
    row.append(heading);
    for (const content of cells) {
      const cell = row.insertCell();
      cell.append(content);
    }
  }
  const scroll = element("div", undefined, "scroll");
  scroll.tabIndex = 0;
  scroll.append(table);
  return scroll;
}

function decomposition(pair) {
  const terms = [["history kept", "kept"], ["= history left out", "left_out"],
    ["+ price of history items", "price"]];
  const ends = terms.flatMap(([, term]) => ["", "_low", "_high"].map((end) => pair[term + end]));
  const reach = Math.max(0.01, ...ends.filter((x) => x !== null).map(Math.abs));
  return grid(["", "A / B − 1", "95 % interval", "log(A / B)", ""],
    terms.map(([label, term]) => [label, percent(ratio(pair[term])),
      interval(ratio(pair[`${term}_low`]), ratio(pair[`${term}_high`]), percent),
      fixed(pair[term], 3), plot(pair, term, reach)]), "terms");
}

// What may be said: a verdict where the comparison was fixed beforehand, else what the interval is.
function said(dataset, metric, a, b, pair, protocol) {
  const term = protocol === "kept" ? "kept" : "left_out";
  const names = [dataset.rows[a].name, dataset.rows[b].name];
  if (metric === pairsData.decided_metric) {
    const known = dataset.verdicts[`${names[0]}|${names[1]}`]
      ?? dataset.verdicts[`${names[1]}|${names[0]}`];
    if (known?.[protocol]) return known[protocol];
  }
  const [low, high] = [pair[`${term}_low`], pair[`${term}_high`]];
  if (low === null) return pair.reason ? `no interval: ${pair.reason}` : "no interval";
  const where = low > 0 ? "the interval lies above zero" : high < 0 ? "the interval lies below zero"
    : "the interval includes zero";
  return `${where}; no verdict, since this comparison was not fixed beforehand`;
}

function sides(dataset, metric, a, b, pair) {
  const part = (users) => unsigned(users / dataset.users);
  const share = (name) => `${part(pair[name])} (${interval(pair[`${name}_low`],
    pair[`${name}_high`], part)})`;
  const both = (label, name, make) => [label, make(name("kept"), 0), make(name("left_out"), 1)];
  const mean = (row) => [dataset.rows[row].name,
    ...dataset.rows[row].means[metric].map((x) => fixed(x, 4))];
  const plain = (prefix) => (protocol) => `${prefix}_${protocol}`;
  return grid(["", "history kept", "history left out"], [
    mean(a), mean(b),
    both("smallest detectable difference", plain("detectable"), (name) => unsigned(pair[name])),
    both("users whom A serves better", plain("win"), share),
    both("alike", plain("tie"), share),
    both("worse", plain("loss"), share),
    ["what is decided", said(dataset, metric, a, b, pair, "kept"),
      said(dataset, metric, a, b, pair, "left out")],
  ], "sides");
}

function compareRows() {
  const dataset = pairsData.datasets[byId("pick-dataset").value];
  const metric = byId("pick-metric").value;
  const [a, b] = [Number(byId("pick-a").value), Number(byId("pick-b").value)];
  if (a === b) {
    byId("compared").replaceChildren(element("p", "Choose two different rows."));
    return;
  }
  const pair = pairOf(dataset, metric, a, b);
  const [nameA, nameB] = [dataset.rows[a].name, dataset.rows[b].name];
  const seeds = [a, b].map((row) => dataset.rows[row])
    .map((row) => `${row.name} ${row.seeds}/${row.asked}${row.control ? ", a control" : ""}`);
  const notes = [
    `A is ${nameA}, B is ${nameB}; ${dataset.users.toLocaleString("en")} users; seeds: ${seeds.join("; ")}.`,
    "log(A / B) kept = log(A / B) left out + log of the ratio of what both keep. A row keeps its "
      + "score with the history kept over its score with it left out. The last term, the price of "
      + "history items, is descriptive and not a cause.",
    `A user counts as better or worse where the means over seeds differ by more than ${pairsData.margin}. `
      + `Each interval covers its own comparison with 95 %; of the ${(dataset.rows.length * (dataset.rows.length - 1)) / 2} `
      + "pairs that can be picked, some exclude zero by chance.",
  ];
  byId("compared").replaceChildren(
    element("h3", `${nameA} against ${nameB} on ${dataset.title}, ${metric}`),
    decomposition(pair), sides(dataset, metric, a, b, pair),
    ...notes.map((text) => element("p", text, "note")));
}

function offerRows() {
  const dataset = pairsData.datasets[byId("pick-dataset").value];
  const wanted = { "pick-a": dataset.first, "pick-b": dataset.second };
  for (const [id, chosen] of Object.entries(wanted)) {
    const select = byId(id);
    const before = select.selectedOptions[0]?.textContent;
    select.replaceChildren(...dataset.rows.map((row, at) => new Option(row.name, at)));
    const kept = dataset.rows.findIndex((row) => row.name === before); // the row chosen so far
    select.value = kept >= 0 ? kept : chosen;
  }
}

if (byId("picker")) {
  byId("picker").hidden = false;
  byId("picker").addEventListener("submit", (event) => event.preventDefault());
  byId("pick-dataset").addEventListener("change", () => { offerRows(); compareRows(); });
  for (const id of ["pick-metric", "pick-a", "pick-b"]) byId(id).addEventListener("change", compareRows);
  byId("pick-swap").addEventListener("click", () => {
    [byId("pick-a").value, byId("pick-b").value] = [byId("pick-b").value, byId("pick-a").value];
    compareRows();
  });
  offerRows();
  compareRows();
}
