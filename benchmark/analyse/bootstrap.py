"""Crossed bootstrap over users and seeds: the primary inference.

A method's score is a mean over U users and S seeds of y[u, s]. Both are samples: other users and
other seeds would have given another number. Users are drawn with replacement, once for all methods
(they were ranked by all of them); seeds with replacement, for each method by itself (seed 3 of one
has nothing to do with seed 3 of another). With weights w of the users and v of the seeds, a
resample of the score is its first-order part

    sum_u w[u] y[u, .] + sum_s v[s] y[., s] - y[., .]

that is, users are drawn on scores averaged over seeds and seeds on scores averaged over users. The
full product sum_us w[u] v[s] y[u, s], the pigeonhole bootstrap of McCullagh (2000) and Owen (2007),
counts the variance of the interaction of users with seeds three times, the first-order part twice
and the truth once: conservative either way, by less this way. Seeds are few, so the (S - 1) / S by
which a bootstrap underrates the variance of a mean matters: deviations of the seeds' weights are
stretched by sqrt(S / (S - 1)).

The relative difference of two methods is mean(a) / mean(b) - 1, studied as log(mean(a) / mean(b)),
which is closer to normal. From the resamples comes its standard error; interval, p-value and
smallest detectable effect take Student's t, since three seeds carry two degrees of freedom however
often they are resampled. Degrees of freedom follow Satterthwaite from the variances that users and
either method's seeds contribute (delta method).

Every comparison is a contrast: a sum of logs of means, each times 1 or -1. log(a / b) has two
terms; the ratio of two retentions, (a kept / a left out) / (b kept / b left out), has four. Scores
of one method (two metrics, two protocols) share the draws of its seeds as well as of the users, so
that contrasts of them are held against one another resample by resample.
"""

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmark.analyse.columns import OTHER_DATA
from benchmark.analyse.rules import RULES, Rules
from benchmark.errors import InputError

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["replicated", "contradicted", "inconclusive"]

_DRAWS_AT_ONCE = 1 << 20
"""Bounds the memory of a block of resamples to some tens of MB."""
MOST_UNITS = 50_000
"""Users, or groups of them, that a resample draws at most: time and memory grow with them."""
_NOISE = 1e-12
"""Standard errors below this are rounding."""


class Score(NamedTuple):
    """Names the scores of one method in one metric under one protocol."""

    method: str
    """Seeds the draws of the method's seeds: all its scores share them."""
    metric: str
    protocol: str


@dataclass(frozen=True)
class Contrast:
    """A sum of logs of means (or of means), each times 1 or -1, with what users and seeds leave
    open of it."""

    value: float
    error: float
    """Standard error: the sd over the resamples."""
    df: float
    n_seeds: tuple[int, ...]
    """Of each method whose seeds vary."""
    note: str = ""
    """Why there is no error: what is the matter with the scores."""

    def interval(self, alpha: float) -> tuple[float, float]:
        """Ends of the 1 - alpha interval, on the contrast's own scale."""
        half = float(stats.t.ppf(1 - alpha / 2, self.df)) * self.error
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided, of no difference; below alpha exactly where the interval excludes 0."""
        if self.error == 0:
            return 1.0
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.df))

    @property
    def normal_deviate(self) -> float:
        """The standard normal value with the tail probability of value / error under Student's t,
        so that contrasts of other degrees of freedom compare; 0 where there is no error."""
        if self.error == 0:
            return 0.0
        t = self.value / self.error
        return float(np.sign(t) * -stats.norm.ppf(stats.t.sf(abs(t), self.df)))

    def smallest_detectable(self, rules: Rules) -> float:
        """The true value whose interval excludes 0 with the power of the rules."""
        t = float(stats.t.ppf(1 - rules.alpha / 2, self.df))
        return (t + float(stats.t.ppf(rules.power, self.df))) * self.error


@dataclass(frozen=True)
class Comparison:
    """Whether method a beats method b, by the relative difference mean(a) / mean(b) - 1."""

    difference: float
    low: float
    high: float
    """Ends of the 1 - alpha confidence interval of the difference."""
    p: float
    """Two-sided, of no difference; below alpha exactly where the interval excludes 0."""
    smallest_detectable: float
    """Smallest true difference whose interval excludes 0 with the power of the rules."""
    df: float
    n_users: int
    n_seeds: tuple[int, int]
    verdict: Verdict
    """replicated: low > 0. contradicted: high < smallest effect of interest. Else inconclusive."""
    note: str = ""
    """Why there is no verdict, or what to know of one."""


@dataclass(frozen=True)
class Interval:
    """A method's mean with the confidence interval that users and seeds together give it."""

    mean: float
    low: float
    high: float


