"""Users one by one: how many a method serves better, alike, and worse than another does."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray

_ROUNDING = 1e-12
"""Of a mean over seeds."""


@dataclass(frozen=True)
class Share:
    """A share of the users with the ends of its interval over users."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """Shares of the users; they sum to 1."""

    win: Share
    tie: Share
    loss: Share


def user_outcomes(a: FloatArray, b: FloatArray, rules: Rules = RULES) -> Outcomes:
    """Users whom method a serves better, alike or worse than b. a: [U, S], b: [U, S'] per-user
    scores of the same users.

    A user's scores are averaged over seeds; differences of at most `Rules.win_margin` are ties. The
    intervals are percentiles of the bootstrap over users, without drawing any: the number of wins
    among U users drawn with replacement is binomial. Raises ValueError for other users, or none.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"outcomes need the same users of both methods, got {len(a)} and {len(b)}")
    gap = a.mean(axis=1) - b.mean(axis=1)
    margin = rules.win_margin + _ROUNDING
    won, lost = gap > margin, gap < -margin
    counts = np.array([won.sum(), len(gap) - won.sum() - lost.sum(), lost.sum()])
    shares = counts / len(gap)
    lows, highs = (
        np.asarray(stats.binom.ppf(q, len(gap), shares)) / len(gap)
        for q in (rules.alpha / 2, 1 - rules.alpha / 2)
    )
    win, tie, loss = (
        Share(float(value), float(low), float(high))
        for value, low, high in zip(shares, lows, highs, strict=True)
    )
    return Outcomes(win, tie, loss)
