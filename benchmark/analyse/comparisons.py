"""Which of the cells that stand for the same question is best, and what was to be compared.

A family is one metric, under one protocol, of the rows of one column or of the values of one sweep.
Two questions are asked of it:

best      Which members may be the best? Every cell gets its p from the comparison of all pairs at
          once (`benchmark/analyse/best.py`), and beside it the difference from the best other cell,
          which describes: that cell was chosen by looking.
verdicts  Does the subject of a comparison that was fixed beforehand beat each of the others? In
          the tables of `Rules.verdict_tables`, and in `Rules.metric`, the answer is a verdict, and
          Holm's correction runs over all of them in a table; elsewhere it is an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analyse.best import p_best
from benchmark.analyse.bootstrap import Comparison, CrossedBootstrap, Score
from benchmark.analyse.decomposition import Decomposition, decompose_scores
from benchmark.analyse.significance_marks import SignificanceMarks, corrected_marks, paper_marks
from benchmark.analyse.statistics import (
    FloatArray,
    hedges_g,
    holm,
    paired_effect,
    paired_t,
    welch_t,
    wilcoxon,
)
from benchmark.evaluate.metrics import History

NAMES = ("table", "row", "column", "dataset", "metric", "protocol")
"""The columns that name a cell."""


class CellKey(NamedTuple):
    """Where a cell stands in its table."""

    row: str
    column: str
    dataset: str

    @property
    def label(self) -> str:
        return f"{self.row} {self.column}".rstrip()


@dataclass(frozen=True)
class ComparisonFamily:
    """Cells that are compared with one another in one metric, ranked on the same users."""

    bootstrap: CrossedBootstrap
    metric: str
    protocol: History
    members: Mapping[CellKey, Score]
    """Place -> the method's name in the bootstrap."""
    subject: CellKey | None = None
    """The member that is compared with every other one, if that was fixed beforehand."""
    gaining: frozenset[CellKey] = frozenset()
    """Members whose budget was too short: a longer one is known to have gained on trial seeds."""

    def over_seeds(self) -> dict[CellKey, FloatArray]:
        """Mean over users of every seed, [S]."""
        return {key: self.bootstrap.over_seeds(name) for key, name in self.members.items()}


@dataclass(frozen=True)
class _ComparedRow:
    """One cell against another of its family."""

    table: str
    row: str
    column: str
    dataset: str
    metric: str
    protocol: str
    versus: str
    """Row and column of the other cell."""
    difference: float
    """Relative, mean / mean of the other - 1, with the crossed bootstrap's interval."""
    low: float
    high: float


@dataclass(frozen=True)
class BestRow(_ComparedRow):
    """One cell among those of its family; the other is the best of them, chosen by looking."""

    p_best: float
    """That no other cell is better, adjusted for all pairs; NaN with fewer seeds than
    `Rules.minimum_seeds`."""
    note: str
    """Why there is no interval, or what to know of it."""


@dataclass(frozen=True)
class VerdictRow(_ComparedRow):
    """The subject of its family against one other member, as was fixed beforehand.

    The figures up to `note` are the crossed bootstrap's.
    """

    p: float
    """NaN with fewer seeds than `Rules.minimum_seeds`."""
    smallest_detectable: float
    verdict: str
    """"" in other metrics than `Rules.metric` and other tables than `Rules.verdict_tables`."""
    note: str
    p_paired: float
    """Over seeds, as are the next four; they decide nothing. Paired ones need equal seeds."""
    p_welch: float
    p_wilcoxon: float
    effect_paired: float
    effect_hedges: float


BEST_COLUMNS = (
    *BestRow.__dataclass_fields__,
    *("paper_bold", "paper_underline", "paper_star", "bold", "underline", "star"),
)
VERDICT_COLUMNS = (*VerdictRow.__dataclass_fields__, "p_holm")
DECOMPOSITION_COLUMNS = (
    *("table", "row", "column", "dataset", "metric", "versus"),
    *("kept", "kept_low", "kept_high", "left_out", "left_out_low", "left_out_high"),
    *("retention", "retention_low", "retention_high", "note"),
)


