"""The paper's printed numbers as rows for the audit."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from rankaudit.metrics import Metric
from rankaudit.printed import Printed
from rankaudit.rows import Role, Row


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
