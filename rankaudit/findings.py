"""What the audit reports: findings of named kinds, and how many things each check looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["contradiction", "discrepancy", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Finding(_Model):
    """One observation about the printed page: what is printed, what follows, under which premise.

    severity: `contradiction`, the printed numbers cannot all hold under the stated premise;
        `discrepancy`, two printed statements differ; `note`, a regularity or an absence.
    explanations: innocent ways in which the page could have come to be; never empty.
    metrics: the columns of the row that it is about, if it is about some of them.
    """

    kind: str
    table: str
    row: str
    dataset: str
    printed: str
    why: str
    severity: Severity
    explanations: list[str] = Field(min_length=1)
    metrics: list[str] = []


class Hypothesis(_Model):
    """One protocol under which a row was tested.

    slack: smallest distance, in units of the last printed digit, within which every cell of the
        row can be reproduced; None if the protocol admits no ranking at all.
    once, twice: whether one rounding (0.5) or a rounded mean of rounded runs (1.0) absorbs it.
    undecided: whether the solver gave up before it knew.
    """

    name: str
    statement: str
    slack: float | None
    once: bool
    twice: bool
    undecided: bool = False


class DigitRepair(_Model):
    """One digit of one cell, changed so that the row becomes possible as first stated."""

    metric: str
    printed: str
    repaired: str


class InfeasibleRow(Finding):
    """No distribution of outcomes gives the row under the first hypothesis, which the page states.

    absorbed_by: the rounding, beyond the stated one, that would make it possible, or None.
    """

    kind: Literal["infeasible_row"] = "infeasible_row"
    hypotheses: list[Hypothesis]
    absorbed_by: Literal["a mean of rounded runs"] | None
    repairs: list[DigitRepair]


class PartsVersusWhole(Finding):
    """A subgroup table against the whole it divides.

    slack: smallest distance, in units of the last digit and beyond none of the rounding, at which
        one set of weights reproduces every row; allowance: what rounding of parts and whole covers.
    slack_known: the same for the weights known from the data, if any.
    ratios: pairs of methods whose ratio over all lies outside their ratios over the groups.
    cells_beyond: cells that the groups do not give with the known shares, method by method.
    """

    kind: Literal["parts_vs_whole"] = "parts_vs_whole"
    slack: float
    allowance: float
    best_weights: dict[str, float]
    slack_known: float | None
    known_weights: dict[str, float] | None
    ratios: list[str]
    cells_beyond: list[str] = []


class ProportionalRows(Finding):
    """Two rows in one constant ratio within rounding.

    ratio: interval of ratios that fit every cell; spread: largest over smallest printed ratio, less
        one; chance_*: share of simulated pairs that would print so; own_spreads: quantiles (10, 50,
        90 %) of the spread among real runs, if given.
    """

    kind: Literal["proportional_rows"] = "proportional_rows"
    ratio: tuple[float, float]
    cells: int
    spread: float
    chance_independent: float | None
    chance_dropped: float | None
    own_spreads: tuple[float, float, float] | None


class PlainFinding(Finding):
    """A finding whose numbers fit in a sentence; `repair` is a reading that would resolve it.

    kind: `improvement`, `marks`, `whole_hits`, or the kind of a check that the caller adds.
    """

    repair: str | None = None


AnyFinding = Annotated[
    InfeasibleRow | PartsVersusWhole | ProportionalRows | PlainFinding,
    Field(union_mode="left_to_right"),
]


class Check(_Model):
    """One check: how many things it looked at and how many it reported."""

    kind: str
    unit: str
    examined: int
    reported: int


class Skipped(_Model):
    """Something that was not checked, and why."""

    what: str
    why: str


class PrintedRow(_Model):
    """A row as printed."""

    table: str
    dataset: str
    group: str
    row: str
    cells: dict[str, str]

    @property
    def label(self) -> str:
        """Name and group, as in `Finding.row`."""
        return f"{self.row}, {self.group}" if self.group else self.row


class CellRange(_Model):
    """What the other cells of a row allow one cell to be, `low` to `high`, before its rounding."""

    table: str
    dataset: str
    row: str
    metric: str
    printed: str
    low: float
    high: float


class Power(_Model):
    """What share of slips in one cell the columns at hand would have shown.

    cells: how many cells it was measured on. found: slip in units of the last digit -> share of
    cells and directions in which the row would not have passed.
    """

    columns: list[str]
    cells: int
    found: dict[int, float]


class AuditReport(_Model):
    """A whole audit: its source, what was checked (the denominators), and the findings.

    read_as: the rules by which the source was read, where it does not speak for itself.
    skipped: what was not checked, and why.
    rows: the rows as printed. ranges, power: of rows that pass (`rankaudit.power`).
    """

    source: str
    checks: list[Check]
    findings: list[AnyFinding]
    read_as: list[str] = []
    skipped: list[Skipped] = []
    rows: list[PrintedRow] = []
    ranges: list[CellRange] = []
    power: list[Power] = []

    def of(self, kind: str) -> list[AnyFinding]:
        """The findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]


class Outcome(_Model):
    """What one check returns: its denominator and its findings."""

    kind: str
    unit: str
    examined: int
    findings: Sequence[AnyFinding]
    skipped: Sequence[Skipped] = ()

    @property
    def check(self) -> Check:
        """The line for the report's summary."""
        return Check(
            kind=self.kind, unit=self.unit, examined=self.examined, reported=len(self.findings)
        )


def by_severity(findings: Sequence[AnyFinding]) -> list[AnyFinding]:
    """The worst first; among infeasible rows those with the largest slack."""

    def rank(finding: AnyFinding) -> tuple[int, float]:
        size = 0.0
        if isinstance(finding, InfeasibleRow):
            size = finding.hypotheses[0].slack or float("inf")
        return SEVERITIES.index(finding.severity), -size

    return sorted(findings, key=rank)


def assemble(source: str, outcomes: Sequence[Outcome]) -> AuditReport:
    """Join the outcomes of the checks into one report."""
    return AuditReport(
        skipped=[skipped for outcome in outcomes for skipped in outcome.skipped],
        source=source,
        checks=[outcome.check for outcome in outcomes],
        findings=[finding for outcome in outcomes for finding in outcome.findings],
    )
