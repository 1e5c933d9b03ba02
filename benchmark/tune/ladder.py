"""Whether a budget is enough: bounds on what longer ones gain, from the ranks of trials.

For rungs r of a ladder, y[r] is [U, S]: a user's validation metric under each trial seed. What the
rungs larger than r gain is max over them of mean(y[k]) / mean(y[r]) - 1. Users are drawn with
replacement, once for all rungs; so are seeds, since a seed has the same beginning under every
budget (their deviations stretched by sqrt(S / (S - 1)), as in benchmark/analyse/bootstrap.py; with
one seed their noise goes uncounted). The largest of several noisy means is biased upwards, which
makes "enough" harder to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.analyse.bootstrap import resampled_means
from benchmark.runs.spec import Convergence

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 2_000
SEED = 20250803


@dataclass(frozen=True)
class Gain:
    """Of the best of some longer budgets over one."""

    estimate: float
    low: float
    """One-sided lower bound."""
    high: float
    """One-sided upper bound."""


@dataclass(frozen=True)
class Budget:
    """The rung that a ladder chooses under one protocol."""

    rung: int
    convergence: Convergence
    gains: Mapping[int, Gain]
    """Of all larger rungs over each but the largest."""


def choose(
    values: Mapping[int, FloatArray], floor: FloatArray, *, gain: float, level: float
) -> Budget:
    """The smallest rung that is enough, else the largest.

    values: rung -> [U, S], the same users and seeds for all, at least three rungs; floor: [U],
    Popularity's. A rung is enough if the upper bound of what all larger ones gain is below `gain`,
    and it lies above Popularity by the lower bound. That convergence is "shown" takes two larger
    rungs, or one that is known to lose: a row that overfits would otherwise be given the longest
    budget, its worst. The largest rung is "gaining" where the lower bound of what it gained over
    the one before is above 0, else "not shown".
    """
    rungs = sorted(values)
    means = _resampled(values, floor)
    gains = {
        rung: _gain(values, means, rung, rungs[at + 1 :], level)
        for at, rung in enumerate(rungs[:-1])
    }
    for at, rung in enumerate(rungs[:-1]):
        above = float(np.quantile(means[rung] - means[0], 1 - level)) > 0
        if above and gains[rung].high < gain:
            two_larger = at < len(rungs) - 2
            shown = two_larger or gains[rung].high < 0
            return Budget(rung, "shown" if shown else "not shown", gains)
    last = gains[rungs[-2]]
    return Budget(rungs[-1], "gaining" if last.low > 0 else "not shown", gains)


def _gain(
    values: Mapping[int, FloatArray],
    means: Mapping[int, FloatArray],
    rung: int,
    larger: Sequence[int],
    level: float,
) -> Gain:
    best = np.max([means[k] for k in larger], axis=0) / means[rung] - 1
    estimate = max(float(values[k].mean()) for k in larger) / float(values[rung].mean()) - 1
    low, high = np.quantile(best, [1 - level, level])
    return Gain(estimate, float(low), float(high))


def _resampled(values: Mapping[int, FloatArray], floor: FloatArray) -> dict[int, FloatArray]:
    """Rung -> [R] means; under 0 those of the floor."""
    by_user = np.stack([floor, *(y.mean(axis=1) for y in values.values())], axis=1)
    users = resampled_means(by_user, resamples=RESAMPLES, seed=SEED)
    seeds = next(iter(values.values())).shape[1]
    found = {0: users[:, 0]}
    if seeds == 1:
        return found | {rung: users[:, at] for at, rung in enumerate(values, 1)}
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    weights = np.sqrt(seeds / (seeds - 1)) * (drawn - 1 / seeds)
    for at, (rung, y) in enumerate(values.items(), 1):
        found[rung] = users[:, at] + weights @ y.mean(axis=0)
    return found
