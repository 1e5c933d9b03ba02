"""Kind `text`: sentences of the paper against its tables, its figures and each other."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd

from benchmark.paper import (
    CellRef,
    ChangeClaim,
    Claim,
    Claims,
    GapClaim,
    LooseEndClaim,
    MixedClaim,
    OrderClaim,
    PromiseClaim,
    RangeClaim,
    ReferenceClaim,
    SettingClaim,
    ShapeClaim,
    ValueClaim,
)
from rankaudit.findings import Outcome, PlainFinding, Severity
from rankaudit.printed import Printed, quotient_interval


class _Cells:
    """Look-up of printed numbers by table, row, dataset, metric and group."""

    def __init__(self, cells: pd.DataFrame) -> None:
        self._printed = {
            (r["table"], r["row"], r["dataset"], r["metric"], r["group"]): Printed.parse(
                r["printed"], f"table {r['table']}, {r['row']}"
            )
            for r in cells.to_dict("records")
        }

    def at(self, ref: CellRef) -> Printed:
        return self._printed[ref.table, ref.row, ref.dataset, ref.metric, ref.group]

    def get(
        self, display_item: str, row: str, dataset: str, metric: str, group: str
    ) -> Printed | None:
        table = display_item.removeprefix("table ")
        return self._printed.get((table, row, dataset, metric, group))

    def row(self, table: str, row: str) -> list[Printed]:
        return [cell for key, cell in self._printed.items() if key[:2] == (table, row)]


def text_checks(cells: pd.DataFrame, claims: Claims) -> Outcome:
    """Check every claim that the printed page itself can decide.

    Claims of kinds `quality` and `base`, and those about figures without printed numbers, are left
    to other checks and to the ledger.
    """
    printed = _Cells(cells)
    examined, findings = 0, []
    for claim in claims.claims:
        verdict = _judge(claim, printed, claims)
        if verdict is None:
            continue
        examined += 1
        if isinstance(verdict, PlainFinding):
            findings.append(verdict)
    settings = _contradicting_settings(claims)
    names = {claim.name for claim in claims.claims if isinstance(claim, SettingClaim)}
    headers = _headers(claims)
    return Outcome(
        kind="text",
        unit="sentences, settings and headers",
        examined=examined + len(names) + 1,
        findings=[*findings, *settings, *headers],
    )


def _judge(claim: Claim, cells: _Cells, claims: Claims) -> PlainFinding | bool | None:
    """A finding, True if the claim holds, None if the page cannot decide it."""
    match claim:
        case ValueClaim():
            return _value(claim, cells)
        case ChangeClaim():
            return _change(claim, cells)
        case RangeClaim():
            return _range(claim, cells)
        case OrderClaim():
            return _order(claim, cells)
        case MixedClaim():
            return _mixed(claim, cells)
        case GapClaim():
            return _gap(claim, cells)
        case ShapeClaim():
            return _shape(claim, cells)
        case ReferenceClaim():
            if claim.topic in claims.display_items[claim.display_item].topics:
                return True
            right = [name for name, e in claims.display_items.items() if claim.topic in e.topics]
            shows = ", ".join(claims.display_items[claim.display_item].topics)
            return _finding(
                claim,
                claim.display_item,
                f"{claim.display_item.capitalize()} shows {shows}; {claim.topic} is in "
                f"{', '.join(right) or 'no table or figure'}.",
                "discrepancy",
                ["A reference that was not updated when tables and figures moved."],
                repair=", ".join(right) or None,
            )
        case PromiseClaim():
            if any(
                claim.topic in display_item.topics for display_item in claims.display_items.values()
            ):
                return True
            return _finding(
                claim,
                "",
                f"No table or figure of the text at hand shows {claim.topic}.",
                "note",
                [
                    "Content may have been cut for space and the sentence left.",
                    "The extracted text may lack it.",
                ],
            )
        case LooseEndClaim():
            return _finding(
                claim,
                "",
                f"The text at hand has {claim.what}.",
                "note",
                ["An oversight in typesetting.", "The extracted text may lack it."],
            )
        case _:
            return None


def _finding(
    claim: Claim,
    display_item: str,
    why: str,
    severity: Severity,
    explanations: list[str],
    dataset: str = "",
    repair: str | None = None,
) -> PlainFinding:
    place = _place(claim.section)
    return PlainFinding(
        kind="text",
        table=display_item.removeprefix("table "),
        row=claim.id,
        dataset=dataset,
        printed=f"{place[:1].upper()}{place[1:]}: {claim.text}",
        why=why,
        severity=severity,
        explanations=explanations,
        repair=repair,
    )


def _place(section: str) -> str:
    """`3.1` is a section, `A` an appendix; captions and the abstract name themselves."""
    if section[0].isdigit():
        return f"section {section}"
    return f"appendix {section}" if section == "A" else section


def _value(claim: ValueClaim, cells: _Cells) -> PlainFinding | bool:
    cell = cells.at(claim.cell)
    stated = Printed.parse(claim.stated, claim.id)
    coarse = max(stated.unit, cell.unit)
    if abs(stated.value - cell.value) < coarse / 2 + 1e-12:
        return True
    return _finding(
        claim,
        claim.cell.table,
        f"The text says {claim.stated}; Table {claim.cell.table} prints {cell.text} "
        f"({claim.cell.row}, {claim.cell.metric}).",
        "discrepancy",
        ["A slip in the text or in the table.", "The text may stem from an earlier version."],
        claim.cell.dataset,
        repair=cell.text,
    )


def _change(claim: ChangeClaim, cells: _Cells) -> PlainFinding | bool:
    low, high = quotient_interval(cells.at(claim.end), cells.at(claim.start))
    sign = 1 if claim.direction == "increase" else -1
    ends = sorted((sign * (low - 1), sign * (high - 1)))
    least, most = Printed.parse(claim.stated, claim.id).interval()
    if ends[0] - 1e-12 <= most and least <= ends[1] + 1e-12:
        return True
    return _finding(
        claim,
        claim.end.table,
        f"{cells.at(claim.start).text} to {cells.at(claim.end).text} is a change of {ends[0]:.2%} "
        f"to {ends[1]:.2%} with any unprinted digits, not {claim.stated}.",
        "discrepancy",
        ["The change may have been computed against another row."],
        claim.end.dataset,
    )


def _range(claim: RangeClaim, cells: _Cells) -> PlainFinding | bool:
    values = [cell.value for cell in cells.row(claim.table, claim.row)]
    low, high = Printed.parse(claim.low, claim.id), Printed.parse(claim.high, claim.id)
    if min(values) == low.value and max(values) == high.value:
        return True
    return _finding(
        claim,
        claim.table,
        f"The row runs from {min(values):.2%} to {max(values):.2%}.",
        "discrepancy",
        ["The range may stem from an earlier version."],
    )


def _order(claim: OrderClaim, cells: _Cells) -> PlainFinding | bool | None:
    seen, broken, dataset = 0, [], ", ".join(claim.datasets)
    for data in claim.datasets:
        for group in claim.groups:
            for metric in claim.metrics:
                for upper in claim.above:
                    for lower in claim.below:
                        a = cells.get(claim.display_item, upper, data, metric, group)
                        b = cells.get(claim.display_item, lower, data, metric, group)
                        if a is None or b is None:
                            continue
                        seen += 1
                        if a.value <= b.value:
                            place = f"{data} {group} {metric}".replace("  ", " ")
                            broken.append(f"{place}: {upper} {a.text}, {lower} {b.text}")
    if seen == 0:
        return None
    if not broken:
        return True
    return _finding(
        claim,
        claim.display_item,
        f"{len(broken)} of {seen} printed comparisons go the other way or tie: "
        f"{'; '.join(broken[:4])}{' ...' if len(broken) > 4 else ''}.",
        "discrepancy",
        ["The sentence may mean most metrics rather than all.", "Digits not printed break ties."],
        dataset,
    )


def _mixed(claim: MixedClaim, cells: _Cells) -> PlainFinding | bool | None:
    signs = []
    for upper, lower in claim.pairs:
        for data in claim.datasets:
            for metric in claim.metrics:
                a = cells.get(claim.display_item, upper, data, metric, "")
                b = cells.get(claim.display_item, lower, data, metric, "")
                if a is not None and b is not None and a.value != b.value:
                    signs.append(a.value > b.value)
    if not signs:
        return None
    if any(signs) and not all(signs):
        return True
    which = "above" if all(signs) else "below"
    return _finding(
        claim,
        claim.display_item,
        f"All {len(signs)} printed comparisons go one way: the first of each pair is {which} the "
        "second.",
        "note",
        ["'Mixed' may refer to the size of the differences."],
        ", ".join(claim.datasets),
    )


def _gap(claim: GapClaim, cells: _Cells) -> PlainFinding | bool:
    table = claim.display_item.removeprefix("table ")
    pairs = [
        (
            cells.at(CellRef(table=table, row=claim.row, metric=claim.metric, group=group)),
            cells.at(CellRef(table=table, row=claim.baseline, metric=claim.metric, group=group)),
        )
        for group in claim.groups
    ]
    absolute = [a.value - b.value for a, b in pairs]
    relative = [a.value / b.value - 1 for a, b in pairs]
    sign = 1 if claim.direction == "widens" else -1
    ok_absolute = all(sign * (y - x) > 0 for x, y in pairwise(absolute))
    ok_relative = all(sign * (y - x) > 0 for x, y in pairwise(relative))
    if ok_absolute and ok_relative:
        return True
    absolutes = ", ".join(f"{gap:.4f}" for gap in absolute)
    relatives = ", ".join(f"{gap:.1%}" for gap in relative)
    severity: Severity = "note" if ok_absolute or ok_relative else "discrepancy"
    return _finding(
        claim,
        claim.display_item,
        f"{claim.row} less {claim.baseline} over {', '.join(claim.groups)}: {absolutes} in "
        f"absolute terms, {relatives} in relative ones.",
        severity,
        ["The sentence holds in one of the two measures." if severity == "note" else
         "The sentence may rest on another metric or baseline."],
    )  # fmt: skip


def _shape(claim: ShapeClaim, cells: _Cells) -> PlainFinding | bool | None:
    wrong = []
    seen = False
    for metric in claim.metrics:
        curve = [cells.get(claim.display_item, row, "beauty", metric, "") for row in claim.rows]
        values = [cell.value for cell in curve if cell is not None]
        if len(values) != len(claim.rows):
            continue
        seen = True
        rises = all(y > x for x, y in pairwise(values))
        if rises != (claim.shape == "rises"):
            wrong.append(metric)
    if not seen:
        return None
    if not wrong:
        return True
    return _finding(
        claim,
        claim.display_item,
        f"Not so in {', '.join(wrong)}.",
        "discrepancy",
        ["The sentence may rest on the other metrics."],
    )


def _contradicting_settings(claims: Claims) -> list[PlainFinding]:
    stated: dict[str, list[SettingClaim]] = {}
    for claim in claims.claims:
        if isinstance(claim, SettingClaim):
            stated.setdefault(claim.name, []).append(claim)
    findings = []
    for name, said in stated.items():
        if len({claim.value for claim in said}) == 1:
            continue
        places = "; ".join(f"{_place(c.section)}: {c.value}" for c in said)
        findings.append(
            PlainFinding(
                kind="text",
                table="",
                row=name,
                dataset="",
                printed=places,
                why=f"{len({c.value for c in said})} different statements of: {name}.",
                severity="discrepancy",
                explanations=[
                    "Two versions of a passage may have been left side by side.",
                    "The statements may refer to different parts of the work.",
                ],
            )
        )
    return findings


def _headers(claims: Claims) -> list[PlainFinding]:
    """Tables of different settings whose first column has one and the same header."""
    seen: dict[str, list[str]] = {}
    for name, display_item in claims.display_items.items():
        if display_item.header:
            seen.setdefault(display_item.header, []).append(name)
    return [
        PlainFinding(
            kind="text",
            table=", ".join(name.removeprefix("table ") for name in names),
            row=f"header '{header}'",
            dataset="",
            printed=f"{', '.join(names)}: first column headed '{header}'",
            why="Tables of different settings have the same header: "
            + "; ".join(f"{n} shows {', '.join(claims.display_items[n].topics)}" for n in names)
            + ".",
            severity="note",
            explanations=["A header kept when the table was copied."],
        )
        for header, names in seen.items()
        if len(names) > 1
    ]
