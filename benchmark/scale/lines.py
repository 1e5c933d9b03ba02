"""Measurements that vary one size, and the law of each such line."""

from collections.abc import Callable, Sequence

from benchmark.scale.fit import Law, fit
from benchmark.scale.measure import Cost

SIZES = {"items, sampled": "items"}
"""Fields of a point that a line varies, where the line's name is another."""

LEAST_MB = 20.0
"""Memory of a point's own below this is in no fit: it may be the allocator's."""

Value = Callable[[Cost], float]
WHAT: dict[str, Value] = {"CPU s": lambda c: c.cpu_seconds, "own MB": lambda c: c.own_mb}


def size_of(cost: Cost) -> float:
    """The size that differs among the points of the cost's line."""
    name = SIZES.get(cost.point.varies, cost.point.varies)
    return float(getattr(cost.point, name))


def lines(costs: Sequence[Cost]) -> dict[tuple[str, str], list[Cost]]:
    """The costs by part and by what varies, the smallest size first."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for cost in sorted(costs, key=size_of):
        found.setdefault((cost.point.part, cost.point.varies), []).append(cost)
    return found


def fits(costs: Sequence[Cost], what: str) -> dict[tuple[str, str], Law]:
    """The law of every line that has two sizes with a cost that can be told from nothing."""
    found, least = {}, LEAST_MB if what == "own MB" else 0.0
    for line, own in lines(costs).items():
        pairs = [(size_of(c), WHAT[what](c)) for c in own if WHAT[what](c) > least]
        if len({size for size, _ in pairs}) > 1:
            found[line] = fit([size for size, _ in pairs], [cost for _, cost in pairs])
    return found
