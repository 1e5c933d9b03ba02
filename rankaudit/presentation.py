"""Kinds `improvement`, `marks`: a page against itself."""

from __future__ import annotations

from collections.abc import Sequence

from rankaudit.findings import Outcome, PlainFinding, Skipped
from rankaudit.metrics import Metric
from rankaudit.printed import quotient_interval
from rankaudit.rows import Row

_EDGE = 1e-9  # float error of a comparison of two decimals


def _tables(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    tables: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        tables.setdefault((row.table, row.dataset, row.group), []).append(row)
    return tables


def improvements(rows: Sequence[Row]) -> Outcome:
    """Recompute improvement rows: `ours` over the best other result, or over the row `versus`.

    A cell is reported if its own rounding interval does not meet the interval of ratios that the
    two rounded cells allow, each with the rounding of its row. A row whose numbers carry no `%` is
    taken as fractions, or as differences, if, and only if, all of it fits so.
    """
    examined, findings, skipped = 0, [], []
    for part in _tables(rows).values():
        for stated in (row for row in part if row.role == "improvement"):
            pairs, reasons = _compared(stated, part)
            skipped += [Skipped(what=stated.place, why=reason) for reason in reasons]
            examined += len(pairs)
            wrong = [_improvement(stated, *pair, scale=1.0) for pair in pairs]
            if any(wrong) and stated.as_fractions:
                fractions = [_improvement(stated, *pair, scale=100.0) for pair in pairs]
                wrong = wrong if any(fractions) else []
            if any(wrong) and stated.as_fractions:
                differences = [_is_difference(stated, *pair) for pair in pairs]
                wrong = [] if all(differences) else wrong
            findings += [finding for finding in wrong if finding is not None]
    return Outcome(
        kind="improvement", unit="cells", examined=examined, findings=findings, skipped=skipped
    )


def _compared(stated: Row, part: Sequence[Row]) -> tuple[list[tuple[Metric, Row, Row]], list[str]]:
    """(metric, ours, rival) for every cell of an improvement row, and why others have none."""
    ours = [row for row in part if row.role == "ours"]
    others = [row for row in part if row.role == "result"]
    if len(ours) != 1:
        names = ", ".join(row.name for row in ours)
        return [], [
            f"{len(ours)} rows have the role 'ours' ({names}); give it to one"
            if ours
            else "no row of its table has the role 'ours'; give it to the row that improves"
        ]
    if stated.versus:
        others = [row for row in part if row.name == stated.versus and row.role != "improvement"]
        if not others:
            return [], [f"'versus' names '{stated.versus}', which is no row of its table"]
    if not others:
        return [], ["there is no other row in its table"]
    pairs, reasons = [], []
    for metric in stated.cells:
        rivals = [row for row in others if metric in row.cells]
        if metric in ours[0].cells and rivals:
            best = max(rivals, key=lambda row: row.cells[metric].value)
            pairs.append((metric, ours[0], best))
        else:
            reasons.append(f"{metric}: '{ours[0].name}' or its rivals have no number")
    return pairs, reasons


def _improvement(
    stated: Row, metric: Metric, ours: Row, best: Row, scale: float
) -> PlainFinding | None:
    cell, mine, his = stated.cells[metric], ours.cells[metric], best.cells[metric]
    low, high = quotient_interval(mine, his, ours.rounding, best.rounding)
    least, most = (end * scale for end in cell.interval(stated.rounding))
    if most >= low - 1 - _EDGE and least <= high - 1 + _EDGE:
        return None
    explanations = [
        "The row may compare with another method than "
        + (f"'{best.name}'." if stated.versus else "the best one."),
        "A cell may have changed after the row was computed.",
    ]
    further = cell.unit * scale / 2  # cut off instead of rounded: up to a whole unit more
    if most + further >= low - 1 - _EDGE and least - further <= high - 1 + _EDGE:
        explanations.append("The percentage may have been cut off rather than rounded.")
    if least <= mine.value - his.value + cell.unit and most >= mine.value - his.value - cell.unit:
        explanations.append("It may be a difference in points rather than a ratio.")
    return PlainFinding(
        kind="improvement",
        table=stated.table,
        row=stated.label,
        dataset=stated.dataset,
        printed=f"{metric} {cell.text}: {mine.text} over {his.text}",
        why=f"{mine.text} over {best.name}'s {his.text} is an improvement of "
        f"{low - 1:.2%} to {high - 1:.2%} with any unprinted digits.",
        severity="discrepancy",
        explanations=explanations,
        metrics=[str(metric)],
    )


def _is_difference(stated: Row, metric: Metric, ours: Row, best: Row) -> bool:
    """Whether a cell without `%` is what `ours` has more than the other row, within rounding."""
    mine, his = (
        ours.cells[metric].interval(ours.rounding),
        best.cells[metric].interval(best.rounding),
    )
    # The cells of improvement rows are read as per cent.
    low, high = (100 * end for end in stated.cells[metric].interval(stated.rounding))
    return low <= mine[1] - his[0] + _EDGE and high >= mine[0] - his[1] - _EDGE


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
        metrics=[str(metric)],
    )
