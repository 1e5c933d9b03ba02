"""Do protocols and metrics order the same rows alike? Kendall's tau-b of their means, with what
users and seeds leave open of it.

Over the pairs of rows, with s and t the signs of the differences of their means in two scores,
tau-b = sum s t / sqrt(sum s^2 sum t^2): 1 for the same order, -1 for the opposite one. It describes
and decides nothing: rows that lie close change places by noise alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.columns import user_scores
from benchmark.analyse.contrasts import Arm
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.evaluate.metrics import PROTOCOLS, History

Way = tuple[str, History]
"""A metric under a protocol."""

METRICS = ("NDCG@10", "HR@10", "MRR@10")

FEWEST_ROWS = 3
"""Two rows have one pair, and nothing is learnt from its sign."""


@dataclass(frozen=True)
class Agreement:
    """Two ways of scoring the same rows."""

    one: Way
    other: Way
    rows: int
    tau: float
    low: float
    high: float
    """The middle 95 % of tau over the resamples of users and seeds."""


def agreements(
    arms: Mapping[str, Arm], rows: Sequence[str], rules: Rules = RULES
) -> list[Agreement]:
    """Both protocols by each metric, then NDCG@10 with each other metric under each protocol.

    arms: name -> its runs on one dataset. rows: those that are ordered; those with fewer than two
    seeds, which cannot be drawn anew, are left out. Nothing for fewer than three rows. Raises
    InputError where they were ranked on different users.
    """
    rows = [row for row in rows if row in arms and len(arms[row].runs) >= 2]
    if len(rows) < FEWEST_ROWS:
        return []
    kept, left_out = PROTOCOLS
    pairs: list[tuple[Way, Way]] = [((metric, kept), (metric, left_out)) for metric in METRICS]
    first, *others = METRICS
    pairs += [((first, p), (metric, p)) for p in PROTOCOLS for metric in others]
    names = [arms[row].name for row in rows]
    scores = CrossedBootstrap(
        {
            Score(arms[row].name, metric, protocol): user_scores(arms[row].runs, metric, protocol)
            for row in rows
            for metric in METRICS
            for protocol in PROTOCOLS
        },
        rules,
    )
    ways = {way for pair in pairs for way in pair}
    observed = {way: np.array([[scores.mean(Score(n, *way)) for n in names]]) for way in ways}
    drawn = {
        way: np.stack([scores.resampled({Score(n, *way): 1}, log=False) for n in names], axis=1)
        for way in ways
    }
    tail = 100 * rules.alpha / 2
    found = []
    for one, other in pairs:
        (tau,) = kendall(observed[one], observed[other])
        low, high = np.percentile(kendall(drawn[one], drawn[other]), [tail, 100 - tail])
        found.append(Agreement(one, other, len(rows), float(tau), float(low), float(high)))
    return found


def kendall(a: FloatArray, b: FloatArray) -> FloatArray:
    """[B] tau-b between the lines of two arrays [B, N]; NaN where all of a line are equal."""
    one, two = np.triu_indices(a.shape[1], k=1)
    s, t = (np.sign(x[:, one] - x[:, two]) for x in (a, b))
    with np.errstate(invalid="ignore"):
        return np.asarray((s * t).sum(1) / np.sqrt((s**2).sum(1) * (t**2).sum(1)))
