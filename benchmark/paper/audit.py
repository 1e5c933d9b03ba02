"""The audit of the paper: every check on its printed numbers and sentences, in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmark.paper import BaseClaim, Claims, load_cells, load_claims
from benchmark.paper.configuration import base_configuration
from benchmark.paper.counts import data_checks
from benchmark.paper.data_facts import Counts, DataFacts, load_data_facts
from benchmark.paper.rows import rows_of_paper
from benchmark.paper.sentences import text_checks
from rankaudit.findings import AuditReport, Outcome, PlainFinding, assemble
from rankaudit.infeasible import Premise, infeasible_rows
from rankaudit.presentation import improvements, marks
from rankaudit.proportional import Sample, proportional_rows
from rankaudit.rankings import Protocol
from rankaudit.rows import Row
from rankaudit.subgroups import parts_vs_whole

SOURCE = "FindRec (KDD '25), printed Tables 1-9 and text"
TITLES = {
    "data": "Dataset statistics",
    "base_configuration": "The same configuration across tables",
    "text": "Text against tables",
}
"""Titles of the kinds of finding that this package adds to rankaudit's."""
RUNS = 10  # section 3.3: every experiment with 10 random seeds

_EXPLANATIONS = (
    "The four metrics may come from different sets of runs.",
    "Each column may come from the epoch that validation chose for it; then nothing ties the "
    "columns together, H4 included.",
)


def held_out(facts: DataFacts, row: Row) -> Counts:
    """The counts whose held-out items the row's users have under 8:1:1."""
    name = "microlens-50k" if row.dataset == "microlens" else row.dataset
    dataset = facts.datasets[name]
    return dataset.buckets[row.group] if row.group else dataset.counts


def premises(row: Row, facts: DataFacts) -> list[Premise]:
    """The protocols that the paper's text allows for a row; the first is its last word on it."""
    one_target = Protocol()
    several = Protocol(relevant=held_out(facts, row).shares)
    return [
        Premise("H1", "leave-one-out, one target per ranking", one_target),
        Premise(
            "H2",
            "8:1:1, all held-out items of a user relevant in one ranking",
            several,
            "The evaluation may have been the 8:1:1 split with several relevant items (H2).",
        ),
        Premise("H3", "8:1:1, every held-out interaction its own ranking", one_target),
        Premise(
            "H4",
            "leave-one-out, every column at its own best epoch or run",
            one_target,
            "Each column may have been printed at its own best epoch or run (H4).",
            best_of_each=True,
        ),
    ]


def audit_paper(own_runs: pd.DataFrame | None = None) -> AuditReport:
    """Audit the paper from its committed numbers, claims and data facts.

    own_runs: means of our real runs (columns `dataset`, `row`, `metric`, `mean`), against which
        proportional rows are set; None until there are any.
    """
    cells, claims, facts = load_cells(), load_claims(), load_data_facts()
    rows = rows_of_paper(cells)
    results = [row for row in rows if row.role != "improvement"]
    groups = [row for row in results if row.table == "3"]
    wholes = [row for row in results if row.table == "2" and row.dataset == "beauty"]
    beauty = facts.datasets["beauty"]
    shares = {name: bucket.users / beauty.counts.users for name, bucket in beauty.buckets.items()}
    samples = {
        "beauty": Sample(beauty.counts.users, RUNS),
        "ml-100k": Sample(facts.datasets["ml-100k"].counts.users, RUNS),
        "microlens": Sample(facts.datasets["microlens"].counts.users, RUNS),
    }
    main_tables = [row for row in results if row.table == "2"]
    report = assemble(
        SOURCE,
        [
            infeasible_rows(results, lambda row: premises(row, facts), _EXPLANATIONS),
            parts_vs_whole(groups, wholes, shares),
            proportional_rows(main_tables, samples, own_runs),
            improvements([row for row in rows if row.table == "2"]),
            marks(results),
            marks_promised(rows, claims),
            *data_checks(cells, facts),
            _bases(results, claims),
            text_checks(cells, claims),
        ],
    )
    return report.model_copy(update={"rows": [row.as_printed for row in rows]})


def _bases(results: Sequence[Row], claims: Claims) -> Outcome:
    stated = [claim for claim in claims.claims if isinstance(claim, BaseClaim)]
    headline_claim, *others = stated
    headline = next(
        row
        for row in results
        if row.table == headline_claim.table
        and row.name in headline_claim.rows
        and row.dataset == "beauty"
    )
    tables = [claim.table for claim in others]
    return base_configuration(
        headline,
        [
            [row for row in results if row.table == claim.table and row.name in claim.rows]
            for claim in others
        ],
        [row for row in results if row.table in tables],
    )


def marks_promised(rows: Sequence[Row], claims: Claims) -> Outcome:
    """Marks that a caption explains and the page at hand does not carry anywhere in the table."""
    examined, findings = 0, []
    for name, display_item in claims.display_items.items():
        table = name.removeprefix("table ")
        used = {mark for row in rows if row.table == table for c in row.cells.values()
                for mark in c.marks}  # fmt: skip
        examined += len(display_item.marks)
        missing = [mark for mark in display_item.marks if mark not in used]
        if missing:
            findings.append(
                PlainFinding(
                    kind="marks",
                    table=table,
                    row="caption",
                    dataset="",
                    printed=f"The caption explains {', '.join(display_item.marks)}",
                    why=f"The text at hand carries no {' and no '.join(missing)} in this table, so "
                    "these marks could not be checked.",
                    severity="note",
                    explanations=["The extraction of the text may have lost the marks."],
                )
            )
    return Outcome(kind="marks", unit="marks explained", examined=examined, findings=findings)