def in_units(values: FloatArray) -> FloatArray:
    """[G, C]: what a resample draws of values [U, C]. Up to `MOST_UNITS` users: the users.

    More are dealt at random into that many groups, whose sizes differ by one at most. A group's
    value is the mean over all users and, times G / U, the sum of its users' deviations from it, so
    that the mean over groups is that over users. Users are exchangeable, hence the variance of a
    mean stays the same in expectation; its standard error is known to 1 / sqrt(2 G), 0.3 per cent.
    The groups depend on U alone.
    """
    users = len(values)
    if users <= MOST_UNITS:
        return values
    group = np.random.default_rng(users).permutation(np.arange(users) % MOST_UNITS)
    means = values.mean(axis=0)
    sums = [np.bincount(group, column, MOST_UNITS) for column in (values - means).T]
    return means + np.stack(sums, axis=1) * (MOST_UNITS / users)


def resampled_means(values: FloatArray, *, resamples: int, seed: int) -> FloatArray:
    """[R, C]: means of the columns of values [U, C] over users drawn with replacement (groups of
    them where they are many: `in_units`), the same draws for every column. Draws depend on
    (U, R, seed) alone."""
    values = in_units(values)
    units = len(values)
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // units)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, units, (rows, units)) + units * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        means[start : start + rows] = counts.astype(np.float64) @ values
    return means / units


class CrossedBootstrap:
    """All methods of one dataset (or of one bucket of its users), users drawn once for all.

    values: name -> [U, S] per-user metric, the same users in the same order for all; the numbers of
    seeds may differ. A name is a `Score` or any hashable of its own; its method seeds the draws of
    the seeds, so that a comparison of two does not depend on which others are there.
    fixed: names with nothing random in them, such as controls: their one seed stands for all, and
    users alone are drawn. Raises InputError for different numbers of users.
    """

    def __init__(
        self,
        values: Mapping[Any, FloatArray],
        rules: Rules = RULES,
        fixed: Collection[Hashable] = (),
    ) -> None:
        self.rules = rules
        self.fixed = frozenset(fixed)
        sizes = {len(v) for v in values.values()}
        if len(sizes) > 1:
            raise InputError(
                f"methods were ranked on different numbers of users: {sorted(sizes)}; {OTHER_DATA}"
            )
        (self.n_users,) = sizes or {0}
        self.values = {name: in_units(np.asarray(v, np.float64)) for name, v in values.items()}
        usable = [name for name in self.values if not self.problem(name)]
        self._means: dict[Hashable, FloatArray] = {}
        self._contrasts: dict[tuple[frozenset[tuple[Any, int]], bool], Contrast] = {}
        if not usable:
            return
        by_user = np.stack([self.values[name].mean(axis=1) for name in usable], axis=1)
        over_users = resampled_means(by_user, resamples=rules.resamples, seed=rules.bootstrap_seed)
        for name, means in zip(usable, over_users.T, strict=True):
            by_seed = self.values[name].mean(axis=0)
            if name in self.fixed:
                self._means[name] = means
                continue
            weights = seed_weights(
                len(by_seed), rules.resamples, rules.bootstrap_seed, _method(name)
            )
            self._means[name] = means + weights @ (by_seed - by_seed.mean())

    def problem(self, name: Hashable) -> str:
        """Why nothing can be inferred from these scores; "" where it can."""
        values = self.values[name]
        if np.isnan(values).any():
            return "NaN among the values"
        if values.shape[1] < 2 and name not in self.fixed:
            return "fewer than two seeds"
        return "fewer than two users" if len(values) < 2 else ""

    def over_seeds(self, name: Hashable) -> FloatArray:
        """[S]: mean over users of each of the method's seeds; NaN where there are no users."""
        values = self.values[name]
        return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)

    def mean(self, name: Hashable) -> float:
        """Over users and seeds; NaN where there are none."""
        values = self.values[name]
        return float(values.mean()) if values.size else np.nan

    def contrast(self, signs: Mapping[Any, int], *, log: bool = True) -> Contrast:
        """The sum of log means, each times its sign (1 or -1); of the means themselves unless log.
        Worked out once for the same signs, since a table and the report ask for many of them again.
        """
        asked = frozenset(signs.items()), log
        if asked not in self._contrasts:
            self._contrasts[asked] = self._contrast(signs, log)
        return self._contrasts[asked]

    def _contrast(self, signs: Mapping[Any, int], log: bool) -> Contrast:
        seeds = {
            _method(name): self.values[name].shape[1] for name in signs if name not in self.fixed
        }
        n_seeds = tuple(seeds.values())
        means = {name: self.mean(name) for name in signs}
        note = next((found for found in map(self.problem, signs) if found), "")
        if log and not note and min(*means.values(), *(self._means[n].min() for n in signs)) <= 0:
            note = "a mean is too near zero for a relative difference"
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(
                sum(s * (np.log(means[n]) if log else means[n]) for n, s in signs.items())
            )
        if note:
            return Contrast(value, np.nan, np.nan, n_seeds, note)
        influence: dict[str, FloatArray] = {}  # of one method's scores, to the first order
        for name, sign in signs.items():
            part = sign * self.values[name] / (means[name] if log else 1.0)
            influence[_method(name)] = influence.get(_method(name), 0.0) + part
        df = degrees_of_freedom(*_components(list(influence.values())))
        error = float(self.resampled(signs, log=log).std(ddof=1))
        if error < _NOISE < abs(value):
            note = "no variation over users or seeds to measure the difference against"
            return Contrast(value, np.nan, np.nan, n_seeds, note)
        if error < _NOISE:  # equal throughout: what is left is rounding
            value = error = 0.0
        return Contrast(value, error, df, n_seeds)

    def resampled(self, signs: Mapping[Any, int], *, log: bool = True) -> FloatArray:
        """[R]: the contrast in every resample."""
        means = ((sign, self._means[name]) for name, sign in signs.items())
        return np.asarray(sum(sign * (np.log(mean) if log else mean) for sign, mean in means))

    def compare(self, a: Hashable, b: Hashable) -> Comparison:
        """Method a against method b, which a claim says is worse."""
        mean_a, mean_b = self.mean(a), self.mean(b)
        difference = mean_a / mean_b - 1 if mean_b else np.nan
        seeds = (self.values[a].shape[1], self.values[b].shape[1])
        found = self.contrast({a: 1, b: -1})
        if found.note:
            return _nothing(difference, self.n_users, seeds, found.note)
        low, high = np.expm1(found.interval(self.rules.alpha))
        return self._with_verdict(
            difference,
            (float(low), float(high)),
            found.p,
            float(np.expm1(found.smallest_detectable(self.rules))),
            found,
            seeds,
        )

    def interval(self, name: Hashable) -> Interval:
        """A method's mean and its interval, cut to [0, 1]; NaN ends where it cannot be had."""
        x, mean = self.values[name], self.mean(name)
        if self.problem(name):
            return Interval(mean, np.nan, np.nan)
        df = degrees_of_freedom(*_components([x]))
        t = float(stats.t.ppf(1 - self.rules.alpha / 2, df))
        error = float(self._means[name].std(ddof=1))
        return Interval(mean, max(mean - t * error, 0.0), min(mean + t * error, 1.0))

    def _with_verdict(
        self,
        difference: float,
        ends: tuple[float, float],
        p: float,
        detectable: float,
        found: Contrast,
        seeds: tuple[int, int],
    ) -> Comparison:
        low, high = ends
        verdict: Verdict = "inconclusive"
        note = ""
        fewest = min(found.n_seeds, default=self.rules.minimum_seeds)
        if fewest < self.rules.minimum_seeds:
            note = f"n = {fewest} seeds; a verdict needs {self.rules.minimum_seeds}"
        elif low > 0:
            verdict = "replicated"
            if high < self.rules.smallest_effect:
                note = "smaller than the smallest effect of interest"
        elif high < self.rules.smallest_effect:
            verdict = "contradicted"
        return Comparison(
            difference, low, high, p, detectable, found.df, self.n_users, seeds, verdict, note
        )


