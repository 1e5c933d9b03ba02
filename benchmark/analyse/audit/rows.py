"""Rows of result tables, as the checks see them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from benchmark.analyse.audit.feasibility import Metric, Protocol
from benchmark.analyse.audit.printed import Printed, Rounding

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


def rows_of_paper(cells: pd.DataFrame) -> list[Row]:
    """Rows of ranking metrics in `benchmark.paper.load_cells`, in the order of the page."""
    grouped: dict[tuple[str, str, str, str], dict[Metric, Printed]] = {}
    for record in cells.to_dict("records"):
        metric = Metric.parse(record["metric"])
        if metric is None:
            continue
        key = (record["table"], record["dataset"], record["row"], record["group"])
        where = f"table {record['table']}, {record['row']}, {record['column']}"
        cell = replace(
            Printed.parse(record["printed"], where), marks=frozenset(record["mark"].split())
        )
        grouped.setdefault(key, {})[metric] = cell
    roles: dict[str, Role] = {"Improv.": "improvement", "FindRec": "ours"}
    return [
        Row(table, dataset, name, metrics, group, roles.get(name, "result"))
        for (table, dataset, name, group), metrics in grouped.items()
    ]
