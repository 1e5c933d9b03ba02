"""Kind `base_configuration`: one configuration of the paper in several of its tables."""

from __future__ import annotations

from collections.abc import Sequence

from rankaudit.findings import Outcome, PlainFinding
from rankaudit.metrics import Metric
from rankaudit.rows import Row


def base_configuration(
    headline: Row, bases: Sequence[Sequence[Row]], rows: Sequence[Row]
) -> Outcome:
    """One configuration in several tables, and settings that beat the headline row.

    bases: per table, the rows that may stand for the base configuration (several where the page
        leaves it open); one of them should repeat the headline. rows: every row of those tables.
    """
    findings = []
    for candidates in bases:
        if not any(_texts(row) == _texts(headline) for row in candidates):
            shown = "; ".join(f"{row.name}: {row.printed}" for row in candidates)
            findings.append(
                PlainFinding(
                    kind="base_configuration",
                    table=candidates[0].table,
                    row=" or ".join(row.name for row in candidates),
                    dataset=headline.dataset,
                    printed=f"{shown}; table {headline.table} has {headline.printed}",
                    why="No row that could be the base configuration repeats the headline row.",
                    severity="discrepancy",
                    explanations=[
                        "The table may come from other runs or seeds than the headline.",
                        "The base configuration may be a setting that the table leaves out.",
                    ],
                )
            )
    for row in rows:
        better = [
            metric
            for metric, cell in row.cells.items()
            if metric in headline.cells and cell.value > headline.cells[metric].value
        ]
        if better:
            findings.append(
                PlainFinding(
                    kind="base_configuration",
                    table=row.table,
                    row=row.label,
                    dataset=row.dataset,
                    printed=", ".join(
                        f"{m} {row.cells[m].text} against {headline.cells[m].text}" for m in better
                    ),
                    why=f"This setting beats the headline row in {len(better)} of "
                    f"{len(row.cells)} metrics.",
                    severity="note",
                    explanations=[
                        "Settings were perhaps chosen on validation data, which may order them "
                        "otherwise.",
                        "Another setting may have been kept for its cost.",
                    ],
                )
            )
    return Outcome(
        kind="base_configuration",
        unit="tables and rows",
        examined=len(bases) + len(rows),
        findings=findings,
    )


def _texts(row: Row) -> dict[Metric, str]:
    return {metric: cell.text for metric, cell in row.cells.items()}
