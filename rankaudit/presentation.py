"""Kinds `improvement`, `marks`, `whole_hits`: a page against itself."""

from __future__ import annotations

from collections.abc import Sequence

from rankaudit.feasibility import whole_hits
from rankaudit.findings import Outcome, PlainFinding
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding, quotient_interval
from rankaudit.rows import Row

_EDGE = 1e-9  # float error of a comparison of two decimals


def _tables(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    tables: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        tables.setdefault((row.table, row.dataset, row.group), []).append(row)
    return tables


def improvements(rows: Sequence[Row]) -> Outcome:
    """Recompute improvement rows: `ours` over the best other result of its table, per column.

    A cell is reported if its own rounding interval does not meet the interval of ratios that the
    two rounded cells allow.
    """
    examined, findings = 0, []
    for (table, dataset, _), part in _tables(rows).items():
        ours = [row for row in part if row.role == "ours"]
        others = [row for row in part if row.role == "result"]
        for stated in (row for row in part if row.role == "improvement"):
            for metric, cell in stated.cells.items():
                rivals = [row for row in others if metric in row.cells]
                if len(ours) != 1 or metric not in ours[0].cells or not rivals:
                    continue
                best = max(rivals, key=lambda row: row.cells[metric].value)
                examined += 1
                low, high = quotient_interval(ours[0].cells[metric], best.cells[metric])
                least, most = cell.interval()
                if most < low - 1 - _EDGE or least > high - 1 + _EDGE:
                    mine, his = ours[0].cells[metric], best.cells[metric]
                    findings.append(
                        PlainFinding(
                            kind="improvement",
                            table=table,
                            row=stated.label,
                            dataset=dataset,
                            printed=f"{metric} {cell.text}: {mine.text} over {his.text}",
                            why=f"{mine.text} over {best.name}'s {his.text} is an improvement of "
                            f"{low - 1:.2%} to {high - 1:.2%} with any unprinted digits.",
                            severity="discrepancy",
                            explanations=[
                                "The row may compare with another method than the best one.",
                                "A cell may have changed after the row was computed.",
                            ],
                        )
                    )
    return Outcome(kind="improvement", unit="cells", examined=examined, findings=findings)


def marks(rows: Sequence[Row]) -> Outcome:
    """Compare marks with values: bold and star on the best of a column, underline on the second.

    Only columns that carry the mark are checked: an extracted text may have lost it elsewhere.
    Ties count as satisfied by either row.
    """
    examined, findings = 0, []
    for (table, dataset, group), part in _tables(rows).items():
        results = [row for row in part if row.role != "improvement"]
        for metric in dict.fromkeys(m for row in results for m in row.cells):
            column = {row.name: row.cells[metric] for row in results if metric in row.cells}
            ranked = sorted({cell.value for cell in column.values()}, reverse=True)
            for mark, place in (("bold", 0), ("star", 0), ("underline", 1)):
                marked = [name for name, cell in column.items() if mark in cell.marks]
                if not marked or len(ranked) <= place:
                    continue
                examined += 1
                due = [name for name, cell in column.items() if cell.value == ranked[place]]
                if place == 1 and sum(c.value == ranked[0] for c in column.values()) > 1:
                    due += [name for name, cell in column.items() if cell.value == ranked[0]]
                if not set(marked) <= set(due):
                    findings.append(_mark_finding(table, dataset, group, metric, mark, marked, due))
    return Outcome(kind="marks", unit="marked columns", examined=examined, findings=findings)


def _mark_finding(
    table: str,
    dataset: str,
    group: str,
    metric: Metric,
    mark: str,
    marked: list[str],
    due: list[str],
) -> PlainFinding:
    return PlainFinding(
        kind="marks",
        table=table,
        row=", ".join(marked) + (f", {group}" if group else ""),
        dataset=dataset,
        printed=f"{metric}: {mark} on {', '.join(marked)}",
        why=f"By the printed values {mark} is due to {', '.join(due)}.",
        severity="note" if mark == "star" else "discrepancy",
        explanations=[
            "The order may differ in digits that are not printed.",
            "A slip.",
            *(["A star may mark a gain over another row than the best."] if mark == "star" else []),
        ],
    )


def whole_numbers(rows: Sequence[Row]) -> Outcome:
    """GRIM: hit counts that no whole number of hits gives, where the number of users is stated.

    HR counts rankings with a hit; Recall with one target is the same; Precision@k with one target
    counts 1 / k a hit. Runs default to one.
    """
    examined, findings = 0, []
    for row in rows:
        one_target = row.protocol.relevant == ((1, 1.0),)
        if row.users is None or row.role == "improvement":
            continue
        rankings = row.users * (row.runs or 1)
        for metric, cell in row.cells.items():
            if metric.kind == "HR" or (metric.kind == "Recall" and one_target):
                per_hit = 1.0
            elif metric.kind == "Precision" and metric.cutoff is not None:
                per_hit = 1.0 / metric.cutoff
            else:
                continue
            examined += 1
            if row.rounding is Rounding.ONCE and not whole_hits(cell, rankings, per_hit):
                findings.append(_grim_finding(row, metric, cell, rankings))
    return Outcome(kind="whole_hits", unit="cells", examined=examined, findings=findings)


def _grim_finding(row: Row, metric: Metric, cell: Printed, rankings: int) -> PlainFinding:
    return PlainFinding(
        kind="whole_hits",
        table=row.table,
        row=row.label,
        dataset=row.dataset,
        printed=f"{metric} {cell.text}",
        why=f"No whole number of hits out of {rankings} rankings rounds to {cell.text}.",
        severity="contradiction",
        explanations=[
            "The mean may be over another number of users or runs than stated.",
            "Ties may be counted in fractions.",
            "Runs may have been rounded before they were averaged.",
        ],
    )
