"""Tests that look at seeds alone.

Users and seeds are crossed: every seed ranks the same users. Judgements rest on the crossed
bootstrap of `benchmark/analyse/bootstrap.py`. What stands here treats the mean over users of each
seed as one number: with one fixed split that measures training noise alone and makes any difference
significant once there are seeds enough. It is reported beside the bootstrap (the paper's own rule,
a paired t-test at p < 0.05, among it) and decides nothing.

Degenerate input never crashes and never yields p = 0. The result is NaN with a note that says why:
fewer than two values, NaN in the input, or no variation to measure a difference against. Values
that are equal throughout give p = 1: there is no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from benchmark.analyse.rules import RULES, Bucket

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Mean over seeds, sd with n - 1, and Student's confidence interval of the mean."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class SeedTest:
    """A two-sided test of no difference between two methods over their seeds."""

    name: Literal["paired t", "Welch t", "Wilcoxon"]
    statistic: float
    p: float
    df: float
    note: str = ""
    """Why p is NaN, or 1 without a computation."""


def summarise(values: npt.ArrayLike, *, alpha: float = RULES.alpha) -> Summary:
    """Of one value a seed. n = 0: all NaN; n = 1: mean without sd and interval; a NaN among the
    values makes everything NaN, since dropping it would hide a failed seed."""
    x = np.asarray(values, np.float64)
    mean = float(x.mean()) if len(x) else np.nan
    if len(x) < 2 or np.isnan(mean):
        return Summary(mean, np.nan, len(x), np.nan, np.nan)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf(1 - alpha / 2, len(x) - 1)) * sd / np.sqrt(len(x))
    return Summary(mean, sd, len(x), mean - half, mean + half)


def paired_t(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedTest:
    """The paper's rule. Seed k of one method is paired with seed k of the other, though all that
    they share is the order of the data. Raises ValueError for unequal numbers of seeds."""
    x, y = _pair(a, b)
    difference = x - y
    note, p = _degenerate(difference, "differences")
    if note:
        return SeedTest("paired t", np.nan, p, len(x) - 1, note)
    result = stats.ttest_rel(x, y)
    return SeedTest("paired t", float(result.statistic), float(result.pvalue), len(x) - 1)


def welch_t(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedTest:
    """Unpaired, with unequal variances: what independent seeds allow."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(x), len(y)) < 2:
        return SeedTest("Welch t", np.nan, np.nan, np.nan, "fewer than two seeds")
    if np.isnan(x).any() or np.isnan(y).any():
        return SeedTest("Welch t", np.nan, np.nan, np.nan, "NaN among the values")
    if _constant(x) and _constant(y):
        note, p = _degenerate(np.array([x.mean() - y.mean()] * 2), "values")
        return SeedTest("Welch t", np.nan, p, np.nan, note)
    result = stats.ttest_ind(x, y, equal_var=False)
    return SeedTest("Welch t", float(result.statistic), float(result.pvalue), float(result.df))


def wilcoxon(a: npt.ArrayLike, b: npt.ArrayLike) -> SeedTest:
    """Signed ranks of the paired differences, exact; zero differences are left out as Wilcoxon did
    and ties counted exactly (by enumerating signs up to 12 pairs, else the normal approximation).
    """
    x, y = _pair(a, b)
    difference = x - y
    if len(x) < 2 or np.isnan(difference).any() or not difference.any():
        note, p = _degenerate(difference, "differences")
        return SeedTest("Wilcoxon", np.nan, p, np.nan, note)
    kept = difference[difference != 0]
    ranks = stats.rankdata(np.abs(kept))
    statistic = float(min(ranks[kept > 0].sum(), ranks[kept < 0].sum()))
    if len(kept) > 12:
        p = float(stats.wilcoxon(kept, method="approx").pvalue)
    else:
        signs = (np.arange(2 ** len(kept))[:, None] >> np.arange(len(kept))) & 1
        sums = signs @ ranks
        p = float(np.mean(np.minimum(sums, ranks.sum() - sums) <= statistic + 1e-9))
    return SeedTest("Wilcoxon", statistic, p, np.nan)


def paired_effect(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """d_z: mean of the paired differences over their sd. 0 where all are zero; NaN for fewer than
    two, for NaN, and for a difference that does not vary."""
    x, y = _pair(a, b)
    difference = x - y
    note, p = _degenerate(difference, "differences")
    if note:
        return 0.0 if p == 1 else np.nan
    return float(difference.mean() / difference.std(ddof=1))


def hedges_g(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Difference of means over the pooled sd, with Hedges's exact correction for small samples.
    Degenerate input as in `paired_effect`."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if min(len(x), len(y)) < 2 or np.isnan(x).any() or np.isnan(y).any():
        return np.nan
    if _constant(x) and _constant(y):
        return 0.0 if np.isclose(x.mean(), y.mean(), rtol=1e-12, atol=0) else np.nan
    df = len(x) + len(y) - 2
    pooled = np.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / df)
    log_correction = special.gammaln(df / 2) - special.gammaln((df - 1) / 2) - np.log(df / 2) / 2
    return float((x.mean() - y.mean()) / pooled * np.exp(log_correction))


def holm(p: npt.ArrayLike) -> FloatArray:
    """Holm's adjusted p-values of one table. A NaN is a test that was not made: it stays NaN and
    does not count."""
    values = np.asarray(p, np.float64)
    adjusted = np.full_like(values, np.nan)
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted


def bucket_sizes(length: npt.NDArray[np.int32], buckets: Sequence[Bucket]) -> dict[str, int]:
    """Users in each bucket, by label."""
    return {bucket.label: int(bucket.holds(length).sum()) for bucket in buckets}


def _pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"a paired test needs one value a seed of both, got {x.shape}, {y.shape}")
    return x, y


def _constant(x: FloatArray) -> bool:
    """No variation beyond the rounding of the mean over users (1e-12 relative)."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


def _degenerate(difference: FloatArray, what: str) -> tuple[str, float]:
    """(note, p) where no test can be made, else ("", NaN)."""
    if len(difference) < 2:
        return "fewer than two seeds", np.nan
    if np.isnan(difference).any():
        return "NaN among the values", np.nan
    if not difference.any():
        return f"all {what} are zero", 1.0
    if _constant(difference):
        return f"the {what} do not vary: nothing to measure them against", np.nan
    return "", np.nan
