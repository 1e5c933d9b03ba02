"""Users one by one: how many a method serves better, alike, and worse than another does."""

from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import resampled_means
from benchmark.analyse.statistics import RULES, FloatArray, Rules

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
    intervals are percentiles of the bootstrap over users. Raises ValueError for other users, or
    none.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"outcomes need the same users of both methods, got {len(a)} and {len(b)}")
    gap = a.mean(axis=1) - b.mean(axis=1)
    margin = rules.win_margin + _ROUNDING
    won, lost = gap > margin, gap < -margin
    columns = np.stack([won, ~(won | lost), lost], axis=1).astype(np.float64)
    draws = resampled_means(columns, resamples=rules.resamples, seed=rules.bootstrap_seed)
    ends = np.quantile(draws, [rules.alpha / 2, 1 - rules.alpha / 2], axis=0)
    win, tie, loss = (
        Share(float(value), float(low), float(high))
        for value, low, high in zip(columns.mean(axis=0), *ends, strict=True)
    )
    return Outcomes(win, tie, loss)
