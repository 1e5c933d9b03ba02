"""Metrics of one list of recommendations in which a user has several relevant items.

With m targets of a user at places p_1 < ... < p_m of one ranking:

    NDCG@k   sum of 1 / log2(p_i + 1) over p_i <= k, divided by the best possible sum, of places
             1 ... min(m, k)
    MRR@k    1 / p_1 if p_1 <= k, else 0
    HR@k     1 if p_1 <= k, else 0

All are expectations over ties. NDCG is a sum over targets, and one tied target is uniform on the
places of its tie. The first hit is among the best targets: t of them tie on b places, and the
chance that the first j places of the tie hold none of them is C(b - j, t) / C(b, t).
"""

import numpy as np

from benchmark.evaluate.metrics import FloatArray, competitors, gains, log_choose, places
from benchmark.runs.ranks import Ranks


def per_user_of_lists(ranks: Ranks, metric: str, *, masked: bool = False) -> FloatArray:
    """[U] float64: the metric of every user's one list.

    ranks: of queries that share the history of their user (`one_list` in the protocol), so that all
    targets of a user were ranked by the same scores. masked: without the user's history. Raises
    InputError for an unknown metric.
    """
    gain = gains(metric)
    user = ranks.user if ranks.user is not None else np.arange(len(ranks))
    first = np.flatnonzero(np.diff(user, prepend=-1))
    number = np.diff(first, append=len(user))
    if metric.startswith("NDCG"):
        earned = np.add.reduceat(places(ranks, len(gain), masked=masked) @ gain, first)
        ideal = np.cumsum(gain)[np.minimum(number, len(gain)) - 1]
        return np.asarray(earned / ideal)
    return _of_first_hit(ranks, gain, first, number, masked=masked)


def _of_first_hit(
    ranks: Ranks,
    gain: FloatArray,
    first: np.ndarray,
    number: np.ndarray,
    *,
    masked: bool,
) -> FloatArray:
    above, equal, _ = competitors(ranks, masked=masked)
    best = np.minimum.reduceat(above, first)
    is_best = above == np.repeat(best, number)
    tied = np.add.reduceat(is_best.astype(np.int64), first)[:, None]
    span = np.maximum.reduceat(np.where(is_best, equal, 0), first)[:, None] + 1
    span = np.maximum(span, tied)  # where rounding told equal scores apart
    passed = np.arange(len(gain) + 1)  # places of the tie that hold no target
    left = np.maximum(span - passed, 0)
    none_yet = np.exp(log_choose(left, tied) - log_choose(span, tied))
    hit = none_yet[:, :-1] - none_yet[:, 1:]  # at place best + 1 + passed
    place = best[:, None] + passed[:-1]
    value = np.where(place < len(gain), gain[np.minimum(place, len(gain) - 1)], 0.0)
    return np.asarray((hit * value).sum(1))
