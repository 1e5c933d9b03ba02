"""cost = fixed + a size^b, by least squares on logarithms, with an interval of b."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import t as student

FIXED_FROM = 4
"""Different sizes from which a fixed cost is looked for: three parameters leave one point over."""

STEEPEST = 4.0
"""Largest exponent of a law with a fixed cost."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Law:
    """cost = fixed + a size^b."""

    a: float
    b: float
    low: float
    high: float
    """Ends of the 95 % interval of b; infinite where no point is left over to tell the noise."""
    points: int
    fixed: float = 0.0

    def __call__(self, size: float) -> float:
        """The cost at a size."""
        return float(self.fixed + self.a * size**self.b)

    def size_at(self, cost: float) -> float:
        """The size at which a cost is reached; infinite where it does not grow."""
        if self.b <= 0 or self.a == 0:
            return math.inf
        return float((max(cost - self.fixed, 0.0) / self.a) ** (1 / self.b))


def fit(sizes: Sequence[float], costs: Sequence[float]) -> Law:
    """The law of these points: with a fixed cost of 0 or more from `FIXED_FROM` sizes on, else a
    power law. Raises ValueError for fewer than two different sizes and for what is not positive."""
    plain = power_law(sizes, costs)
    return plain if len(set(sizes)) < FIXED_FROM else _with_fixed_cost(sizes, costs, plain)


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> Law:
    """The fit without a fixed cost. Its interval is Student's, of a line through logarithms whose
    errors are normal and equal. Raises ValueError as `fit`."""
    if len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError("a law of costs needs positive costs at two sizes or more")
    x, y = np.log(sizes), np.log(costs)
    b, log_a = np.polyfit(x, y, 1)
    half = math.inf
    if len(x) > 2:
        left = y - (log_a + b * x)
        variance = (left**2).sum() / (len(x) - 2)
        error = math.sqrt(variance / ((x - x.mean()) ** 2).sum())
        half = float(student.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * error
    return Law(math.exp(log_a), float(b), float(b) - half, float(b) + half, len(x))


def _with_fixed_cost(sizes: Sequence[float], costs: Sequence[float], plain: Law) -> Law:
    """The interval of b is Student's by the fit's linear approximation. Where no fixed cost fits
    better the power law stays, whose two parameters the points tell more exactly."""
    x, y = np.log(sizes), np.log(costs)
    largest = x.max()  # the growing part is counted at the largest size, which tells it best
    cheapest = math.exp(y.min())

    def residuals(parameters: np.ndarray) -> np.ndarray:
        log_top, b, share = parameters
        return np.log(share * cheapest + np.exp(log_top + b * (x - largest))) - y

    tries = [
        least_squares(
            residuals,
            [y[x.argmax()], start, 0.5],
            bounds=([-np.inf, 0.0, 0.0], [np.inf, STEEPEST, 1.0]),
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        for start in (0.5, 1.0, 2.0)
    ]
    best = min(tries, key=lambda found: found.cost)
    log_top, b, share = best.x
    if share < 1e-6:
        return plain
    left = len(x) - len(best.x)
    jacobian = np.asarray(best.jac)
    variances = np.linalg.pinv(jacobian.T @ jacobian).diagonal() * 2 * best.cost / left
    half = float(student.ppf((1 + CONFIDENCE) / 2, left)) * math.sqrt(variances[1])
    a = math.exp(log_top - b * largest)
    return Law(a, float(b), float(b) - half, float(b) + half, len(x), float(share * cheapest))
