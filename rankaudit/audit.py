"""The audit of result rows: every check that they alone allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rankaudit.findings import AuditReport, Outcome, assemble
from rankaudit.infeasible import Premise, infeasible_rows
from rankaudit.presentation import improvements, marks, whole_numbers
from rankaudit.proportional import Sample, proportional_rows
from rankaudit.rankings import Protocol
from rankaudit.reading import read_rows
from rankaudit.rows import Row
from rankaudit.subgroups import parts_vs_whole

_EXPLANATIONS = (
    "The evaluation may have been another one than the file states (targets, candidates).",
    "A metric may be defined otherwise than here.",
    "The file may not repeat the page.",
)


def premises(row: Row) -> list[Premise]:
    """The stated protocol, then two that would be innocent explanations."""
    candidates = row.protocol.candidates
    relevant = row.protocol.relevant
    one = relevant == ((1, 1.0),)
    targets = (
        "one target per ranking" if one
        else "any number of targets per ranking" if relevant is None
        else "the stated numbers of targets per ranking"
    )  # fmt: skip
    among = "all items" if candidates is None else f"{candidates} candidates"
    stated = Premise("stated", f"{targets}, ranked among {among}", row.protocol)
    others = [
        Premise(
            "best of each",
            "every column at its own best epoch or run",
            row.protocol,
            "Each column may have been printed at its own best epoch or run.",
            best_of_each=True,
        )
    ]
    if relevant is not None:
        free = Protocol(None, candidates)
        several = Premise(
            "several targets",
            "any number of targets per ranking",
            free,
            "Rankings may have had several relevant items.",
        )
        others.insert(0, several)
    return [stated, *others]


def audit_rows(rows: Sequence[Row], source: str) -> AuditReport:
    """Run every check that result rows alone allow.

    Group rows are compared with the row of the same method and dataset that has no group; their
    known shares are their `users`, if every group states them.
    """
    samples = {}
    for dataset in dict.fromkeys(row.dataset for row in rows):
        stated = {
            Sample(row.users, row.runs or 1)
            for row in rows
            if row.dataset == dataset and row.users is not None and not row.group
        }
        if len(stated) == 1:
            samples[dataset] = stated.pop()
    return assemble(
        source,
        [
            infeasible_rows(rows, premises, _EXPLANATIONS),
            *_subgroups(rows),
            proportional_rows(rows, samples),
            improvements(rows),
            marks(rows),
            whole_numbers(rows),
        ],
    )


def _subgroups(rows: Sequence[Row]) -> list[Outcome]:
    outcomes = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        mine = [row for row in rows if row.dataset == dataset and row.role != "improvement"]
        parts = [row for row in mine if row.group]
        wholes = [row for row in mine if not row.group]
        if parts and wholes:
            users = {row.group: row.users for row in parts}
            known = {g: float(n) for g, n in users.items() if n is not None}
            total = sum(known.values())
            shares = {g: n / total for g, n in known.items()} if len(known) == len(users) else None
            outcomes.append(parts_vs_whole(parts, wholes, shares))
    return outcomes


def audit_csv(path: Path) -> AuditReport:
    """Audit a CSV file of result rows. Raises InputError if it is malformed."""
    return audit_rows(read_rows(path), path.name)
