"""Kind `infeasible_row`: a row against the protocols that its page allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankaudit.feasibility import (
    Bounds,
    best_of_each_bounds,
    one_digit_repairs,
    slack_bounds,
)
from rankaudit.findings import DigitRepair, Hypothesis, InfeasibleRow, Outcome, Skipped
from rankaudit.printed import Rounding
from rankaudit.rankings import Protocol, TooManyKinds
from rankaudit.rows import Row


@dataclass(frozen=True)
class Premise:
    """A hypothesis to test: its name, what it assumes, and its protocol.

    innocent: what would explain a row that this premise alone makes possible.
    best_of_each: every column comes from its own best epoch or run.
    unless: name of a premise that, if it makes the row possible, makes this one superfluous.
    """

    name: str
    statement: str
    protocol: Protocol
    innocent: str = ""
    best_of_each: bool = False
    unless: str = ""


def bounds_under(row: Row, premise: Premise, enough: float = -math.inf) -> Bounds:
    """Bounds of the row's slack under one premise. Raises TooManyKinds."""
    measure = best_of_each_bounds if premise.best_of_each else slack_bounds
    return measure(row.cells, premise.protocol, enough)


def try_premise(row: Row, premise: Premise) -> Hypothesis | None:
    """The row's slack under one premise; None if it is too large to be tested."""
    try:
        return _hypothesis(row, premise, bounds_under(row, premise))
    except TooManyKinds:
        return None


def _hypothesis(row: Row, premise: Premise, bounds: Bounds) -> Hypothesis:
    # Columns that the programme leaves out can exclude a row and not show that it is possible.
    whole = all(premise.protocol.testable(metric) for metric in row.cells)
    once, twice = (bounds.within(rounding.value) for rounding in Rounding)
    return Hypothesis(
        name=premise.name,
        statement=premise.statement,
        slack=None if math.isinf(bounds.upper) else round(bounds.upper, 4),
        once=once is True and whole,
        twice=twice is True and whole,
        undecided=once is None or (once is True and not whole),
    )


def infeasible_rows(
    rows: Sequence[Row],
    premises: Callable[[Row], Sequence[Premise]],
    explanations: Sequence[str],
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Test every row with at least two cells; report those that fail the first premise.

    The first premise is the one that the page states; the others are reported beside it, and those
    that make the row possible stand first among the explanations. A row fails if its own rounding
    (`Row.rounding`) does not absorb the slack, and that is proved (`rankaudit.feasibility`).
    progress: told how far the check has come.
    """
    tested = [row for row in rows if row.role != "improvement" and len(row.cells) > 1]
    alone = [row.place for row in rows if row.role != "improvement" and len(row.cells) <= 1]
    skipped = []
    if alone:
        named = "; ".join(alone[:10]) + (f" and {len(alone) - 10} more" if alone[10:] else "")
        why = "one number or none: there is nothing to hold it against"
        skipped.append(Skipped(what=named, why=why))
    findings = []
    for done, row in enumerate(tested, start=1):
        progress(f"rows {done} of {len(tested)}")
        stated, *others = premises(row)
        try:
            bounds = bounds_under(row, stated, enough=row.rounding.value)
        except TooManyKinds as error:
            skipped.append(Skipped(what=row.place, why=f"too large to be decided: {error}"))
            continue
        possible = bounds.within(row.rounding.value)
        if possible is None:
            skipped.append(Skipped(what=row.place, why="the solver did not decide"))
        if possible is not False:
            continue
        findings.append(_finding(row, stated, bounds, others, explanations))
    return Outcome(
        kind="infeasible_row", unit="rows", examined=len(tested), findings=findings, skipped=skipped
    )


def _finding(
    row: Row,
    stated: Premise,
    bounds: Bounds,
    others: Sequence[Premise],
    explanations: Sequence[str],
) -> InfeasibleRow:
    first = _hypothesis(row, stated, bounds)
    tested: list[tuple[Premise, Hypothesis]] = []
    for premise in others:
        if any(p.name == premise.unless and h.once for p, h in tested):
            continue
        hypothesis = try_premise(row, premise)
        if hypothesis is not None:
            tested.append((premise, hypothesis))
    repairs = [
        DigitRepair(metric=str(r.metric), printed=r.printed, repaired=r.repaired)
        for r in one_digit_repairs(row.cells, stated.protocol, row.rounding)
    ]
    resolving = [premise for premise, hypothesis in tested if hypothesis.once]
    resolved = [premise.name for premise in resolving]
    open_ones = [premise for premise, hypothesis in tested if hypothesis.undecided]
    innocent = [p.innocent for p in (*resolving, *open_ones) if p.innocent]
    if repairs:
        innocent.append("A digit may have been mistyped: see the one-digit repairs.")
    gap = "no ranking fits" if first.slack is None else f"slack {first.slack:.2f} units"
    verdict = (
        f"Possible under {', '.join(resolved)}."
        if resolved
        else "No other hypothesis tested makes it possible."
    )
    if open_ones:
        verdict += f" Not decided: {', '.join(premise.name for premise in open_ones)}."
    return InfeasibleRow(
        table=row.table,
        row=row.label,
        dataset=row.dataset,
        printed=row.printed,
        why=f"Under {stated.name} ({stated.statement}) no distribution of outcomes gives these "
        f"numbers: {gap}, one rounding explains 0.5. {verdict}",
        severity="contradiction",
        explanations=[*innocent, *explanations],
        hypotheses=[first, *(hypothesis for _, hypothesis in tested)],
        absorbed_by="a mean of rounded runs" if first.twice else None,
        repairs=repairs,
        metrics=[str(metric) for metric in row.cells],
    )
