"""Which printed metric rows some set of rankings can produce, proved either way.

Metrics are means over rankings, so the reachable rows are the convex hull of the rows of single
rankings (mixed over strata with their shares). The slack of a row is the smallest t such that some
population gives every cell within t units of its own last digit: a linear programme with a column
for every ranking. Columns are made when they are needed (column generation): a small programme
mixes the rankings at hand; its dual prices say in which direction a further ranking would help;
`Rankings.best` finds the best one there is in that direction; it joins, and so on until none helps.

Both ends are proved. The mixture at hand is a population: the slack is at most its distance. And
for any direction d no population exceeds the best ranking in it: the slack is at least
(d @ row - best) / |d|_1 in units. If the solver stops early, the two ends differ and the answer is
"undecided", never a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads `optimize` at first use: it takes longer than the rest of rankaudit
from numpy.typing import NDArray

from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol, Rankings, rankings

# HiGHS solves to 1e-7 in rows that are scaled to units of the last digit.
TOLERANCE = 1e-5
_GAP = 1e-7  # units; the two ends of a slack are one number
_ITERATIONS = 400

Row = dict[Metric, Printed]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """What was proved of a minimum: it lies between `lower` and `upper`."""

    lower: float
    upper: float

    def within(self, allowance: float) -> bool | None:
        """Whether the minimum is at most `allowance`; None if that was not decided."""
        if self.upper <= allowance + TOLERANCE:
            return True
        return False if self.lower > allowance + TOLERANCE else None


@dataclass
class _Programme:
    """min cost @ metrics + t  over populations, blocks @ metrics - elastic t <= limits.

    blocks: one [constraints, metrics] matrix a population (several for `best_of_each`).
    elastic: weight of t in each constraint, [constraints]; None leaves t out.
    cost: of the metrics, [metrics], in the programme of one population without t.
    """

    space: Rankings
    blocks: list[Array]
    limits: Array
    elastic: Array | None = None
    cost: Array | None = None

    def __post_init__(self) -> None:
        self.columns: list[tuple[int, int, Array]] = []
        self.seen: set[tuple[int, int, bytes]] = set()

    def start(self) -> None:
        """Rankings to begin with: the single hits, and the best and worst of every metric."""
        for population in range(len(self.blocks)):
            self.add(population, self.space.first)

    def add(self, population: int, found: Sequence[tuple[int, Array]]) -> bool:
        """Take rankings as columns; whether any was new."""
        before = len(self.columns)
        for stratum, metrics in found:
            key = (population, stratum, np.round(metrics, 13).tobytes())
            if key not in self.seen:
                self.seen.add(key)
                self.columns.append((population, stratum, metrics))
        return len(self.columns) > before

    def solve(self, enough: float = -np.inf) -> Bounds:
        """Bounds of the minimum; stops early once it is known to be at most `enough`."""
        # A distance is at least 0; a cost may be anything.
        lower = 0.0 if self.elastic is not None else -np.inf
        upper = np.inf
        for _ in range(_ITERATIONS):
            solved = self._mix()
            if solved is None:
                break
            value, prices = solved
            upper = min(upper, value)
            if upper <= enough or upper - lower <= _GAP:
                break
            bound, grew = self._price(prices)
            lower = max(lower, bound)
            if upper - lower <= _GAP or not grew:
                break
        return Bounds(min(lower, upper), upper)

    def _mix(self) -> tuple[float, Array] | None:
        """The best mixture of the rankings at hand: its value and the constraints' prices."""
        weights = self.space.weights
        strata = len(weights)
        owner = np.array([p * strata + s for p, s, _ in self.columns])
        within = np.stack(
            [weights[s] * (self.blocks[p] @ metrics) for p, s, metrics in self.columns], axis=1
        )
        cost = np.zeros(len(self.columns))
        if self.cost is not None:
            cost = np.array([weights[s] * (self.cost @ metrics) for _, s, metrics in self.columns])
        equal = (owner[None] == np.arange(len(self.blocks) * strata)[:, None]).astype(float)
        if self.elastic is not None:
            within = np.hstack([within, -self.elastic[:, None]])
            equal = np.hstack([equal, np.zeros((len(equal), 1))])
            cost = np.append(cost, 1.0)
        for method in ("highs", "highs-ipm"):
            result = scipy.optimize.linprog(
                cost, A_ub=within, b_ub=self.limits, A_eq=equal, b_eq=np.ones(len(equal)),
                method=method,
            )  # fmt: skip
            if result.status == 0 and result.fun is not None:
                return float(result.fun), np.maximum(-np.asarray(result.ineqlin.marginals), 0.0)
        return None

    def _price(self, prices: Array) -> tuple[float, bool]:
        """A lower bound from these prices, and whether they led to new rankings."""
        if self.elastic is not None:
            total = float(prices @ self.elastic)
            if total <= 0:
                return -np.inf, False
            prices = prices / total
        bound, grew = -float(prices @ self.limits), False
        for population, block in enumerate(self.blocks):
            direction = -(block.T @ prices)
            if self.cost is not None:
                direction = direction - self.cost
            maxima, found = self.space.best(direction)
            bound -= float(self.space.weights @ maxima)
            grew |= self.add(population, found)
        return bound, grew


