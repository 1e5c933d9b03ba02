"""Rows of result tables, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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

    @property
    def printed(self) -> str:
        """The row as one line of text."""
        return ", ".join(f"{metric} {cell.text}" for metric, cell in self.cells.items())

    @property
    def label(self) -> str:
        """Name and group."""
        return f"{self.name}, {self.group}" if self.group else self.name