def find_best(table: str, families: Sequence[ComparisonFamily]) -> pd.DataFrame:
    """One line for each cell of every family with at least two, columns `BEST_COLUMNS`: the fields
    of `BestRow` and the marks by the rule of the paper (paper_*) and by the corrected one."""
    records = []
    for family in families:
        if len(family.members) < 2:
            continue
        found = p_best(family.bootstrap, list(family.members.values()))
        p = {key: found[name] for key, name in family.members.items()}
        seeds = {key.label: values for key, values in family.over_seeds().items()}
        means = {label: float(values.mean()) for label, values in seeds.items()}
        by_paper = paper_marks(seeds)
        by_label = {key.label: value for key, value in p.items()}
        corrected = corrected_marks(means, by_label, alpha=family.bootstrap.rules.alpha)
        records += [
            asdict(_against_best(table, family, key, p[key]))
            | _flags("paper_", by_paper, key.label)
            | _flags("", corrected, key.label)
            for key in family.members
        ]
    return pd.DataFrame(records, columns=list(BEST_COLUMNS))


def judge(table: str, families: Sequence[ComparisonFamily]) -> pd.DataFrame:
    """One line for each comparison that was fixed beforehand, columns `VERDICT_COLUMNS`: the
    fields of `VerdictRow` and p_holm over the table's verdicts."""
    rows = [
        _verdict(table, family, family.subject, other)
        for family in families
        if family.subject is not None
        for other in family.members
        if other != family.subject
    ]
    frame = pd.DataFrame([asdict(row) for row in rows], columns=list(VERDICT_COLUMNS[:-1]))
    adjusted = holm([row.p if row.verdict else np.nan for row in rows])
    return frame.assign(p_holm=adjusted)


def decompositions(table: str, families: Sequence[ComparisonFamily]) -> pd.DataFrame:
    """The same comparisons taken apart by protocol, columns `DECOMPOSITION_COLUMNS`: logs of
    ratios with their intervals (`benchmark/analyse/decomposition.py`). Families of one protocol
    stand for both."""
    records = []
    for family in families:
        if family.subject is None or family.protocol != "kept":
            continue
        for other in family.members:
            if other == family.subject:
                continue
            a, b = (family.members[key].method for key in (family.subject, other))
            found = decompose_scores(family.bootstrap, a, b, family.metric)
            names = (table, *family.subject, family.metric, other.label)
            records.append((*names, *_terms(found), found.note))
    return pd.DataFrame(records, columns=list(DECOMPOSITION_COLUMNS))


def _terms(found: Decomposition) -> tuple[float, ...]:
    parts = (found.kept, found.left_out, found.retention)
    return tuple(value for part in parts for value in (part.value, part.low, part.high))


def _against_best(table: str, family: ComparisonFamily, key: CellKey, p: float) -> BestRow:
    bootstrap = family.bootstrap
    others = [other for other in family.members if other != key]
    other = max(others, key=lambda o: bootstrap.mean(family.members[o]))
    result = bootstrap.compare(family.members[key], family.members[other])
    return BestRow(
        table,
        *key,
        family.metric,
        family.protocol,
        other.label,
        result.difference,
        result.low,
        result.high,
        p,
        result.note,
    )


def _verdict(table: str, family: ComparisonFamily, key: CellKey, other: CellKey) -> VerdictRow:
    bootstrap = family.bootstrap
    result = bootstrap.compare(family.members[key], family.members[other])
    tested = min(result.n_seeds) >= bootstrap.rules.minimum_seeds
    a, b = (bootstrap.over_seeds(family.members[place]) for place in (key, other))
    paired = len(a) == len(b)
    rules = bootstrap.rules
    decided = family.metric == rules.metric and f"table{table}" in rules.verdict_tables
    return VerdictRow(
        table,
        *key,
        family.metric,
        family.protocol,
        other.label,
        difference=result.difference,
        low=result.low,
        high=result.high,
        p=result.p if tested else np.nan,
        smallest_detectable=result.smallest_detectable,
        verdict=result.verdict if decided else "",
        note=_joined(result.note, _reserve(family, result, key, other) if decided else ""),
        p_paired=paired_t(a, b).p if paired else np.nan,
        p_welch=welch_t(a, b).p,
        p_wilcoxon=wilcoxon(a, b).p if paired else np.nan,
        effect_paired=paired_effect(a, b) if paired else np.nan,
        effect_hedges=hedges_g(a, b),
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _reserve(family: ComparisonFamily, result: Comparison, key: CellKey, other: CellKey) -> str:
    """What qualifies a verdict: the row that loses was still gaining at its budget."""
    loser = {"replicated": other, "contradicted": key}.get(result.verdict)
    if loser is None or loser not in family.gaining:
        return ""
    return f"{loser.label} was still gaining at its budget"


def _flags(prefix: str, marks: SignificanceMarks, label: str) -> dict[str, bool]:
    return {
        f"{prefix}bold": label in marks.bold,
        f"{prefix}underline": label in marks.underline,
        f"{prefix}star": label in marks.star,
    }