def slack_bounds(row: Row, protocol: Protocol, enough: float = -np.inf) -> Bounds:
    """Bounds of the smallest t such that some population gives every cell within t units.

    enough: stop once the slack is known to be at most this. Both bounds are infinite if the
    protocol itself admits no ranking. Of cells whose metric the protocol's definitions make no mean
    over rankings, only that they do not fall with the cut-off is asked. Raises TooManyKinds.
    """
    least = _falls(row, protocol)
    metrics, values, units = _arrays({m: c for m, c in row.items() if protocol.testable(m)})
    if not metrics:
        return Bounds(least, least)
    space = rankings(metrics, protocol)
    if space is None:
        return Bounds(np.inf, np.inf)
    scaled, goal = np.diag(1.0 / units), values / units
    programme = _Programme(
        space,
        [np.vstack([scaled, -scaled])],
        np.concatenate([goal, -goal]),
        elastic=np.ones(2 * len(metrics)),
    )
    programme.start()
    found = programme.solve(enough)
    return Bounds(max(found.lower, least), max(found.upper, least))


def _falls(row: Row, protocol: Protocol) -> float:
    """The slack that a cell needs not to exceed the same metric at a larger cut-off, where one of
    the two is no mean over rankings; 0 if none does."""
    most = 0.0
    for smaller, one in row.items():
        for larger, other in row.items():
            ordered = smaller.cutoff is not None and (larger.cutoff or np.inf) > smaller.cutoff
            left_out = not (protocol.testable(smaller) and protocol.testable(larger))
            if smaller.kind == larger.kind and ordered and left_out:
                most = max(most, (one.value - other.value) / (one.unit + other.unit))
    return most


def slack(row: Row, protocol: Protocol) -> float:
    """The slack of a row; infinite if the protocol admits no ranking."""
    return slack_bounds(row, protocol).upper


def best_of_each_bounds(row: Row, protocol: Protocol, enough: float = -np.inf) -> Bounds:
    """Bounds of the slack if every column was printed at its own best epoch or run.

    One population per column: population j gives cell j, and no population exceeds another's own
    column (else that one would have been printed). Averages over seeds keep both properties.
    """
    metrics, values, units = _arrays({m: c for m, c in row.items() if protocol.testable(m)})
    space = rankings(metrics, protocol)
    if space is None:
        return Bounds(np.inf, np.inf)
    count = len(metrics)
    pairs = [(p, m) for p in range(count) for m in range(count) if p != m]
    blocks = [np.zeros((2 * count + len(pairs), count)) for _ in metrics]
    for p, block in enumerate(blocks):
        block[p, p], block[count + p, p] = 1.0 / units[p], -1.0 / units[p]
    for i, (p, m) in enumerate(pairs, start=2 * count):
        blocks[p][i, m] += 1.0 / units[m]
        blocks[m][i, m] -= 1.0 / units[m]
    goal = values / units
    elastic = np.concatenate([np.ones(2 * count), np.zeros(len(pairs))])
    limits = np.concatenate([goal, -goal, np.zeros(len(pairs))])
    programme = _Programme(space, blocks, limits, elastic)
    programme.start()
    return programme.solve(enough)


