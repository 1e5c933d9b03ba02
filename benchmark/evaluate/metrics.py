"""Ranks -> metrics, one value per user, in expectation over ties.

With one relevant item a metric is a gain g(r) of the target's position r, zero beyond cut-off k:

    NDCG@k   1 / log2(r + 1)     (the ideal DCG of one relevant item is 1)
    MRR@k    1 / r
    HR@k     1

A target that ties with `equal` other items stands anywhere from above + 1 to above + equal + 1 with
the same chance, so its value is the mean gain over those positions. (The gain at the mean position
is not the same: a two-way tie at the top has NDCG 0.815, not 0.756, and ranking ties first would
give a constant score NDCG 1.)

Under n uniform negatives the target competes with n items drawn without replacement from its M
competitors. From position r of the full ranking, the number of drawn items above it is
hypergeometric, so the expected metric follows without sampling:

    g_n(r) = sum_i  C(r - 1, i) C(M - r + 1, n - i) / C(M, n)  g(i + 1)

Breaking ties at random before drawing is the same as after it, hence ties are averaged as above.
(Krichene and Rendle 2020, "On sampled metrics for item recommendation", section 4, in expectation
over the draws.)
"""

import re
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from benchmark.errors import InputError, did_you_mean
from benchmark.runs.ranks import Ranks

FloatArray = npt.NDArray[np.float64]

METRICS = ("NDCG@5", "NDCG@10", "MRR@5", "MRR@10", "HR@5", "HR@10")
"""Metrics that tables offer; any cut-off is understood. The paper prints the first four."""

PAPER_METRICS = METRICS[:4]

SHOWN_METRICS = (*PAPER_METRICS, "HR@10")
"""Metrics of every table of results."""

History = Literal["kept", "left out"]
"""Whether the items that a user has met before compete with the target."""

PROTOCOLS: tuple[History, ...] = ("kept", "left out")
"""Both protocols, side by side in every table: with the history kept, as the paper's code family
ranks and beside the printed numbers; and left out, as is usual elsewhere."""

_GAINS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "NDCG": lambda position: 1.0 / np.log2(position + 1.0),
    "MRR": lambda position: 1.0 / position,
    "HR": np.ones_like,
}


def gains(metric: str) -> FloatArray:
    """[k] float64: what the target earns at positions 1..k.

    Raises InputError for a metric that is not NDCG@k, MRR@k or HR@k.
    """
    match = re.fullmatch(r"([A-Za-z]+)@([1-9][0-9]*)", metric)
    if match is None or match[1] not in _GAINS:
        hint = did_you_mean(metric, METRICS)
        raise InputError(f"unknown metric {metric!r}: give NDCG@k, MRR@k or HR@k{hint}")
    return np.asarray(_GAINS[match[1]](np.arange(1, int(match[2]) + 1, dtype=np.float64)))


def per_user(
    ranks: Ranks, metric: str, *, masked: bool = False, negatives: int | None = None
) -> FloatArray:
    """[U] float64: the metric of every user, in expectation over ties (and over negatives); the
    mean over the user's queries where there are several.

    masked: rank without the user's history. negatives: rank against so many uniform negatives
    instead of all items, drawn without replacement from the user's competitors (all of them where a
    user has fewer). Raises InputError for an unknown metric or fewer than one negative.
    """
    gain = gains(metric)
    if masked:
        above, equal = ranks.above_masked, ranks.equal_masked
        others = ranks.n_candidates_masked - 1
    else:
        above, equal = ranks.above, ranks.equal
        others = np.full(len(ranks), ranks.n_items - 1)
    if negatives is None:
        return _mean_per_user(_expected(np.cumsum(gain), above, equal), ranks)
    if negatives < 1:
        raise InputError(f"{negatives} negatives: give at least one, or none for full ranking")
    values = np.empty(len(ranks))
    for competitors in np.unique(others):
        queries = others == competitors
        deepest = int((above[queries] + equal[queries]).max()) + 1
        sampled = _sampled_gains(gain, int(competitors), min(negatives, int(competitors)), deepest)
        values[queries] = _expected(np.cumsum(sampled), above[queries], equal[queries])
    return _mean_per_user(values, ranks)


def _mean_per_user(values: FloatArray, ranks: Ranks) -> FloatArray:
    """[U] from [Q]."""
    if ranks.user is None:
        return values
    first = np.flatnonzero(np.diff(ranks.user, prepend=-1))
    return np.asarray(np.add.reduceat(values, first) / np.diff(first, append=len(values)))


def _expected(
    cumulated: FloatArray, above: npt.NDArray[np.int32], equal: npt.NDArray[np.int32]
) -> FloatArray:
    """Mean gain over positions above + 1 ... above + equal + 1, from cumulated gains [k]."""
    padded = np.concatenate([[0.0], cumulated])
    last = len(cumulated)
    total = padded[np.minimum(above + equal + 1, last)] - padded[np.minimum(above, last)]
    return np.asarray(total / (equal + 1))


def _sampled_gains(gain: FloatArray, others: int, drawn: int, deepest: int) -> FloatArray:
    """[deepest] float64: expected gain from each position of the full ranking when `drawn` of the
    `others` competitors are kept."""
    better = np.arange(deepest)[:, None]
    kept = np.arange(min(len(gain), drawn + 1))
    log_chance = (
        _log_choose(better, kept)
        + _log_choose(others - better, drawn - kept)
        - _log_choose(np.asarray(others), np.asarray(drawn))
    )
    return np.asarray(np.exp(log_chance) @ gain[: len(kept)])


def _log_choose(n: npt.NDArray[np.int64], k: npt.NDArray[np.int64]) -> FloatArray:
    """log C(n, k); -inf where k > n, so that impossible draws have chance 0."""
    possible = k <= n
    inside = np.where(possible, n - k, 0)
    value = gammaln(n + 1) - gammaln(k + 1) - gammaln(inside + 1)
    return np.asarray(np.where(possible, value, -np.inf))
