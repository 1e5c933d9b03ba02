"""The audit of result rows: every check that they alone allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rankaudit.findings import AuditReport, assemble
from rankaudit.hits import whole_numbers
from rankaudit.infeasible import Premise, infeasible_rows
from rankaudit.interpret import Defaults, read_file
from rankaudit.metrics import DEFINITIONS
from rankaudit.power import measure_power
from rankaudit.presentation import improvements, marks
from rankaudit.proportional import Sample, proportional_rows
from rankaudit.rankings import Protocol
from rankaudit.rows import Row
from rankaudit.subgroups import subgroups

EXPLANATIONS = (
    "The evaluation may have been another one than the file states (targets, candidates).",
    "Each column may come from the epoch that validation chose for it; then nothing ties the "
    "columns together, and numbers alone cannot tell.",
    "A metric may be defined in a way that was not tried.",
    "The numbers may have been cut off in place of rounded, which takes one unit at most.",
    "The file may not repeat the page.",
)


def premises(row: Row) -> list[Premise]:
    """The stated protocol, then those that would be innocent explanations.

    Tried are: any number of targets, all items instead of candidates, other definitions of the
    metrics at hand (under the stated targets and under any), and columns at their own best epoch.
    """
    stated = row.protocol
    relevant, candidates = stated.relevant, stated.candidates
    targets = (
        "one target per ranking" if stated.one_target
        else "any number of targets per ranking" if relevant is None
        else "the stated numbers of targets per ranking"
    )  # fmt: skip
    among = "all items" if candidates is None else f"{candidates} candidates"
    tried = [Premise("stated", f"{targets}, ranked among {among}", stated)]
    free = replace(stated, relevant=None)
    if relevant is not None:
        tried.append(
            Premise(
                "several targets",
                "any number of targets per ranking",
                free,
                "Rankings may have had several relevant items.",
            )
        )
    if candidates is not None:
        tried.append(
            Premise(
                "all items",
                f"{targets}, ranked among all items",
                replace(stated, candidates=None),
                "Targets may have been ranked among all items.",
            )
        )
    tried += _definitions(row, stated, targets)
    if relevant is not None:
        tried += _definitions(row, free, "any number of targets per ranking")
    tried.append(
        Premise(
            "best of each",
            "every column at its own best epoch or run",
            stated,
            "Each column may have been printed at its own best epoch or run.",
            best_of_each=True,
        )
    )
    return tried


def _definitions(row: Row, protocol: Protocol, targets: str) -> list[Premise]:
    """The protocol with one other definition each, of those that can make a difference."""
    kinds = {metric.kind for metric in row.cells}
    several = not protocol.one_target
    return [
        Premise(
            name if protocol is row.protocol else f"several targets with {name}",
            f"{targets}; {statement}",
            replace(protocol, definitions=frozenset({name})),
            f"The metric may be another one of the same name: {statement}.",
            unless="" if protocol is row.protocol else "several targets",
        )
        for name, (kind, statement) in DEFINITIONS.items()
        # With one target every definition but this one gives the same number.
        if kind in kinds and (several or name == "ndcg_ideal_k")
    ]


def audit_rows(
    rows: Sequence[Row],
    source: str,
    progress: Callable[[str], None] = lambda _: None,
    power: bool = True,
) -> AuditReport:
    """Run every check that result rows alone allow.

    progress: told now and then how far the audit has come. power: whether to work out the ranges
    of cells and what a pass is worth, which takes most of the time.
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
    feasible = infeasible_rows(rows, premises, EXPLANATIONS, progress)
    failed = {(f.table, f.dataset, f.row) for f in feasible.findings}
    progress("ranges of cells")
    passed = [row for row in rows if (row.table, row.dataset, row.label) not in failed]
    ranges, worth = measure_power(passed) if power else ([], [])
    progress("other checks")
    report = assemble(
        source,
        [
            feasible,
            *subgroups(rows),
            proportional_rows(rows, samples),
            improvements(rows),
            marks(rows),
            whole_numbers(rows),
        ],
    )
    progress("")
    return report.model_copy(
        update={
            "rows": [row.as_printed for row in rows],
            "ranges": ranges,
            "power": worth,
        }
    )


def audit_csv(
    path: Path,
    defaults: Defaults = Defaults(),  # noqa: B008
    progress: Callable[[str], None] = lambda _: None,
    power: bool = True,
) -> AuditReport:
    """Audit the result rows of a file (CSV, LaTeX or Markdown).

    defaults: what holds for rows that do not say otherwise. progress, power: as for `audit_rows`.
    Raises InputError if the file is malformed.
    """
    reading = read_file(path, defaults)
    name = path.name.encode("utf-8", "backslashreplace").decode("utf-8")  # any bytes may be one
    report = audit_rows(reading.rows, name, progress, power)
    return report.model_copy(
        update={"read_as": reading.read_as, "skipped": [*reading.skipped, *report.skipped]}
    )
