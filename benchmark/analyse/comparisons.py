"""Which of the cells that stand for the same question is best, and can it be told from the others.

A family is one metric of the rows of one column, or of the values of one sweep. Every cell in it
is compared with the best other one, so the winner with the runner-up and all others with the
winner. Holm's correction runs over all families of a table.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analyse.bootstrap import CrossedBootstrap
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

NAMES = ("table", "row", "column", "dataset", "metric")
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
    members: Mapping[CellKey, Hashable]
    """Place -> the method's name in the bootstrap."""

    def over_seeds(self) -> dict[CellKey, FloatArray]:
        """Mean over users of every seed, [S]."""
        return {key: self.bootstrap.over_seeds(name) for key, name in self.members.items()}


@dataclass(frozen=True)
class ComparisonRow:
    """One cell against the best other cell of its family."""

    table: str
    row: str
    column: str
    dataset: str
    metric: str
    versus: str
    """Row and column of the best other cell."""
    difference: float
    """Relative, mean / mean of the other - 1; the crossed bootstrap's up to `note`."""
    low: float
    high: float
    p: float
    """NaN with fewer seeds than `Rules.minimum_seeds`."""
    smallest_detectable: float
    verdict: str
    note: str
    p_paired: float
    """Over seeds, as are the next four; they decide nothing. Paired ones need equal seeds."""
    p_welch: float
    p_wilcoxon: float
    effect_paired: float
    effect_hedges: float


COLUMNS = (
    *(*ComparisonRow.__dataclass_fields__, "p_holm"),
    *("paper_bold", "paper_underline", "paper_star", "bold", "underline", "star"),
)


def compare_families(table: str, families: Sequence[ComparisonFamily]) -> pd.DataFrame:
    """One line for each cell of every family with at least two, columns `COLUMNS`: the fields of
    `ComparisonRow`, p_holm over the whole table, and the marks by the rule of the paper (paper_*)
    and by the corrected one."""
    held = [family for family in families if len(family.members) > 1]
    rows = [[_against_best(table, family, key) for key in family.members] for family in held]
    adjusted = iter(holm([row.p for own in rows for row in own]))
    records = []
    for family, own in zip(held, rows, strict=True):
        p_holm = {key.label: float(next(adjusted)) for key in family.members}
        seeds = {key.label: values for key, values in family.over_seeds().items()}
        means = {label: float(values.mean()) for label, values in seeds.items()}
        alpha = family.bootstrap.rules.alpha
        by_paper = paper_marks(seeds)
        corrected = corrected_marks(means, p_holm, alpha=alpha)
        records += [
            asdict(row)
            | {"p_holm": p_holm[key.label]}
            | _flags("paper_", by_paper, key.label)
            | _flags("", corrected, key.label)
            for row, key in zip(own, family.members, strict=True)
        ]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _against_best(table: str, family: ComparisonFamily, key: CellKey) -> ComparisonRow:
    seeds = family.over_seeds()
    other = max((p for p in seeds if p != key), key=lambda p: seeds[p].mean())
    result = family.bootstrap.compare(family.members[key], family.members[other])
    tested = min(result.n_seeds) >= family.bootstrap.rules.minimum_seeds
    a, b = seeds[key], seeds[other]
    paired = len(a) == len(b)
    return ComparisonRow(
        table,
        *key,
        family.metric,
        other.label,
        difference=result.difference,
        low=result.low,
        high=result.high,
        p=result.p if tested else np.nan,
        smallest_detectable=result.smallest_detectable,
        verdict=result.verdict,
        note=result.note,
        p_paired=paired_t(a, b).p if paired else np.nan,
        p_welch=welch_t(a, b).p,
        p_wilcoxon=wilcoxon(a, b).p if paired else np.nan,
        effect_paired=paired_effect(a, b) if paired else np.nan,
        effect_hedges=hedges_g(a, b),
    )


def _flags(prefix: str, marks: SignificanceMarks, label: str) -> dict[str, bool]:
    return {
        f"{prefix}bold": label in marks.bold,
        f"{prefix}underline": label in marks.underline,
        f"{prefix}star": label in marks.star,
    }
