"""Power laws: cost = a size^b, by least squares on logarithms, with an interval of b."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

DECADES = 2
"""Decades of sizes below the largest that `upper` keeps: fixed costs hide the law at small ones."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """cost = a size^b."""

    a: float
    b: float
    low: float
    high: float
    """Ends of the 95 % interval of b; infinite with two points."""
    points: int

    def __call__(self, size: float) -> float:
        """The cost at a size."""
        return float(self.a * size**self.b)

    def size_at(self, cost: float) -> float:
        """The size at which a cost is reached; infinite where it does not grow."""
        return float((cost / self.a) ** (1 / self.b)) if self.b > 0 else math.inf


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> PowerLaw:
    """The fit. Its interval is Student's, of a line through logarithms whose errors are normal and
    equal. Raises ValueError for fewer than two different sizes and for what is not positive."""
    if len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError("a power law needs positive costs at two sizes or more")
    x, y = np.log(sizes), np.log(costs)
    b, log_a = np.polyfit(x, y, 1)
    half = math.inf
    if len(x) > 2:
        left = y - (log_a + b * x)
        variance = (left**2).sum() / (len(x) - 2)
        error = math.sqrt(variance / ((x - x.mean()) ** 2).sum())
        half = float(student.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * error
    return PowerLaw(math.exp(log_a), float(b), float(b) - half, float(b) + half, len(x))


def upper(sizes: Sequence[float], costs: Sequence[float]) -> PowerLaw:
    """The fit over the sizes within `DECADES` of the largest. Raises ValueError as `power_law`."""
    floor = max(sizes) / 10**DECADES * (1 - 1e-9)
    kept = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if size >= floor]
    return power_law([size for size, _ in kept], [cost for _, cost in kept])
