"""Kind `whole_hits`: hits are whole numbers, in a row and over the groups of its users (GRIM)."""

from __future__ import annotations

from collections.abc import Sequence

from rankaudit.feasibility import hits_between, whole_hits
from rankaudit.findings import Outcome, PlainFinding
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rows import Row


def per_hit(row: Row, metric: Metric) -> float | None:
    """What one hit adds to one ranking if the metric counts hits and nothing else, else None.

    HR counts rankings with a hit, Precision@k hits over k; Recall with one target is HR; at cut-off
    1 NDCG and MRR are HR@1.
    """
    if metric.kind == "HR" or (metric.kind == "Recall" and row.protocol.one_target):
        return 1.0
    if metric.kind == "Precision" and metric.cutoff is not None:
        return 1.0 / metric.cutoff
    if metric.kind in ("NDCG", "MRR") and metric.cutoff == 1:
        return 1.0
    return None


def whole_numbers(rows: Sequence[Row]) -> Outcome:
    """Hit counts that no whole number of hits gives, where the number of users is stated.

    Runs default to one. Rows whose ties are counted in expectation are left out, as are means of
    rounded runs.
    """
    examined, findings = 0, []
    for row in rows:
        if row.users is None or row.role == "improvement" or row.fractional_hits:
            continue
        count = row.users * (row.runs or 1)
        for metric, cell in row.cells.items():
            worth = per_hit(row, metric)
            if worth is None:
                continue
            examined += 1
            if row.rounding is Rounding.ONCE and not whole_hits(cell, count, worth):
                findings.append(_finding(row, metric, cell, count))
    return Outcome(kind="whole_hits", unit="cells", examined=examined, findings=findings)


def _finding(row: Row, metric: Metric, cell: Printed, count: int) -> PlainFinding:
    return PlainFinding(
        kind="whole_hits",
        table=row.table,
        row=row.label,
        dataset=row.dataset,
        printed=f"{metric} {cell.text}",
        why=f"No whole number of hits out of {count} rankings rounds to {cell.text}.",
        severity="contradiction",
        explanations=[
            "The mean may be over another number of users or runs than stated.",
            "Ties may be counted in expectation (then state ties = expected).",
            "Runs may have been rounded before they were averaged (then state rounding = twice).",
            "The number may have been cut off rather than rounded.",
        ],
        metrics=[str(metric)],
    )


def hits_add_up(wholes: Sequence[Row], parts: dict[str, list[Row]]) -> Outcome:
    """Hits of the groups against those of the whole, method by method.

    parts: a method's rows, one for every group; the groups divide the users, whose numbers are
    stated. Runs have to be equally many, rounded once, and ties broken.
    """
    examined, findings = 0, []
    for whole in wholes:
        rows = [whole, *parts.get(whole.name, [])]
        runs = {row.runs or 1 for row in rows}
        if (
            len(rows) < 2
            or len(runs) != 1
            or any(
                row.fractional_hits or row.rounding is not Rounding.ONCE or row.users is None
                for row in rows
            )
        ):
            continue
        for metric, cell in whole.cells.items():
            worth = per_hit(whole, metric)
            if worth is None or any(metric not in row.cells for row in rows):
                continue
            examined += 1
            bounds = [
                hits_between(row.cells[metric], (row.users or 0) * (row.runs or 1), worth)
                for row in rows
            ]
            if any(low > high for low, high in bounds):
                continue  # reported by itself
            (least, most), *others = bounds
            low, high = sum(b[0] for b in others), sum(b[1] for b in others)
            if low > most or high < least:
                findings.append(
                    PlainFinding(
                        kind="whole_hits",
                        table=whole.table,
                        row=whole.name,
                        dataset=whole.dataset,
                        printed=f"{metric} {cell.text} over all, "
                        + ", ".join(f"{r.cells[metric].text} for {r.group}" for r in rows[1:]),
                        why=f"The groups have {_span(low, high)} hits together, the whole has "
                        f"{_span(least, most)}.",
                        severity="contradiction",
                        explanations=[
                            "The tables may come from different runs or seeds.",
                            "The groups may not divide the users of the whole.",
                            "Ties may be counted in expectation (then state ties = expected).",
                        ],
                        metrics=[str(metric)],
                    )
                )
    return Outcome(
        kind="whole_hits", unit="cells with groups", examined=examined, findings=findings
    )


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
