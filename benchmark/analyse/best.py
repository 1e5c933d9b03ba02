"""Which methods may be the best: a confidence set that knows that the best was chosen.

Comparing every method with the one that came out best takes the winner for given; among equal
methods some unlucky one then loses its mark in a tenth of the tables and more. Here all pairs are
compared at once. For methods i and j let

    T_ij = log(mean_j / mean_i) / its standard error

and let q be the 1 - alpha quantile, over the resamples that all methods share, of the largest of
all centred |T_ij|: the max-T method (Westfall and Young 1993), for all pairs as Tukey's. Method i
is outside the set where some T_ij is above q. Whatever methods are truly tied for the best, all of
them are in the set with probability 1 - alpha. (The bounds of Hsu 1981 against each candidate alone
are narrower, and protect one true best method but not several tied ones at once.)

Seeds are few, so T_ij has the heavier tails of Student's t with its own Satterthwaite degrees of
freedom; it is brought to the scale of a normal deviate by its tail probability first.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.statistics import FloatArray


def p_best(scores: CrossedBootstrap, names: Sequence[Hashable]) -> dict[Hashable, float]:
    """name -> p-value of "no other method is better", adjusted for all pairs.

    The confidence set of the best at level alpha is the names with p >= alpha. NaN for every name
    where there is nothing to compare, and for one whose scores allow no inference or that has fewer
    seeds than a verdict needs (`Rules.minimum_seeds`): it takes no part.
    """
    found = dict.fromkeys(names, float("nan"))
    members = [name for name in names if _takes_part(scores, name)]
    if len(members) < 2:
        return found
    deviates = dict.fromkeys(members, 0.0)
    largest = np.zeros(scores.rules.resamples)
    for at, i in enumerate(members):
        for j in members[at + 1 :]:
            contrast = scores.contrast({j: 1, i: -1})
            if contrast.note or contrast.error == 0:
                continue  # equal to the last digit, or nothing to measure a difference against
            deviate = contrast.normal_deviate
            deviates[i] = max(deviates[i], deviate)
            deviates[j] = max(deviates[j], -deviate)
            resampled = scores.resampled({j: 1, i: -1})
            centred = np.abs(resampled - resampled.mean()) / contrast.error
            np.maximum(largest, centred, out=largest)
    return found | {name: _share_above(largest, deviates[name]) for name in members}


def _takes_part(scores: CrossedBootstrap, name: Hashable) -> bool:
    seeds = scores.values[name].shape[1]
    enough = name in scores.fixed or seeds >= scores.rules.minimum_seeds
    return enough and not scores.problem(name) and scores.mean(name) > 0


def _share_above(largest: FloatArray, deviate: float) -> float:
    """Share of the resamples at or above, the observed value counted as one of them: never 0."""
    return float((np.sum(largest >= deviate) + 1) / (len(largest) + 1))
