"""Kind `data`: printed dataset statistics against themselves, each other, and the public data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.paper.data_facts import BUCKETS, Counts, DataFacts
from rankaudit.findings import Outcome, PlainFinding, Severity
from rankaudit.printed import Printed

_PADDED = "The printed users and items may include one padding id each, as some libraries count."


@dataclass(frozen=True)
class Statistics:
    """One printed row of dataset statistics; `average` only where the table has it."""

    table: str
    name: str
    dataset: str
    users: Printed
    items: Printed
    interactions: Printed
    sparsity: Printed
    average: Printed | None

    @property
    def printed(self) -> str:
        """The row as text."""
        return (
            f"{self.users.text} users, {self.items.text} items, "
            f"{self.interactions.text} interactions, sparsity {self.sparsity.text}"
            + (f", average length {self.average.text}" if self.average else "")
        )


def statistics_of_paper(cells: pd.DataFrame, table: str) -> list[Statistics]:
    """The rows of Table 1 or 4."""
    rows = []
    for name, part in cells[cells["table"] == table].groupby("row", sort=False):
        printed = {
            r["metric"]: Printed.parse(r["printed"], f"table {table}, {name}")
            for r in part.to_dict("records")
        }
        rows.append(
            Statistics(
                table,
                str(name),
                str(part["dataset"].iloc[0]),
                printed["users"],
                printed["items"],
                printed["interactions"],
                printed["sparsity"],
                printed.get("average_length"),
            )
        )
    return rows


def _finding(
    row: Statistics,
    why: str,
    severity: Severity,
    explanations: list[str],
    repair: str | None = None,
    printed: str | None = None,
) -> PlainFinding:
    return PlainFinding(
        kind="data",
        table=row.table,
        row=row.name,
        dataset=row.dataset,
        printed=printed or row.printed,
        why=why,
        severity=severity,
        explanations=explanations,
        repair=repair,
    )


def _inside(value: float, cell: Printed) -> bool:
    low, high = cell.interval()
    return low - 1e-9 <= value <= high + 1e-9


def derived_numbers(rows: Sequence[Statistics]) -> Outcome:
    """Sparsity and average length recomputed from the printed counts of their own row.

    Each is tried with the counts as printed and with one user and one item less.
    """
    examined, findings = 0, []
    for row in rows:
        users, items, total = row.users.value, row.items.value, row.interactions.value
        derived = [
            ("sparsity", row.sparsity, lambda u, i, t=total: 1 - t / (u * i)),
        ]
        if row.average is not None:
            derived.append(("average length", row.average, lambda u, _i, t=total: t / u))
        for name, cell, formula in derived:
            examined += 1
            as_printed, without = formula(users, items), formula(users - 1, items - 1)
            if _inside(as_printed, cell):
                continue
            digits = cell.decimals + (2 if cell.text.endswith("%") else 0)
            shown = f"{as_printed:.{digits}f}" if name != "sparsity" else f"{as_printed:.2%}"
            fits = _inside(without, cell)
            article = "an" if name.startswith("a") else "a"
            findings.append(
                _finding(
                    row,
                    f"The printed counts give {article} {name} of {shown}, not {cell.text}."
                    + (" With one user and one item less they give it." if fits else ""),
                    "contradiction",
                    [_PADDED] if fits else ["One of the counts may be a slip.", _PADDED],
                    "one user and one item less" if fits else None,
                )
            )
    return Outcome(kind="data", unit="derived numbers", examined=examined, findings=findings)


def sums(parts: Sequence[Statistics], total: Statistics, whole: Statistics) -> Outcome:
    """Parts of a partition of users against their total, and the total against the whole dataset.

    Users and interactions add up over the parts; items are shared, so that their total is at least
    the largest part.
    """
    findings = []
    for name in ("users", "interactions"):
        added = sum(getattr(part, name).value for part in parts)
        stated = getattr(total, name)
        if added != stated.value:
            findings.append(
                _finding(
                    total,
                    f"The parts add up to {added:,.0f} {name}, not {stated.text}.",
                    "contradiction",
                    ["A slip in one of the parts or in the total."],
                )
            )
    largest = max(parts, key=lambda part: part.items.value)
    if total.items.value < largest.items.value:
        findings.append(
            _finding(
                total,
                f"The total has {total.items.text} items, fewer than the {largest.items.text} of "
                f"its own part {largest.name}.",
                "contradiction",
                ["The total may have been taken from one of the parts.", "A slip."],
            )
        )
    for name in ("users", "items", "interactions"):
        mine, other = getattr(total, name), getattr(whole, name)
        if mine.value != other.value:
            findings.append(
                _finding(
                    total,
                    f"Table {total.table} has {mine.text} {name} in all, Table {whole.table} has "
                    f"{other.text} for the same dataset.",
                    "contradiction" if mine.value > other.value else "discrepancy",
                    [
                        "The two tables may have been computed after different filters.",
                        "A slip in a part, carried into the total.",
                    ],
                )
            )
    return Outcome(kind="data", unit="sums and totals", examined=6, findings=findings)


def lengths_in_range(parts: Sequence[Statistics]) -> Outcome:
    """Whether a length bucket's average length can lie in its label, read as half-open."""
    bounds = {name: (low, high) for name, low, high in BUCKETS}
    findings = []
    for part in parts:
        low, high = bounds[part.name]
        mean = part.interactions.value / part.users.value
        longest = float("inf") if high is None else high - 1
        if not low <= mean <= longest:
            inclusive = high is not None and mean <= high
            findings.append(
                _finding(
                    part,
                    f"{part.interactions.text} interactions of {part.users.text} users are "
                    f"{mean:.2f} each, but lengths in [{low}, {high}) are at most {longest:.0f}.",
                    "contradiction",
                    [
                        "The number of users or of interactions may be a slip.",
                        *(["The label may include its upper end, against the next label."]
                          if inclusive else []),
                    ],
                )
            )  # fmt: skip
    return Outcome(kind="data", unit="length buckets", examined=len(parts), findings=findings)


