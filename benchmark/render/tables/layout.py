"""Cells and comparisons -> the blocks of a table."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.analyse.cells import CellSpec
from benchmark.analyse.statistics import RULES
from benchmark.evaluate.metrics import PAPER_METRICS
from benchmark.plan import OWN_MODEL
from benchmark.render.document import (
    Block,
    Entry,
    Mark,
    TableRow,
    ValueKey,
    change,
    number,
    p_value,
    percent,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.definitions import (
    ABLATIONS,
    CATEGORIES,
    CROSS_MODAL,
    FEATURE_CONTROLS,
    SWEEPS,
    category,
)

ONE_MODALITY = (
    "This dataset has one modality: cross-attention and IICM are left out, so that what depends on "
    "them is not testable here."
)

_EMPTY = {"missing": "no runs", "failed": "failed", "stale": "no current run"}


class Layout:
    """One table of results.

    cells: long form, in sweeps with the table "<id>-validation" as well. printed: the paper's.
    """

    def __init__(
        self,
        name: str,
        cell_specs: Sequence[CellSpec],
        cells: pd.DataFrame,
        comparisons: pd.DataFrame,
        printed: pd.DataFrame,
    ) -> None:
        self.name, self.cell_specs = name, cell_specs
        self.table_id = name.removeprefix("table")
        self.cells = _by_key(cells)
        self.comparisons = _by_key(comparisons)
        own = printed[(printed["table"] == self.table_id) & (printed["row"] == "Improv.")]
        self.improvements = {
            (dataset, metric): percent(float(value) / 100, 2)
            for dataset, metric, value in zip(
                own["dataset"], own["metric"], own["value"], strict=True
            )
        }

    def blocks(self, note: DatasetNote) -> list[Block]:
        """The dataset's grid, and how FindRec compares there."""
        cell_specs = [
            cell_spec for cell_spec in self.cell_specs if cell_spec.run_key.dataset == note.name
        ]
        notes: tuple[str, ...] = ()
        if self.name in CROSS_MODAL and len(note.encoders) < 2:
            notes = (ONE_MODALITY,)
        if self.name in SWEEPS:
            return [self._sweep(cell_specs, note, notes), *self._inference(cell_specs, note)]
        if self.name == "table3":
            rows = self._by_bucket(cell_specs)
        elif self.name == "table5":
            rows = [TableRow(ABLATIONS[s.run_key.variant][1], self._entries(s)) for s in cell_specs]
        else:
            rows = self._by_category(cell_specs, note)
        grid = Block(note.heading, "method", PAPER_METRICS, tuple(rows), notes)
        return [grid, *self._inference(cell_specs, note)]

    # ------------------------------------------------------------ grids

    def _by_category(self, cell_specs: Sequence[CellSpec], note: DatasetNote) -> list[TableRow]:
        rows: list[TableRow] = []
        for key, heading in CATEGORIES.items():
            members = [cell_spec for cell_spec in cell_specs if category(cell_spec.run_key) == key]
            for at, cell_spec in enumerate(members):
                change_of_features = FEATURE_CONTROLS.get(cell_spec.run_key.variant)
                label = (
                    f"{cell_spec.row}, {change_of_features}"
                    if change_of_features
                    else cell_spec.row
                )
                rows.append(
                    TableRow(label, self._entries(cell_spec), "" if at else heading, not at)
                )
            if key == "ours" and members:
                rows.append(self._improvement(members[0], note))
        return rows

    def _by_bucket(self, cell_specs: Sequence[CellSpec]) -> list[TableRow]:
        rows: list[TableRow] = []
        for bucket in RULES.buckets:
            members = [cell_spec for cell_spec in cell_specs if cell_spec.bucket == bucket]
            rows += [
                TableRow(
                    cell_spec.row,
                    self._entries(cell_spec),
                    "" if at else f"length {bucket.label}",
                    not at,
                )
                for at, cell_spec in enumerate(members)
            ]
        return rows

    def _improvement(self, cell_spec: CellSpec, note: DatasetNote) -> TableRow:
        """FindRec against the best other row, as the paper's last row has it."""
        entries = []
        for metric in PAPER_METRICS:
            row = self.comparisons.get(ValueKey(self.table_id, *cell_spec.key, metric))
            text = percent(row["difference"]) if row is not None else "–"
            entries.append(Entry(text, paper=self.improvements.get((note.name, metric), "")))
        return TableRow(f"{OWN_MODEL} vs best other", tuple(entries))

    def _sweep(
        self, cell_specs: Sequence[CellSpec], note: DatasetNote, notes: tuple[str, ...]
    ) -> Block:
        rows = []
        for cell_spec in cell_specs:
            entries = (
                self._entry(cell_spec, RULES.metric, self._validation_id),
                *self._entries(cell_spec),
            )
            base = " (base)" if cell_spec.run_key.variant == "base" else ""
            rows.append(TableRow(f"{cell_spec.column}{base}", entries))
        headings = (f"validation {RULES.metric}", *(f"test {metric}" for metric in PAPER_METRICS))
        sweep = SWEEPS[self.name]
        notes = (self._choice(cell_specs, sweep.label), *notes)
        return Block(note.heading, sweep.label, headings, tuple(rows), notes)

    def _choice(self, cell_specs: Sequence[CellSpec], label: str) -> str:
        """What validation chooses, and how much choosing on test would flatter."""

        def mean(cell_spec: CellSpec, table_id: str) -> float:
            return float(self.cells[ValueKey(table_id, *cell_spec.key, RULES.metric)]["mean"])

        def test(cell_spec: CellSpec) -> float:
            return mean(cell_spec, self.table_id)

        def validation(cell_spec: CellSpec) -> float:
            return mean(cell_spec, self._validation_id)

        finished = [cell_spec for cell_spec in cell_specs if not math.isnan(test(cell_spec))]
        if len(finished) < 2:
            return "Nothing to choose from: fewer than two settings have runs."
        if len({(validation(cell_spec), test(cell_spec)) for cell_spec in finished}) == 1:
            return "Every setting gives the same numbers: it has no effect here."
        chosen, best = max(finished, key=validation), max(finished, key=test)
        text = (
            f"Chosen on validation: {label} = {chosen.column}, with {RULES.metric} "
            f"{number(validation(chosen))} there and {number(test(chosen))} on test."
        )
        if best is chosen:
            return f"{text} It is the best on test as well."
        return (
            f"{text} Best on test: {label} = {best.column}, {number(test(best))}; choosing on test "
            f"would flatter by {change(test(best), test(chosen))}."
        )

    @property
    def _validation_id(self) -> str:
        return f"{self.table_id}-validation"

    # ------------------------------------------------------------ entries

    def _entries(self, cell_spec: CellSpec) -> tuple[Entry, ...]:
        return tuple(self._entry(cell_spec, metric, self.table_id) for metric in PAPER_METRICS)

    def _entry(self, cell_spec: CellSpec, metric: str, table_id: str) -> Entry:
        key = ValueKey(table_id, *cell_spec.key, metric)
        cell = self.cells[key]
        paper = cell["paper"]
        if cell["n"] == 0 or math.isnan(cell["mean"]):
            text = "no users" if cell["n"] else _EMPTY.get(cell["status"], cell["status"])
            return Entry(text, paper=number(paper), key=key)
        comparable = cell["grade"] in ("A", "B")
        row = self.comparisons.get(key)
        return Entry(
            number(cell["mean"]),
            number(cell["sd"]),
            number(paper),
            change(cell["mean"], paper) if comparable else "",
            bold=row is not None and bool(row["paper_bold"]),
            underline=row is not None and bool(row["paper_underline"]),
            marks=self._marks(cell_spec, cell, row),
            key=key,
        )

    def _marks(
        self, cell_spec: CellSpec, cell: dict[Any, Any], row: dict[Any, Any] | None
    ) -> tuple[Mark, ...]:
        """Stars and corrected marks only where a test was made."""
        marks: list[Mark] = []
        if row is not None and cell["n"] >= RULES.minimum_seeds and not math.isnan(row["p"]):
            marks += ["star"] * bool(row["paper_star"])
            if row["star"]:
                marks.append("significant")
            elif row["bold"]:
                marks.append("best")
            elif row["underline"]:
                marks.append("second")
        if cell["status"] == "budget":
            marks.append("budget")
        elif cell["n"] < len(cell_spec.runs):
            marks.append("partial")
        elif cell["status"] == "stale":
            marks.append("stale")
        return tuple(marks)

    # ------------------------------------------------------------ inference

    def _inference(self, cell_specs: Sequence[CellSpec], note: DatasetNote) -> list[Block]:
        """FindRec against the best other row or setting, with the interval and every test."""
        own = [
            cell_spec
            for cell_spec in cell_specs
            if cell_spec.run_key.model == OWN_MODEL and cell_spec.compared
        ]
        several = len(own) > 1
        rows = []
        for cell_spec in own:
            for metric in PAPER_METRICS if not several else (RULES.metric,):
                row = self.comparisons.get(ValueKey(self.table_id, *cell_spec.key, metric))
                if row is not None:
                    rows.append(self._inference_row(cell_spec, metric, row, several))
        if not rows:
            return []
        headings = (
            *("against", "difference", "95 % interval", "smallest detectable", "verdict"),
            *("Holm p", "paired t p", "Welch p", "Wilcoxon p", "Hedges g"),
        )
        title = f"Inference on {note.title}"
        notes = (
            "Relative difference from the best other, by the crossed bootstrap over users and "
            "seeds; the tests over seeds alone stand beside it and decide nothing.",
        )
        return [Block(title, "cell", headings, tuple(rows), notes, detail=True)]

    def _inference_row(
        self, cell_spec: CellSpec, metric: str, row: dict[Any, Any], several: bool
    ) -> TableRow:
        interval = ""
        if not math.isnan(row["low"]):
            interval = f"[{percent(row['low'])}, {percent(row['high'])}]"
        verdict = f"inconclusive: {row['note']}" if row["note"] else row["verdict"]
        if not math.isnan(row["p"]) and row["verdict"] != "inconclusive":
            verdict = "better" if row["verdict"] == "replicated" else "not better"
        effect = row["effect_hedges"]
        texts = (
            *(row["versus"], percent(row["difference"]), interval),
            *(percent(row["smallest_detectable"]), verdict, p_value(row["p_holm"])),
            *(p_value(row["p_paired"]), p_value(row["p_welch"]), p_value(row["p_wilcoxon"])),
            number(effect, 2),
        )
        label = f"{metric}, {self._short(cell_spec)}" if several else metric
        return TableRow(label, tuple(Entry(text) for text in texts))

    def _short(self, cell_spec: CellSpec) -> str:
        if self.name == "table5":
            return ABLATIONS[cell_spec.run_key.variant][1]
        if self.name in SWEEPS:
            return f"{SWEEPS[self.name].label} = {cell_spec.column}"
        return f"length {cell_spec.key.column}" if cell_spec.bucket is not None else cell_spec.row


def _by_key(frame: pd.DataFrame) -> dict[ValueKey, dict[Any, Any]]:
    return {
        ValueKey(r["table"], r["row"], r["column"], r["dataset"], r["metric"]): r
        for r in frame.to_dict("records")
    }
