"""Claims whose truth is known, as per-user scores: what judges claims is calibrated on them.

A claim says that one row beats another. Its scores are drawn, nothing is trained: every user's
NDCG@10 under S seeds of either row, with means that differ by exactly what is planted, and with the
spread over users and seeds that a pilot found (`benchmark.analyse.power.Spread`).

A score is f(z), f the quantiles of NDCG@10 of one target (0 beyond the tenth place) and z standard
normal. For user u, row m and seed s

    z = sqrt(b) A_u + sqrt(w - b) B_um + sqrt(1 - w) E_ums

so that every mean is exact whatever the correlations: w between seeds of a row, b between rows. By
Mehler's formula cov(f(z), f(z')) = sum_k c_k^2 r^k at correlation r, c_k the coefficients of f in
normalised Hermite polynomials; w and b are solved from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from benchmark.analyse.power import Spread, smallest_detectable
from benchmark.analyse.rules import RULES, Rules
from benchmark.analyse.statistics import FloatArray
from benchmark.data.planted.truth import Truth

Verdict = Literal["supported", "opposite", "smaller than 1 %", "undecided"]
"""What the ledger may say: the interval lies above 0, below 0, below the smallest effect of
interest, or none of these."""

GAINS = 1 / np.log2(np.arange(2.0, 12.0))
"""[10] NDCG@10 of a target at places 1..10."""
PLACES = np.arange(1.0, 11.0) ** -0.6 / (np.arange(1.0, 11.0) ** -0.6).sum()
"""[10] chances of the places, given that the target is among them; much as trained rows have it."""
TERMS, HIGHEST = 200, 0.98
"""Of Mehler's series, and the correlation up to which they are enough: 0.98^200 is 0.02."""

CLEARLY = 1.5
"""A difference of so many times the smallest detectable one is shown in 98.7 % of tables."""


@dataclass(frozen=True)
class PlantedClaim:
    """That `subject` beats `other`, with what is true of it."""

    name: str
    difference: float
    """True relative difference of the means."""
    detectable: float
    """Smallest difference that is shown with the rules' power at this number of users and seeds."""
    verdict: Verdict | None
    """What should be said of it; None where that is left to chance."""
    subject: FloatArray
    """[U, S]"""
    other: FloatArray
    """[U, S]"""


def right_verdict(difference: float, detectable: float, rules: Rules = RULES) -> Verdict | None:
    """What a table of this power says of a true difference nearly always, if it does.

    A true difference of 0 is "undecided" with the power that users and seeds usually give: at most
    alpha of the tables say more. That it is smaller than 1 % can be said where even that is far
    more than what is detectable.
    """
    if difference >= CLEARLY * detectable:
        return "supported"
    if difference <= -CLEARLY * detectable:
        return "opposite"
    if rules.smallest_effect - difference >= CLEARLY * detectable:
        return "smaller than 1 %"
    if abs(difference) <= detectable / 10 and detectable >= CLEARLY * rules.smallest_effect:
        return "undecided"
    return None


def planted_claims(
    rng: np.random.Generator,
    differences: Mapping[str, float],
    spread: Spread,
    *,
    users: int,
    seeds: int,
    mean: float = 0.045,
) -> list[PlantedClaim]:
    """A claim for every true relative difference, each with rows of its own.

    mean: NDCG@10 of the other row. Raises ValueError where scores of that mean cannot be spread so.
    """
    detectable = smallest_detectable(spread, users=users, seeds=seeds)
    claims = []
    for name, difference in differences.items():
        means = {"subject": mean * (1 + difference), "other": mean}
        rows = draw_scores(rng, means, spread, users=users, seeds=seeds)
        verdict = right_verdict(difference, detectable)
        claims.append(PlantedClaim(name, difference, detectable, verdict, *rows.values()))
    return claims


def claims_of(truth: Truth) -> dict[str, float]:
    """Claims on planted data and the relative difference in NDCG@10 that the best rankings have:
    true ones, the same turned round, and ones that a copy or noise makes empty."""
    ndcg = {name: oracle.ndcg for name, oracle in truth.oracles.items()}
    pairs = {
        "images add to texts and ids": ("features", "without image"),
        "texts add to images and ids": ("features", "without text"),
        "features add to ids": ("features", "without both"),
        "ids without features beat both": ("without both", "features"),
        "features of other items are as good": ("permuted", "features"),
    }
    return {claim: ndcg[a] / ndcg[b] - 1 for claim, (a, b) in pairs.items()}


# ---- scores --------------------------------------------------------------------------------------


def draw_scores(
    rng: np.random.Generator,
    means: Mapping[str, float],
    spread: Spread,
    *,
    users: int,
    seeds: int,
) -> dict[str, FloatArray]:
    """Row -> [U, S] scores of the same users. The spreads are relative, and exact for the mean of
    the rows' means."""
    within, between = correlations(float(np.mean(list(means.values()))), spread)
    shared = rng.normal(size=(users, 1))
    found = {}
    for row, mean in means.items():
        taste, noise = rng.normal(size=(users, 1)), rng.normal(size=(users, seeds))
        z = np.sqrt(between) * shared + np.sqrt(within - between) * taste
        z = z + np.sqrt(1 - within) * noise
        levels = mean * (1 + spread.level * rng.normal(size=seeds))
        found[row] = np.stack([_values(z[:, s], level) for s, level in enumerate(levels)], axis=1)
    return found


def correlations(mean: float, spread: Spread) -> tuple[float, float]:
    """(w, b) that give the spread at this mean. Raises ValueError where none does."""
    coefficients = hermite_coefficients(mean)
    variance = (1 / mean) ** 2 * (mean / (PLACES @ GAINS)) * (PLACES @ GAINS**2) - 1
    of_row = variance - spread.noise**2
    of_both = of_row - spread.taste**2 / 2

    def solved(wanted: float) -> float:
        def gap(r: float) -> float:
            return float((coefficients**2 * r ** np.arange(1, TERMS + 1)).sum() - wanted)

        if not 0 <= wanted < gap(HIGHEST) + wanted:
            raise ValueError(f"scores of mean {mean:g} cannot be spread as {spread}")
        return float(brentq(gap, 0.0, HIGHEST)) if wanted > 0 else 0.0

    return solved(of_row), solved(of_both)


def hermite_coefficients(mean: float) -> FloatArray:
    """[TERMS] c_1, c_2, ... of f / mean. The k-th of 1[z > t] is phi(t) He_{k-1}(t) / sqrt(k!)."""
    steps = GAINS - np.append(GAINS[1:], 0.0)  # f is the sum of steps[r] 1[z > t_r]
    t = _thresholds(mean)
    before, now = np.zeros_like(t), np.ones_like(t)  # He_{k-1} / sqrt((k-1)!)
    found = np.empty(TERMS)
    for k in range(1, TERMS + 1):
        found[k - 1] = (steps * norm.pdf(t) * now).sum() / np.sqrt(k)
        before, now = now, (t * now - np.sqrt(k - 1) * before) / np.sqrt(k)
    return found / mean


def _thresholds(mean: float) -> FloatArray:
    """[10]: z above the r-th puts the target at place r or better."""
    hit = mean / float(PLACES @ GAINS)
    return np.asarray(norm.isf(hit * np.cumsum(PLACES)))


def _values(z: FloatArray, mean: float) -> FloatArray:
    place = np.searchsorted(-_thresholds(mean), -z)
    return np.append(GAINS, 0.0)[place]
