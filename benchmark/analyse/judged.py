"""What the analysis plan comes to: each of its contrasts and claims with its numbers, its word, and
what qualifies it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.above_all import AllAbove
from benchmark.analyse.analysis_plan import Contrast
from benchmark.analyse.effects import NOT_REACHED, Effect, Word
from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import History

GAINING = "Still gaining at the end of the budget under at least one protocol"
WITHOUT_BUDGET = "Budget chosen by no ladder"
"""What qualifies a verdict. results/tuning knows it of each protocol by itself; a variant has the
budget of its row."""

_NAMED = 3
"""So many rows are named one by one; of more stands how many they are, where that says enough."""

WITHOUT_VERDICT: tuple[Word, ...] = ("not reached", "not testable here")


@dataclass(frozen=True)
class JudgedContrast:
    """One contrast of the plan on one dataset under one protocol."""

    contrast: Contrast
    dataset: str
    protocol: History
    effect: Effect | None
    """None where an arm has no run."""
    log_rank: Effect | None
    """The same sum of mean log ranks: below 0 is in favour."""
    word: Word
    adjusted: float = float("nan")
    """p after the correction of its family."""
    note: str = ""
    gaining: tuple[str, ...] = ()
    """Its arms that were still gaining at their budgets, which qualifies a verdict."""
    without_budget: tuple[str, ...] = ()
    """Its arms whose budgets no ladder has chosen, which qualifies it as well."""

    @property
    def claim(self) -> str:
        return self.contrast.id

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of its arms."""
        return *self.contrast.plus, *self.contrast.minus


@dataclass(frozen=True)
class JudgedBest:
    """A claim that one row is above every other, on one dataset."""

    claim: str
    """P1 or P2."""
    dataset: str
    protocol: History
    subject: str
    others: tuple[str, ...]
    """The other rows, in the order of `result`."""
    result: AllAbove | None
    """None where the subject or every other row has no run."""
    log_ranks: tuple[Effect, ...]
    strongest: str | None
    """The other row that is best on validation: the margin is quoted against it."""
    word: Word
    adjusted: float = float("nan")
    """p of being above every other row after the correction of its family; of no refuted claim."""
    note: str = ""
    gaining: tuple[str, ...] = ()
    """As of a contrast: the subject and the other rows."""
    without_budget: tuple[str, ...] = ()
    settled_by: tuple[str, ...] = ()
    """Where runs are missing: the rows that refute the claim whatever the missing ones bring."""

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the rows."""
        return self.subject, *self.others

    @property
    def margin(self) -> Effect | None:
        """Against the row that is best on validation."""
        if self.result is None or self.strongest is None:
            return None
        return self.result.effects[self.others.index(self.strongest)]

    @property
    def most(self) -> float | None:
        """Upper bound of the margin, a share, that holds for all rows at once."""
        if self.result is None or self.strongest is None:
            return None
        return float(np.expm1(self.result.upper[self.others.index(self.strongest)]))

    @property
    def above(self) -> int:
        """How many of the other rows the subject is above, by the interval of each comparison."""
        return sum(e.low > 0 for e in self.result.effects) if self.result else 0

    def lost_by(self, gain: float) -> list[str]:
        """The rows over which a relative gain is excluded by bounds for all rows at once."""
        return [self.others[at] for at in self.result.refuted_by(gain)] if self.result else []


@dataclass(frozen=True)
class Judged:
    """Everything that the plan asks, in its order."""

    best: tuple[JudgedBest, ...]
    contrasts: tuple[JudgedContrast, ...]
    roles: Mapping[str, str]
    """Dataset -> its role in the plan, or what stands in its place."""
    readings: tuple[JudgedBest, ...] = ()
    """The claims of `best`, of other readings of the subject; they are corrected among themselves
    and decide nothing."""


def qualified(said: str, one: JudgedBest | JudgedContrast) -> str:
    """What is said of a verdict, and of which rows a longer budget is known to help or none was
    ever chosen."""
    return said if one.word in WITHOUT_VERDICT else with_budgets(said, one)


def with_budgets(said: str, one: JudgedBest | JudgedContrast) -> str:
    """The same, whether there is a verdict or not."""
    for meaning, rows in known_of_budgets([one]).items():
        end = "" if not said else " " if said.endswith("?") else ". "
        said += f"{end}{meaning}: {rows}"
    return said


def known_of_budgets(ones: Sequence[JudgedBest | JudgedContrast]) -> dict[str, str]:
    """What qualifies their verdicts -> the rows of which it is known, each once; where these are
    many and all that are compared, that."""
    found = {
        GAINING: dict.fromkeys(row for one in ones for row in one.gaining),
        WITHOUT_BUDGET: dict.fromkeys(row for one in ones for row in one.without_budget),
    }
    compared = {row for one in ones for row in one.compared}
    return {
        meaning: f"all {len(rows)} that are compared"
        if len(rows) > _NAMED and rows.keys() == compared
        else ", ".join(rows)
        for meaning, rows in found.items()
        if rows
    }


def pair_verdict(best: Sequence[JudgedBest]) -> str:
    """The verdict of the claims about the best row on one dataset, P1 with P2, in a sentence; where
    runs are missing, what can be said before they come."""
    if any(one.word in WITHOUT_VERDICT for one in best):
        return NOT_REACHED + "".join(_forecasts(best))
    said = [_said(one) for one in best]
    if len(set(said)) == 1:
        return f"{', '.join(one.claim for one in best)}: {said[0]}."
    clauses = [
        f"{one.claim}, history {one.protocol}: {clause}"
        for one, clause in zip(best, said, strict=True)
    ]
    return f"{'; '.join(clauses)}."


def _said(one: JudgedBest) -> str:
    if one.word == "supported":
        return f"{one.subject} is above every other row"
    own = ", each by its own interval" if one.above else ""  # below: by bounds for all at once
    refuted = f"(refuted; above {one.above} of {len(one.others)}{own})"
    if below := one.lost_by(0.0):
        return f"{one.subject} is below {_some(below, len(one.others))} {refuted}"
    if lost := one.lost_by(RULES.smallest_effect):
        rows = _some(lost, len(one.others))
        return (
            f"a gain of 1 % over {rows} is excluded {refuted}, though {one.subject} is not shown "
            "to be below"
        )
    return f"it is undecided whether {one.subject} is above every other row"


def _some(rows: Sequence[str], of: int) -> str:
    """The rows by name, or how many where they are many."""
    if len(rows) > _NAMED:
        return f"{len(rows)} of {of} other rows"
    return " and ".join(filter(None, (", ".join(rows[:-1]), rows[-1])))


def _forecasts(best: Sequence[JudgedBest]) -> list[str]:
    """What holds of claims whatever the rows bring that are not there yet."""
    by_rows: dict[tuple[str, ...], list[str]] = {}
    for one in best:
        if one.settled_by:
            by_rows.setdefault(one.settled_by, []).append(one.claim)
    return [
        f" {' and '.join(claims)} will be refuted, whatever the missing rows bring: a gain of 1 % "
        f"over {' and over '.join(rows)} is excluded (bounds for all rows at once, Bonferroni)."
        for rows, claims in by_rows.items()
    ]
