"""What a contrast says, in numbers and in one word. The words of every verdict of the analysis plan
and of the claims ledger stand here and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmark.analyse.bootstrap import Contrast
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray

Word = Literal[
    "supported",
    "opposite",
    "refuted",
    "smaller than 1 %",
    "undecided",
    "not reached",
    "not testable here",
    "described",
]

MEANINGS: dict[Word, str] = {
    "supported": "the lower bound of the 95 % interval is above 0, after correction for the family",
    "opposite": "the upper bound is below 0, after correction for the family; of a claim about "
    "several differences, that of at least one of them, by bounds for all at once",
    "refuted": "of the plan's claims about all rows at once: the simultaneous upper bounds exclude "
    "a gain of 1 % over at least one of them",
    "smaller than 1 %": "the upper bound is below 1 %, the smallest effect of interest",
    "undecided": "none of these; the smallest detectable effect says what could have been shown",
    "not reached": "runs are missing, failed, or have fewer seeds than a verdict needs",
    "not testable here": "these data, features or models cannot test it",
    "described": "there is evidence and no test: of statements about the text itself, and of what "
    "is only observed",
}

NOT_REACHED = "Not reached: P1 and P2 need six finished seeds of every row."


DISCOVERY_RATE = 0.10
"""Of false discoveries among the secondary claims of a family (Benjamini and Hochberg 1995)."""


@dataclass(frozen=True)
class Effect:
    """A contrast with its interval. Positive is in favour of what is claimed."""

    value: float
    """A log of a ratio, unless a table says that it is a plain difference."""
    low: float
    high: float
    p: float
    """Two-sided, of no difference."""
    smallest_detectable: float
    """The true value that is shown with the power of the rules."""
    df: float
    n_users: int
    n_seeds: tuple[int, ...]
    note: str = ""
    """Why there is no interval."""

    @property
    def relative(self) -> tuple[float, float, float]:
        """The ratio less 1 and the ends of its interval: 0.02 for 2 per cent more."""
        value, low, high = np.expm1([self.value, self.low, self.high])
        return float(value), float(low), float(high)


def effect_of(found: Contrast, n_users: int, rules: Rules = RULES) -> Effect:
    """The contrast's numbers; NaN where its note says that there are none."""
    if found.note:
        nan = float("nan")
        return Effect(found.value, nan, nan, nan, nan, nan, n_users, found.n_seeds, note=found.note)
    return Effect(
        found.value,
        *found.interval(rules.alpha),
        found.p,
        found.smallest_detectable(rules),
        found.df,
        n_users,
        found.n_seeds,
    )


def word_of(effect: Effect, rules: Rules = RULES) -> Word:
    """Of one effect, a log of a ratio, before any correction for its family."""
    if min(effect.n_seeds, default=0) < rules.minimum_seeds:
        return "not reached"
    if np.isnan(effect.low):
        return "undecided"
    if effect.low > 0:
        return "supported"
    if effect.high < 0:
        return "opposite"
    return without_significance(effect, rules)


def corrected(word: Word, adjusted: float, level: float, *, otherwise: Word = "undecided") -> Word:
    """The word after the correction of its p-value: one that was claimed by a p-value stands only
    if the adjusted one is at most `level`. otherwise: what is left of it if it does not."""
    claimed = word in ("supported", "opposite")
    return otherwise if claimed and not adjusted <= level else word


def without_significance(effect: Effect, rules: Rules = RULES) -> Word:
    """What is left of a word of one effect that does not stand after its correction. Its upper
    bound is no p-value: a gain of 1 % is excluded by an interval below 0 too."""
    return "smaller than 1 %" if effect.high < np.log1p(rules.smallest_effect) else "undecided"


def discoveries(p: Sequence[float] | FloatArray) -> FloatArray:
    """Adjusted p-values of a family by Benjamini and Hochberg. NaN is a test that was not made: it
    stays NaN and does not count."""
    values: npt.NDArray[np.float64] = np.asarray(p, np.float64)
    adjusted = np.full_like(values, np.nan)
    made = ~np.isnan(values)
    if made.any():
        adjusted[made] = stats.false_discovery_control(values[made])
    return adjusted