def _nothing(difference: float, users: int, seeds: tuple[int, int], note: str) -> Comparison:
    nan = np.nan
    return Comparison(difference, nan, nan, nan, nan, nan, users, seeds, "inconclusive", note)


def _method(name: Hashable) -> str:
    return name.method if isinstance(name, Score) else str(name)


@lru_cache(maxsize=256)
def seed_weights(seeds: int, resamples: int, seed: int, method: str) -> FloatArray:
    """[R, S] weights of the drawn seeds; each row sums to 1, deviations stretched as said above.
    Kept, since all scores of a method share them; not to be written to."""
    rng = np.random.default_rng([seed, *method.encode()])
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    stretched = np.asarray(1 / seeds + np.sqrt(seeds / (seeds - 1)) * (weights - 1 / seeds))
    stretched.flags.writeable = False
    return stretched


def _components(influence: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Variances of a sum of means of [U, S] arrays, and their degrees of freedom: what users
    contribute (shared by the arrays) and what each array's seeds do, if it has several."""
    by_user = np.sum([x.mean(axis=1) for x in influence], axis=0)
    variances = [by_user.var(ddof=1) / len(by_user)]
    seeded = [x for x in influence if x.shape[1] > 1]
    variances += [x.mean(axis=0).var(ddof=1) / x.shape[1] for x in seeded]
    freedom = [len(by_user) - 1] + [x.shape[1] - 1 for x in seeded]
    return np.asarray(variances), np.asarray(freedom, np.float64)


def degrees_of_freedom(variances: FloatArray, freedom: FloatArray) -> float:
    """Satterthwaite's, of a sum of independent variance estimates."""
    total = variances.sum()
    if total == 0:
        return float(freedom.min())
    return float(total**2 / (variances**2 / freedom).sum())