def against_data(rows: Sequence[tuple[Statistics, Counts, str]]) -> Outcome:
    """Printed counts against those of the public data, with and without a padding id.

    rows: the printed row, the counts, and where the counts are from. A row whose three counts
    agree once one user and one item are taken off is a note; another difference is reported with
    the sparsity that the data's counts give.
    """
    findings = []
    for row, counts, origin in rows:
        printed = (row.users.value, row.items.value, row.interactions.value)
        real = (counts.users, counts.items, counts.interactions)
        if printed == real:
            continue
        if printed == (real[0] + 1, real[1] + 1, real[2]):
            findings.append(
                _finding(
                    row,
                    f"{origin} have {real[0]:,} users and {real[1]:,} items: both printed "
                    "counts are one higher. The interactions agree.",
                    "note",
                    [_PADDED],
                    f"{real[0]:,} users, {real[1]:,} items",
                )
            )
            continue
        padded = 1 - real[2] / ((real[0] + 1) * (real[1] + 1))
        agrees = _inside(padded, row.sparsity)
        findings.append(
            _finding(
                row,
                f"{origin} give {real[0]:,} users, {real[1]:,} items and {real[2]:,} "
                f"interactions. With one padding id each their sparsity is {padded:.2%}"
                + (", which is the printed one" if agrees else "")
                + f"; the printed counts give "
                f"{1 - printed[2] / (printed[0] * printed[1]):.2%}.",
                "discrepancy",
                [
                    "The printed line may come from another version or filter of the data.",
                    *(["The sparsity was computed from the data and the counts were mistyped."]
                      if agrees else []),
                ],
                f"{real[0] + 1:,} users, {real[1] + 1:,} items, {real[2]:,} interactions"
                if agrees else None,
            )
        )  # fmt: skip
    return Outcome(
        kind="data", unit="lines with public data", examined=len(rows), findings=findings
    )


def stated_filters(rows: Sequence[Statistics], facts: DataFacts) -> Outcome:
    """Datasets whose printed interactions the stated filter does not give and another one does."""
    examined, findings = 0, []
    for row in rows:
        known = facts.datasets.get(row.dataset)
        if known is None or known.stated is None:
            continue
        examined += 1
        stated, found = known.stated, known.counts
        if row.interactions.value == stated.interactions:
            continue
        if row.interactions.value == found.interactions:
            findings.append(
                _finding(
                    row,
                    f"The stated filter (users with at least 5 interactions) leaves "
                    f"{stated.users:,} users, {stated.items:,} items and {stated.interactions:,} "
                    f"interactions of the public data. The printed numbers are those of: "
                    f"{known.filter}.",
                    "discrepancy",
                    ["A further filter was applied and not described."],
                    known.filter,
                )
            )
    return Outcome(kind="data", unit="stated filters", examined=examined, findings=findings)


def data_checks(cells: pd.DataFrame, facts: DataFacts) -> list[Outcome]:
    """All checks of the paper's Tables 1 and 4."""
    datasets = statistics_of_paper(cells, "1")
    *parts, total = statistics_of_paper(cells, "4")
    whole = next(row for row in datasets if row.dataset == "beauty")
    beauty = facts.datasets["beauty"]
    data = "The public data"
    known = [
        (row, stored.counts, data if stored.recomputed else "The dataset's published figures")
        for row in datasets
        if (stored := facts.datasets.get(row.dataset)) is not None
    ]
    known += [(part, beauty.buckets[part.name], data) for part in parts]
    known.append((total, beauty.counts, data))
    return [
        derived_numbers([*datasets, *parts, total]),
        stated_filters(datasets, facts),
        sums(parts, total, whole),
        lengths_in_range(parts),
        against_data(known),
    ]
