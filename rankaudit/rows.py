"""Rows of result tables, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rankaudit.findings import PrintedRow
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol

Role = Literal["result", "ours", "improvement"]


@dataclass(frozen=True)
class Row:
    """One printed row: a method's metrics on one dataset, for all users or one group of them.

    role: `ours` is the method that improvement rows compare with the best of the other rows.
    protocol, rounding: what the page says of the evaluation; they apply to `result` and `ours`.
    users, runs: rankings behind the means, if stated.
    versus: of an improvement row, the row that `ours` is compared with, instead of the best.
    fractional_hits: whether ties at the cut-off are counted in expectation, so that hits are no
        whole numbers.
    as_fractions: of an improvement row, whether its numbers may be fractions instead of per cent.
    """

    table: str
    dataset: str
    name: str
    cells: dict[Metric, Printed]
    group: str = ""
    role: Role = "result"
    protocol: Protocol = field(default_factory=Protocol)
    rounding: Rounding = Rounding.ONCE
    users: int | None = None
    runs: int | None = None
    versus: str = ""
    fractional_hits: bool = False
    as_fractions: bool = False

    @property
    def printed(self) -> str:
        """The row as one line of text."""
        return ", ".join(f"{metric} {cell.text}" for metric, cell in self.cells.items())

    @property
    def label(self) -> str:
        """Name and group."""
        return f"{self.name}, {self.group}" if self.group else self.name

    @property
    def place(self) -> str:
        """Table, dataset, name and group, as far as there are any."""
        return ", ".join(part for part in (self.table, self.dataset, self.label) if part)

    @property
    def as_printed(self) -> PrintedRow:
        """The row for a report."""
        return PrintedRow(
            table=self.table,
            dataset=self.dataset,
            group=self.group,
            row=self.name,
            cells={str(metric): cell.text for metric, cell in self.cells.items()},
        )
