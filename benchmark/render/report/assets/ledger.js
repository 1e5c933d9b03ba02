"use strict";

// The claims ledger: lines that have every chosen verdict, history, dataset, grade and standing.
const ledger = document.getElementById("ledger");
const choices = [...document.querySelectorAll("#ledger-filters select")];
const counted = document.getElementById("ledger-count");

function show() {
  let shown = 0;
  for (const row of ledger.tBodies[0].rows) {
    row.hidden = !choices.every(({ dataset, value }) =>
      value === "" || row.dataset[dataset.filter] === value);
    shown += row.hidden ? 0 : 1;
  }
  counted.textContent = `${shown} of ${ledger.tBodies[0].rows.length} lines`;
}

if (ledger) {
  for (const choice of choices) choice.addEventListener("change", show);
  show();
}
