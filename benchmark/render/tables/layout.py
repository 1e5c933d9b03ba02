"""Cells and comparisons -> the blocks of a table.

Of every dataset there is one narrow grid for a first look and for the terminal, the metric of the
rules under both protocols side by side; then a grid of all metrics for each protocol; then what
stands behind the marks (`inference.py`).
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.analyse.cells import CellSpec, Table
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS, SHOWN_METRICS, History
from benchmark.plan import OWN_MODEL
from benchmark.render.document import (
    Block,
    Entry,
    Mark,
    TableRow,
    ValueKey,
    change,
    number,
    percent,
)
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.contrasts import BASE_TABLES, CONTRAST_TABLES
from benchmark.render.tables.definitions import (
    ABLATIONS,
    BY_METHOD,
    CATEGORIES,
    CROSS_MODAL,
    SWEEPS,
    VARIANT_LABELS,
    category,
)
from benchmark.render.tables.inference import (
    HEADINGS,
    price_of_history,
    variant_effects,
    verdicts,
)

ONE_MODALITY = (
    "This dataset has one modality: cross-attention and IICM are left out, so that what depends on "
    "them is not testable here."
)

_EMPTY = {
    "missing": "no runs",
    "failed": "failed",
    "stale": "no current run",
    "idle": "does not act",
}


_MARKS: dict[str | None, Mark] = {"not shown": "unshown", "gaining": "gaining"}
"""Of what is known of a row's budget; "not established" is said once, under the table."""

Column = tuple[str, History, str]
"""(heading, protocol, metric) of a grid's column; the table's own cells."""


