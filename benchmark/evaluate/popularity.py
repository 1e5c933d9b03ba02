"""Ranks among popularity-weighted negatives, in expectation over the draws.

Each of n negatives is drawn independently, an item with a chance proportional to how often it is
trained on (with replacement, as samplers of evaluators do it: an item that is drawn twice competes
twice). A draw lands above the target with the chance p, the share that the items above it have in
the training interactions of all competitors. So the number of negatives above the target is
binomial, and the target stands at place i + 1 with the chance

    C(n, i) p^i (1 - p)^(n - i)

Draws of items that tie with the target stand above or below it at random. Give the target a mark
that is uniform on [0, 1], and each tied draw one of its own: given the target's mark f, a draw is
above with the chance p + f q, where q is the share of the tied items. The mean over f is the mean
of the binomial chance between p and p + q, a difference of regularised incomplete beta functions:

    (I_(p + q)(i + 1, n - i + 1) - I_p(i + 1, n - i + 1)) / ((n + 1) q)
"""

import numpy as np
from scipy.special import betainc
from scipy.stats import binom

from benchmark.errors import InputError
from benchmark.evaluate.metrics import FloatArray
from benchmark.runs.ranks import Ranks


def places_among_popular(
    ranks: Ranks, depth: int, negatives: int, *, masked: bool = False
) -> FloatArray:
    """[Q, depth] float64: the chance that each target stands at places 1..depth among `negatives`
    popularity-weighted ones. masked: none of them is an item of the user's history.

    Raises InputError for fewer than one negative, and for ranks with which popularity was not kept
    (`popularity: true` in the protocol).
    """
    if ranks.popularity is None:
        raise InputError(
            "these ranks were stored without the popularity of the items above the targets; train "
            "the row with `protocol: {popularity: true}` (its variant `popularity`)"
        )
    if negatives < 1:
        raise InputError(f"{negatives} negatives: give at least one")
    above, equal, others = ranks.popularity[3:] if masked else ranks.popularity[:3]
    total = np.maximum(others, 1)[:, None]
    low, high = above[:, None] / total, (above + equal)[:, None] / total
    count = np.arange(depth)
    chance = binom.pmf(count, negatives, low)
    at = np.flatnonzero(equal)
    shape = count + 1, np.maximum(negatives - count + 1, 1)
    area = betainc(*shape, high[at]) - betainc(*shape, low[at])
    tied = area / ((negatives + 1) * (high[at] - low[at]))
    chance[at] = np.where(count <= negatives, tied, 0.0)
    return np.asarray(chance)
