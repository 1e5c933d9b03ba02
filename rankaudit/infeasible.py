"""Kind `infeasible_row`: a row against the protocols that its page allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankaudit.feasibility import (
    TOLERANCE,
    one_digit_repairs,
    slack,
    slack_best_of_each,
)
from rankaudit.findings import DigitRepair, Hypothesis, InfeasibleRow, Outcome
from rankaudit.printed import Rounding
from rankaudit.rankings import Protocol
from rankaudit.rows import Row


@dataclass(frozen=True)
class Premise:
    """A hypothesis to test: its name, what it assumes, and its protocol.

    innocent: what would explain a row that this premise alone makes possible.
    best_of_each: every column comes from its own best epoch or run.
    """

    name: str
    statement: str
    protocol: Protocol
    innocent: str = ""
    best_of_each: bool = False


def test_premise(row: Row, premise: Premise) -> Hypothesis:
    """The row's slack under one premise."""
    measure = slack_best_of_each if premise.best_of_each else slack
    value = measure(row.cells, premise.protocol)
    return Hypothesis(
        name=premise.name,
        statement=premise.statement,
        slack=None if math.isinf(value) else round(value, 4),
        once=value <= Rounding.ONCE.value + TOLERANCE,
        twice=value <= Rounding.TWICE.value + TOLERANCE,
    )


def infeasible_rows(
    rows: Sequence[Row], premises: Callable[[Row], Sequence[Premise]], explanations: Sequence[str]
) -> Outcome:
    """Test every row with at least two cells; report those that fail the first premise.

    The first premise is the one that the page states; the others are reported beside it, and those
    that make the row possible stand first among the explanations. A row fails if its own rounding
    (`Row.rounding`) does not absorb the slack.
    """
    tested = [row for row in rows if row.role != "improvement" and len(row.cells) > 1]
    findings = []
    for row in tested:
        stated, *others = premises(row)
        first = test_premise(row, stated)
        if first.once or (row.rounding is Rounding.TWICE and first.twice):
            continue
        hypotheses = [first, *(test_premise(row, premise) for premise in others)]
        repairs = [
            DigitRepair(metric=str(r.metric), printed=r.printed, repaired=r.repaired)
            for r in one_digit_repairs(row.cells, stated.protocol, row.rounding)
        ]
        resolving = [p for p, h in zip(others, hypotheses[1:], strict=True) if h.once]
        resolved = [premise.name for premise in resolving]
        innocent = [premise.innocent for premise in resolving if premise.innocent]
        if repairs:
            innocent.append("A digit may have been mistyped: see the one-digit repairs.")
        gap = "no ranking fits" if first.slack is None else f"slack {first.slack:.2f} units"
        findings.append(
            InfeasibleRow(
                table=row.table,
                row=row.label,
                dataset=row.dataset,
                printed=row.printed,
                why=f"Under {stated.name} ({stated.statement}) no distribution of outcomes gives "
                f"these numbers: {gap}, one rounding explains 0.5. "
                + (f"Possible under {', '.join(resolved)}." if resolved else "No other hypothesis "
                   "tested makes it possible."),
                severity="contradiction",
                explanations=[*innocent, *explanations],
                hypotheses=hypotheses,
                absorbed_by="a mean of rounded runs" if first.twice else None,
                repairs=repairs,
            )
        )  # fmt: skip
    return Outcome(
        kind="infeasible_row", unit="rows", examined=len(tested), findings=list(findings)
    )