class Layout:
    """One table of results.

    table: its numbers. cells: long form, in sweeps with the table "<id>-validation" as well.
    printed: the paper's.
    """

    def __init__(
        self,
        name: str,
        cell_specs: Sequence[CellSpec],
        table: Table,
        cells: pd.DataFrame,
        printed: pd.DataFrame,
    ) -> None:
        self.name, self.cell_specs, self.table = name, cell_specs, table
        self.table_id = name.removeprefix("table")
        self.cells = _by_key(cells)
        self.best = _by_key(table.best)
        own = printed[(printed["table"] == self.table_id) & (printed["row"] == "Improv.")]
        self.improvements = {
            (dataset, metric): percent(float(value) / 100, 2)
            for dataset, metric, value in zip(
                own["dataset"], own["metric"], own["value"], strict=True
            )
        }

    def blocks(self, note: DatasetNote) -> list[Block]:
        """The dataset's grids, and what stands behind their marks."""
        own = [c for c in self.cell_specs if c.run_key.dataset == note.name]
        behind: list[Block] = []
        if self.name in BY_METHOD:
            compared = [c for c in own if c.run_key.variant != "base"]
            labels = [self._short(c) for c in compared]
            behind = [variant_effects(self.table, compared, note, labels, BY_METHOD[self.name])]
        elif self.name not in CONTRAST_TABLES:
            behind = verdicts(self.table, note)
        behind += price_of_history(self.table, own, note, [self._short(c) for c in own])
        return [
            self._summary(own, note),
            *(self._all_metrics(own, note, protocol) for protocol in PROTOCOLS),
            *behind,
        ]

    # ------------------------------------------------------------ grids

    def _summary(self, cell_specs: Sequence[CellSpec], note: DatasetNote) -> Block:
        """The metric of the rules under both protocols."""
        notes: tuple[str, ...] = ()
        if self.name in CROSS_MODAL and len(note.encoders) < 2:
            notes = (ONE_MODALITY,)
        if self.name in SWEEPS:
            label = SWEEPS[self.name].label
            chosen = (self._choice(cell_specs, label, protocol) for protocol in PROTOCOLS)
            notes = (*chosen, *notes)
        columns = [(HEADINGS[protocol], protocol, RULES.metric) for protocol in PROTOCOLS]
        return self._grid(f"{note.heading}: {RULES.metric}", cell_specs, note, columns, notes)

    def _all_metrics(
        self, cell_specs: Sequence[CellSpec], note: DatasetNote, protocol: History
    ) -> Block:
        title = f"{note.title}, {HEADINGS[protocol]}"
        columns = [(metric, protocol, metric) for metric in SHOWN_METRICS]
        return self._grid(title, cell_specs, note, columns, terminal=False)

    def _grid(
        self,
        title: str,
        cell_specs: Sequence[CellSpec],
        note: DatasetNote,
        columns: Sequence[Column],
        notes: tuple[str, ...] = (),
        *,
        terminal: bool = True,
    ) -> Block:
        headings = tuple(heading for heading, _, _ in columns)
        row_heading = "method"
        if self.name in SWEEPS:
            row_heading = SWEEPS[self.name].label
            headings = tuple(
                f"{split} {heading}" for split in ("validation", "test") for heading in headings
            )
            rows = [self._swept(cell_spec, columns) for cell_spec in cell_specs]
        elif self.name == "table3":
            rows = self._by_bucket(cell_specs, columns)
        elif self.name == "table5":
            rows = [TableRow(self._short(c), self._entries(c, columns)) for c in cell_specs]
        elif self.name in VARIANT_LABELS or self.name in BASE_TABLES:
            rows = self._by_method(cell_specs, columns)
        else:
            rows = self._by_category(cell_specs, columns, note)
        return Block(title, row_heading, headings, tuple(rows), notes, terminal=terminal)

    def _by_category(
        self, cell_specs: Sequence[CellSpec], columns: Sequence[Column], note: DatasetNote
    ) -> list[TableRow]:
        rows: list[TableRow] = []
        for key, heading in CATEGORIES.items():
            members = [cell_spec for cell_spec in cell_specs if category(cell_spec.run_key) == key]
            rows += [
                TableRow(c.row, self._entries(c, columns), "" if at else heading, not at)
                for at, c in enumerate(members)
            ]
            if key == "ours" and members:
                rows.append(self._improvement(members[0], columns, note))
        return rows

    def _by_bucket(
        self, cell_specs: Sequence[CellSpec], columns: Sequence[Column]
    ) -> list[TableRow]:
        rows: list[TableRow] = []
        for bucket in RULES.buckets:
            members = [cell_spec for cell_spec in cell_specs if cell_spec.bucket == bucket]
            heading = f"length {bucket.label}"
            rows += [
                TableRow(c.row, self._entries(c, columns), "" if at else heading, not at)
                for at, c in enumerate(members)
            ]
        return rows

    def _by_method(
        self, cell_specs: Sequence[CellSpec], columns: Sequence[Column]
    ) -> list[TableRow]:
        rows: list[TableRow] = []
        for method in dict.fromkeys(cell_spec.row for cell_spec in cell_specs):
            members = [cell_spec for cell_spec in cell_specs if cell_spec.row == method]
            rows += [
                TableRow(
                    self._label(c),
                    self._entries(c, columns),
                    "" if at else method,
                    not at,
                )
                for at, c in enumerate(members)
            ]
        return rows

    def _improvement(
        self, cell_spec: CellSpec, columns: Sequence[Column], note: DatasetNote
    ) -> TableRow:
        """FindRec against the best other row, as the paper's last row has it."""
        entries = []
        for _, protocol, metric in columns:
            row = self.best.get(self._key(cell_spec, metric, protocol))
            text = percent(row["difference"]) if row is not None else "–"
            paper = self.improvements.get((note.name, metric), "") if protocol == "kept" else ""
            entries.append(Entry(text, paper=paper))
        return TableRow(f"{OWN_MODEL} vs best other on test", tuple(entries))

    def _swept(self, cell_spec: CellSpec, columns: Sequence[Column]) -> TableRow:
        validation = self._entries(cell_spec, columns, self._validation_id)
        base = " (base)" if cell_spec.run_key.variant == "base" else ""
        return TableRow(
            f"{cell_spec.column}{base}", (*validation, *self._entries(cell_spec, columns))
        )

    def _choice(self, cell_specs: Sequence[CellSpec], label: str, protocol: History) -> str:
        """What validation chooses, and how much choosing on test would flatter."""

        def mean(cell_spec: CellSpec, table_id: str) -> float:
            key = ValueKey(table_id, *cell_spec.key, RULES.metric, protocol)
            return float(self.cells[key]["mean"])

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
            f"Chosen on validation, {HEADINGS[protocol]}: {label} = {chosen.column}, with "
            f"{RULES.metric} {number(validation(chosen))} there and {number(test(chosen))} on test."
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

    def _key(self, cell_spec: CellSpec, metric: str, protocol: History) -> ValueKey:
        return ValueKey(self.table_id, *cell_spec.key, metric, protocol)

    def _entries(
        self, cell_spec: CellSpec, columns: Sequence[Column], table_id: str | None = None
    ) -> tuple[Entry, ...]:
        table_id = table_id or self.table_id
        return tuple(
            self._entry(cell_spec, ValueKey(table_id, *cell_spec.key, metric, protocol))
            for _, protocol, metric in columns
        )

    def _entry(self, cell_spec: CellSpec, key: ValueKey) -> Entry:
        cell = self.cells[key]
        paper = cell["paper"]
        if cell["n"] == 0 or math.isnan(cell["mean"]):
            text = "no users" if cell["n"] else _EMPTY.get(cell["status"], cell["status"])
            return Entry(text, paper=number(paper), key=key)
        comparable = cell["grade"] in ("A", "B")
        row = self.best.get(key)
        return Entry(
            number(cell["mean"]),
            number(cell["sd"]),
            number(paper),
            change(cell["mean"], paper) if comparable else "",
            bold=row is not None and bool(row["bold"]),
            underline=row is not None and bool(row["underline"]),
            marks=self._marks(cell_spec, cell, row),
            key=key,
        )

    def _marks(
        self, cell_spec: CellSpec, cell: dict[Any, Any], row: dict[Any, Any] | None
    ) -> tuple[Mark, ...]:
        """Stars only where a test was made."""
        marks: list[Mark] = []
        if row is not None and cell["n"] >= RULES.minimum_seeds and not math.isnan(row["p_best"]):
            marks += ["star"] * bool(row["paper_star"])
            marks += ["significant"] * bool(row["star"])
        if cell_spec.convergence in _MARKS:
            marks.append(_MARKS[cell_spec.convergence])
        if cell["n"] < len(cell_spec.runs):
            marks.append("partial")
        elif cell["status"] == "stale":
            marks.append("stale")
        return tuple(marks)

    def _label(self, cell_spec: CellSpec) -> str:
        """Of a variant below its method."""
        variant = cell_spec.run_key.variant
        return VARIANT_LABELS[self.name][variant] if self.name in VARIANT_LABELS else variant

    def _short(self, cell_spec: CellSpec) -> str:
        if self.name == "table5":
            return ABLATIONS[cell_spec.run_key.variant][1]
        if self.name in VARIANT_LABELS or self.name in BASE_TABLES:
            return f"{cell_spec.row}, {self._label(cell_spec)}"
        if self.name in SWEEPS:
            return f"{SWEEPS[self.name].label} = {cell_spec.column}"
        if cell_spec.bucket is not None:
            return f"{cell_spec.row}, length {cell_spec.key.column}"
        return cell_spec.row


def _by_key(frame: pd.DataFrame) -> dict[ValueKey, dict[Any, Any]]:
    return {ValueKey(*(r[name] for name in ValueKey._fields)): r for r in frame.to_dict("records")}