def slack_best_of_each(row: Row, protocol: Protocol) -> float:
    """The slack if every column was printed at its own best epoch or run."""
    return best_of_each_bounds(row, protocol).upper


def range_of(
    target: Metric, row: Row, protocol: Protocol, rounding: Rounding
) -> tuple[float, float] | None:
    """Values of `target` that fit the other cells of the row within rounding.

    None if the other cells do not fit each other, or if the solver did not decide. The interval
    is proved from outside: no value beyond it fits.
    """
    others = {metric: cell for metric, cell in row.items() if metric != target}
    metrics, values, units = _arrays(others)
    space = rankings((*metrics, target), protocol)
    if space is None:
        return None
    scaled = np.hstack([np.diag(1.0 / units), np.zeros((len(units), 1))])
    goal, both = values / units, np.vstack([scaled, -scaled])
    exact = np.concatenate([goal, -goal])
    first = _Programme(space, [both], exact, elastic=np.ones(len(both)))
    first.start()
    if first.solve(enough=rounding.value).within(rounding.value) is not True:
        return None
    ends = []
    for sign in (1.0, -1.0):
        cost = np.append(np.zeros(len(units)), sign)
        programme = _Programme(space, [both], exact + rounding.value + TOLERANCE, cost=cost)
        programme.add(0, [(s, metrics) for _, s, metrics in first.columns])
        bounds = programme.solve()
        if not np.isfinite(bounds.lower):
            return None
        ends.append(sign * bounds.lower)
    return ends[0], ends[1]


@dataclass(frozen=True)
class Repair:
    """One digit of one cell, changed so that the row becomes possible."""

    metric: Metric
    printed: str
    repaired: str


def one_digit_repairs(
    row: Row, protocol: Protocol, rounding: Rounding = Rounding.ONCE
) -> list[Repair]:
    """All rewrites of one printed digit that make the row feasible within `rounding`."""
    repairs = []
    for metric, cell in row.items():
        allowed = range_of(metric, row, protocol, rounding)
        if allowed is None:
            continue
        margin = (rounding.value + TOLERANCE) * cell.unit
        for place, digit in enumerate(cell.text.lower().partition("e")[0]):
            if not digit.isdigit():
                continue
            for other in "0123456789":
                text, value = cell.with_digit(place, other)
                if other != digit and allowed[0] - margin <= value <= allowed[1] + margin:
                    repairs.append(Repair(metric, cell.text, text))
    return repairs


def whole_hits(cell: Printed, count: int, per_hit: float = 1.0) -> bool:
    """GRIM for ranking metrics: can a whole number of hits give this cell?

    count: rankings, that is users times runs that were averaged; per_hit: what one hit adds to one
    ranking (1 for HR and one-target Recall, 1 / k for Precision@k).
    """
    least, most = hits_between(cell, count, per_hit)
    return least <= most


def hits_between(cell: Printed, count: int, per_hit: float = 1.0) -> tuple[int, int]:
    """The fewest and the most hits that the cell allows; the first is larger if it allows none."""
    low, high = cell.interval()
    scale = count / per_hit
    return int(np.ceil(low * scale - 1e-9)), int(np.floor(high * scale + 1e-9))


def _arrays(row: Row) -> tuple[tuple[Metric, ...], Array, Array]:
    return (
        tuple(row),
        np.array([cell.value for cell in row.values()]),
        np.array([cell.unit for cell in row.values()]),
    )
