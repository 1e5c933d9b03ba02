"""Bold, underline and star: by the paper's rule and by the corrected one.

The paper's (captions of Tables 2 and 3): bold the best, underline the second best, star what a
paired t-test over seeds calls significant at p < 0.05. It stars the best row; we test that row
against the best of the others.

The corrected one: bold every row of the confidence set of the best (`benchmark/analyse/best.py`);
underline the best of the rest; star the best where it is alone in the set. Where no test was made
(too few seeds) the best alone is bold and nothing is starred.

Only rows whose runs are all finished take part; the caller leaves the others out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.rules import RULES
from benchmark.analyse.statistics import FloatArray, paired_t

PRINTED_DIGITS = 4
"""Rows that print alike are marked alike."""


@dataclass(frozen=True)
class SignificanceMarks:
    """Names of the marked rows of one column of a table."""

    bold: frozenset[str] = frozenset()
    underline: frozenset[str] = frozenset()
    star: frozenset[str] = frozenset()


def paper_marks(
    seeds: Mapping[str, FloatArray], *, alpha: float = RULES.alpha
) -> SignificanceMarks:
    """By the paper's rule. seeds: row -> mean over users of every seed, [S]."""
    means = {row: float(np.mean(values)) for row, values in seeds.items()}
    levels = sorted({round(mean, PRINTED_DIGITS) for mean in means.values()}, reverse=True)
    bold, underline = (
        frozenset(row for row, mean in means.items() if round(mean, PRINTED_DIGITS) == level)
        for level in [*levels, np.nan, np.nan][:2]
    )
    star: frozenset[str] = frozenset()
    ranked = sorted(means, key=lambda row: -means[row])
    if len(ranked) > 1:
        best, second = ranked[:2]
        same_seeds = len(seeds[best]) == len(seeds[second])
        if same_seeds and paired_t(seeds[best], seeds[second]).p < alpha:
            star = frozenset({best})
    return SignificanceMarks(bold, underline, star)


def corrected_marks(
    means: Mapping[str, float], p_best: Mapping[str, float], *, alpha: float = RULES.alpha
) -> SignificanceMarks:
    """By the corrected rule. p_best: row -> adjusted p of "no other row is better", NaN where
    there was no test."""
    if not means:
        return SignificanceMarks()
    best = max(means, key=lambda row: means[row])
    tested = {row: p for row, p in p_best.items() if not np.isnan(p)}
    bold = {best} | {row for row in means if tested.get(row, 0.0) >= alpha}
    rest = {row: mean for row, mean in means.items() if row not in bold}
    second = frozenset({max(rest, key=lambda row: rest[row])} if rest else ())
    star = frozenset({best} if bold == {best} and best in tested and len(tested) > 1 else ())
    return SignificanceMarks(frozenset(bold), second, star)
