"""What of a difference between two methods comes from the items of the users' own history.

With the history kept a method competes against items that no user takes again; with it left out it
does not. Its retention is the share of its score that is left when they compete,

    retention = score with the history kept / score with the history left out.

For two methods A and B in any metric,

    log(A / B) kept  =  log(A / B) left out  +  log(retention of A / retention of B).

The second term is the price of history items: how much more of its score the one method keeps than
the other. It describes; it is not a cause, since a method that ranks fewer history items at the top
may rank everything else otherwise as well.

All terms are contrasts of the same resamples of users and seeds, so that the identity holds in
every resample and not of the estimates alone.
"""

from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import Contrast, CrossedBootstrap, Score
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray


@dataclass(frozen=True)
class LogRatio:
    """The log of a ratio with the ends of its interval, NaN where there is none."""

    value: float
    low: float
    high: float

    @property
    def relative(self) -> tuple[float, float, float]:
        """The ratio less 1 and the ends of its interval: -0.1 for a tenth less."""
        value, low, high = np.expm1([self.value, self.low, self.high])
        return float(value), float(low), float(high)


@dataclass(frozen=True)
class Decomposition:
    """kept.value is left_out.value + retention.value."""

    kept: LogRatio
    """log(A / B) with the history kept."""
    left_out: LogRatio
    """log(A / B) with the history left out."""
    retention: LogRatio
    """log of A's retention over B's: the price of history items."""
    note: str = ""
    """Why there are no intervals."""


def decompose_scores(
    scores: CrossedBootstrap, a: str, b: str, metric: str = RULES.metric
) -> Decomposition:
    """Of method a against method b, which have a `Score` in the metric under both protocols.
    Raises KeyError where one is not there."""
    kept = {Score(a, metric, "kept"): 1, Score(b, metric, "kept"): -1}
    left = {Score(a, metric, "left out"): 1, Score(b, metric, "left out"): -1}
    terms = [
        scores.contrast(signs) for signs in (kept, left, kept | {k: -v for k, v in left.items()})
    ]
    alpha = scores.rules.alpha
    whole, left_out, price = (_log_ratio(term, alpha) for term in terms)
    return Decomposition(whole, left_out, price, terms[-1].note)


def decompose(
    a_kept: FloatArray,
    a_left: FloatArray,
    b_kept: FloatArray,
    b_left: FloatArray,
    rules: Rules = RULES,
) -> Decomposition:
    """The same from per-user scores, [U, S] of a and [U, S'] of b, on the same users."""
    named = {
        Score("a", rules.metric, "kept"): a_kept,
        Score("a", rules.metric, "left out"): a_left,
        Score("b", rules.metric, "kept"): b_kept,
        Score("b", rules.metric, "left out"): b_left,
    }
    return decompose_scores(CrossedBootstrap(named, rules), "a", "b", rules.metric)


def retention(scores: CrossedBootstrap, method: str, metric: str = RULES.metric) -> LogRatio:
    """log(kept / left out) of one method, with its interval over users and seeds."""
    signs = {Score(method, metric, "kept"): 1, Score(method, metric, "left out"): -1}
    return _log_ratio(scores.contrast(signs), scores.rules.alpha)


def _log_ratio(term: Contrast, alpha: float) -> LogRatio:
    if term.note:
        return LogRatio(term.value, np.nan, np.nan)
    return LogRatio(term.value, *term.interval(alpha))
