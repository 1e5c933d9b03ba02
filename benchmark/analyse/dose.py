"""Dose and response: how much has to be taken from the scores of history items until they cost no
more.

The plan's control takes one constant from them, chosen on validation (`suppression.py`). Where no
user meets an item twice that choice is always the largest, since the lower the history stands, the
better; it says nothing of the row. What does is the whole curve: the score at each constant c that
was counted, and the smallest c that recovers most of what the history costs,

    share(c) = (score(c) - score kept) / (score left out - score kept)

A row that has learned to rank its history low has little to recover, or needs a small constant; one
whose history items stand far above everything else needs a large one. Constants are in standard
deviations of a query's scores over all items, so that rows of any scale can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import CrossedBootstrap, Interval, Score
from benchmark.analyse.columns import stacked
from benchmark.analyse.rules import Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.analyse.suppression import CHOICES, with_penalty
from benchmark.evaluate.metrics import per_user
from benchmark.runs.schema import RunResult

MOST = 0.9
"""Share of the gap that counts as recovered."""


@dataclass(frozen=True)
class Recovery:
    """The smallest constant that recovers `MOST` of the gap, and its interval over users and
    seeds; infinite where the largest that was counted does not."""

    constant: float
    low: float
    high: float


@dataclass(frozen=True)
class Response:
    """One row's scores against the constant."""

    scores: Mapping[float, Interval]
    """By the constants of `CHOICES`: 0 is history kept, infinity is history left out."""
    recovery: Recovery | None
    """None where the interval of the row's retention holds 1: no gap is shown."""

    @property
    def shares(self) -> dict[float, float]:
        """Constant -> share of the gap that it recovers; NaN where there is no gap."""
        kept, left = self.scores[0.0].mean, self.scores[np.inf].mean
        gap = left - kept if left != kept else np.nan
        return {c: (score.mean - kept) / gap for c, score in self.scores.items()}


def lowered_scores(runs: Sequence[RunResult], metric: str) -> dict[float, FloatArray]:
    """Constant -> [U, S] of the test targets, for each of `CHOICES`. Raises ValueError for runs of
    which lowered scores were not counted."""
    return {
        c: stacked(
            [per_user(with_penalty(r.test, c), metric) for r in runs if r.test is not None], runs
        )
        for c in CHOICES
    }


def respond(method: str, values: Mapping[float, FloatArray], metric: str, rules: Rules) -> Response:
    """The response of one row. values: as `lowered_scores` gives them; method: the name by which
    its seeds are drawn.

    The constant between two that were counted is interpolated, and its interval holds the middle
    1 - alpha of the resamples; a resample without a gap needs no constant.
    """
    names = {c: Score(method, metric, f"lowered by {c:g}") for c in values}
    scores = CrossedBootstrap({names[c]: v for c, v in values.items()}, rules)
    found = {c: scores.interval(name) for c, name in names.items()}
    gap = scores.contrast({names[np.inf]: 1, names[0.0]: -1})  # as the retention's interval
    if gap.note or not gap.interval(rules.alpha)[0] > 0:
        return Response(found, None)
    resampled = np.stack([scores.resampled({n: 1}, log=False) for n in names.values()], axis=1)
    constants = [smallest(one) for one in resampled]
    low, high = np.quantile(constants, [rules.alpha / 2, 1 - rules.alpha / 2], method="nearest")
    means = np.array([score.mean for score in found.values()])
    return Response(found, Recovery(smallest(means), float(low), float(high)))


def smallest(means: FloatArray) -> float:
    """The smallest constant that recovers `MOST` of the gap. means: [C] scores at `CHOICES`."""
    gap = means[-1] - means[0]
    if gap <= 0:
        return 0.0
    shares = (means - means[0]) / gap
    at = int(np.argmax(shares >= MOST))  # the last one is 1
    if np.isinf(CHOICES[at]):
        return float("inf")
    part = (MOST - shares[at - 1]) / (shares[at] - shares[at - 1])
    return float(CHOICES[at - 1] + part * (CHOICES[at] - CHOICES[at - 1]))
