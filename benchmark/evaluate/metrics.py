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
from functools import cache
from typing import Any, Literal

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
    """[k] float64: what the target earns at places 1..k.

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
    if negatives is None:
        above, equal, _ = competitors(ranks, masked=masked)
        return mean_per_user(_expected(np.cumsum(gain), above, equal), ranks)
    chance = places(ranks, len(gain), masked=masked, negatives=negatives)
    return mean_per_user(np.asarray(chance @ gain), ranks)


def places(
    ranks: Ranks, depth: int, *, masked: bool = False, negatives: int | None = None
) -> FloatArray:
    """[Q, depth] float64: the chance that each query's target stands at places 1..depth, so that
    times the gains it gives every metric. masked, negatives, errors: as in `per_user`."""
    above, equal, others = competitors(ranks, masked=masked)
    if negatives is None:
        place = np.arange(1, depth + 1)
        tied = (place > above[:, None]) & (place <= (above + equal + 1)[:, None])
        return np.asarray(tied / (equal + 1)[:, None])
    if negatives < 1:
        raise InputError(f"{negatives} negatives: give at least one, or none for full ranking")
    drawn = np.minimum(negatives, others)
    chance = np.zeros((len(ranks), depth))
    for tied_above in range(int(equal.max(initial=0)) + 1):
        at = np.flatnonzero(equal >= tied_above)
        chance[at] += _hypergeometric(above[at] + tied_above, others[at], drawn[at], depth)
    return np.asarray(chance / (equal + 1)[:, None])


def competitors(
    ranks: Ranks, *, masked: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Items above each target, equal to it, and all that compete with it; each [Q]."""
    if masked:
        return ranks.above_masked, ranks.equal_masked, ranks.n_candidates_masked - 1
    return ranks.above, ranks.equal, np.full(len(ranks), ranks.n_items - 1, np.int32)


def mean_per_user(values: FloatArray, ranks: Ranks) -> FloatArray:
    """[U, ...] from [Q, ...]: the mean over each user's queries."""
    if ranks.user is None:
        return values
    first = np.flatnonzero(np.diff(ranks.user, prepend=-1))
    number = np.diff(first, append=len(values)).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(np.add.reduceat(values, first) / number)


def _expected(
    cumulated: FloatArray, above: npt.NDArray[np.int32], equal: npt.NDArray[np.int32]
) -> FloatArray:
    """Mean gain over positions above + 1 ... above + equal + 1, from cumulated gains [k]."""
    padded = np.concatenate([[0.0], cumulated])
    last = len(cumulated)
    total = padded[np.minimum(above + equal + 1, last)] - padded[np.minimum(above, last)]
    return np.asarray(total / (equal + 1))


def _hypergeometric(
    better: npt.NDArray[np.int32],
    others: npt.NDArray[np.int32],
    drawn: npt.NDArray[np.int32],
    depth: int,
) -> FloatArray:
    """[Q, depth] float64: chances that 0..depth - 1 of the `better` items are among the `drawn`
    ones of all `others`; each [Q]."""
    better, others, drawn = better[:, None], others[:, None], drawn[:, None]
    kept = np.arange(depth)
    log_chance = (
        log_choose(better, kept)
        + log_choose(others - better, drawn - kept)
        - log_choose(others, drawn)
    )
    return np.asarray(np.exp(log_chance))


def log_choose(n: npt.NDArray[Any], k: npt.NDArray[Any]) -> FloatArray:
    """log C(n, k), n at least 0; -inf where k > n or k < 0, so that impossible draws have chance
    0."""
    possible = (k >= 0) & (k <= n)
    chosen, left = (np.where(possible, count, 0) for count in (k, n - k))
    log_factorial = _log_factorials(int(n.max(initial=0)))
    value = log_factorial[n] - log_factorial[chosen] - log_factorial[left]
    return np.asarray(np.where(possible, value, -np.inf))


@cache
def _log_factorials(largest: int) -> FloatArray:
    """[largest + 1]: logs of 0!, 1! ..."""
    return np.asarray(gammaln(np.arange(largest + 1) + 1.0))
