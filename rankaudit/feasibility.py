"""Which printed metric rows some set of rankings can produce: exact linear programmes.

Every metric here is the mean over rankings of a function of where the relevant items stand in the
first K positions. A ranking with m relevant items is a path through states (position r, hits so far
c): at each position it either misses, (r-1, c) -> (r, c), or hits, (r-1, c) -> (r, c+1). Every
metric is a sum over the hits of a path of a number that depends on (r, c) alone:

    NDCG@k     1 / log2(r + 1) / sum_{i <= min(m, k)} 1 / log2(i + 1)
    MRR@k, HR  1 / r, 1            for the first hit (c = 0)
    Recall@k   1 / m               Precision@k   1 / k
    MAP@k      (c + 1) / r / min(m, k)

A population of rankings is therefore a unit of flow through that acyclic network, and every flow
decomposes into paths, so the flows give exactly the convex hull of what rankings can do: nothing
is relaxed, and subsets of positions need not be enumerated. Over users with different m the flow
is split with their shares. One relevant item (leave-one-out) is the case m = 1.

The slack of a row is the smallest t such that some flow reproduces every printed cell within
t units of its own last digit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import block_diag, coo_array, csr_array, hstack, vstack

from rankaudit.printed import Printed, Rounding

# HiGHS solves to 1e-7 in rows that are scaled to units of the last digit.
TOLERANCE = 1e-5
_NAMES = {
    "ndcg": "NDCG", "mrr": "MRR", "hr": "HR", "hit": "HR", "hitrate": "HR", "h": "HR",
    "recall": "Recall", "r": "Recall", "precision": "Precision", "prec": "Precision",
    "p": "Precision", "map": "MAP",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A ranking metric at a cut-off; `cutoff` is None for an MRR over the whole ranking."""

    kind: str
    cutoff: int | None

    @classmethod
    def parse(cls, name: str) -> Metric | None:
        """Read `NDCG@10`, `Hit@5`, `MRR`; None if the name is no metric that the audit knows."""
        match = re.fullmatch(r"([A-Za-z]+)(?:@(\d+))?", name.strip())
        kind = _NAMES.get(match[1].lower()) if match else None
        if match is None or kind is None or (match[2] is None and kind != "MRR"):
            return None
        cutoff = int(match[2]) if match[2] else None
        return None if cutoff == 0 else cls(kind, cutoff)

    def __str__(self) -> str:
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    def of_hit(self, position: int, earlier: int, relevant: int) -> float:
        """What a hit at `position` adds after `earlier` hits, of `relevant` items in all."""
        if self.cutoff is not None and position > self.cutoff:
            return 0.0
        if self.kind == "MRR":
            return 1.0 / position if earlier == 0 else 0.0
        assert self.cutoff is not None
        match self.kind:
            case "HR":
                return 1.0 if earlier == 0 else 0.0
            case "Recall":
                return 1.0 / relevant
            case "Precision":
                return 1.0 / self.cutoff
            case "MAP":
                return (earlier + 1) / position / min(relevant, self.cutoff)
            case _:
                ideal = sum(1.0 / np.log2(i + 1) for i in range(1, min(relevant, self.cutoff) + 1))
                return float(1.0 / np.log2(position + 1) / ideal)


@dataclass(frozen=True)
class Protocol:
    """What one ranking is.

    relevant: (m, share) pairs, the share of rankings with m relevant items; None if unknown, then
        any mixture of m >= 1 is allowed. The default is one target per ranking.
    candidates: items in a ranking (sampled negatives plus the relevant ones); None if so many that
        every target can miss the cut-off.
    """

    relevant: tuple[tuple[int, float], ...] | None = ((1, 1.0),)
    candidates: int | None = None

    def __post_init__(self) -> None:
        if self.relevant is None:
            return
        if any(m < 1 or share < 0 for m, share in self.relevant):
            raise ValueError(f"relevant items must be >= 1 and shares >= 0, not {self.relevant}")
        if abs(sum(share for _, share in self.relevant) - 1.0) > 1e-6:
            raise ValueError(f"shares of rankings must sum to 1, not {self.relevant}")


@dataclass(frozen=True)
class _Flows:
    """{x >= 0, conserve @ x = supply}: all populations; values @ x: their metrics, [metrics, x]."""

    conserve: csr_array
    supply: NDArray[np.float64]
    values: csr_array


class _Network:
    """Collects edges and nodes of the flow network, then turns them into arrays."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.metrics = metrics
        self.nodes: dict[tuple[int, int, int], int] = {}
        self.flow: list[tuple[int, int, float]] = []
        self.values: list[tuple[int, int, float]] = []
        self.edges = 0

    def node(self, stratum: int, position: int, hits: int) -> int:
        return self.nodes.setdefault((stratum, position, hits), len(self.nodes))

    def edge(self, tail: int, head: int | None, values: Sequence[float]) -> None:
        """Flow from tail to head (None: it leaves the network) with these metric values."""
        self.flow.append((tail, self.edges, 1.0))
        if head is not None:
            self.flow.append((head, self.edges, -1.0))
        self.values.extend((j, self.edges, v) for j, v in enumerate(values) if v)
        self.edges += 1

    def add_stratum(self, stratum: int, relevant: int, depth: int, candidates: int | None) -> None:
        """Paths of rankings with `relevant` items; positions stop at the candidates' number."""
        last = depth if candidates is None else min(depth, candidates)
        misses = last if candidates is None else candidates - relevant
        nothing = [0.0] * len(self.metrics)
        reached = {0}
        for r in range(1, last + 1):
            following = set()
            for c in sorted(reached):
                tail = self.node(stratum, r - 1, c)
                done = c + 1 == min(relevant, last)
                gains = [metric.of_hit(r, c, relevant) for metric in self.metrics]
                self.edge(tail, None if done or r == last else self.node(stratum, r, c + 1), gains)
                if not done:
                    following.add(c + 1)
                if r - c > misses:
                    continue  # more misses than there are irrelevant candidates
                following.add(c)
                if r < last:
                    self.edge(tail, self.node(stratum, r, c), nothing)
                elif c > 0:
                    self.edge(tail, None, nothing)
                else:
                    self._all_missed(tail, last, relevant, candidates)
            reached = following

    def _all_missed(self, tail: int, last: int, relevant: int, candidates: int | None) -> None:
        """No hit in the first `last`: an MRR without cut-off lies between two extremes."""
        deepest = 0.0 if candidates is None else 1.0 / (candidates - relevant + 1)
        for value in {1.0 / (last + 1), deepest}:
            self.edge(tail, None, [value if m.cutoff is None else 0.0 for m in self.metrics])


@lru_cache(maxsize=256)
def _flows(metrics: tuple[Metric, ...], protocol: Protocol) -> _Flows:
    depth = max((m.cutoff or 1 for m in metrics), default=1)
    network = _Network(metrics)
    unbounded = any(m.kind == "Recall" for m in metrics)
    if protocol.relevant is None:
        # Beyond m = K only the weight of a hit in Recall changes, towards zero as m grows: the
        # two ends m = K and m = infinity span everything between.
        sizes = [*range(1, depth + 1), *([10**9] if unbounded else [])]
        most = protocol.candidates or sizes[-1]
        strata = dict.fromkeys((m for m in sizes if m <= most), 0.0)
    else:
        strata = {}
        keep = unbounded or protocol.candidates is not None
        for m, share in protocol.relevant:
            size = m if keep else min(m, depth)
            strata[size] = strata.get(size, 0.0) + share
    for stratum, size in enumerate(strata):
        network.add_stratum(stratum, size, depth, protocol.candidates)
    roots = [network.nodes[stratum, 0, 0] for stratum in range(len(strata))]
    conserve = _sparse(network.flow, (len(network.nodes), network.edges))
    supply = np.zeros(len(network.nodes))
    if protocol.relevant is None:
        inner = np.setdiff1d(np.arange(len(network.nodes)), roots)
        total = csr_array(conserve[roots].sum(axis=0).reshape(1, -1))
        conserve = csr_array(vstack([conserve[inner], total]))
        supply = np.append(np.zeros(len(inner)), 1.0)
    else:
        supply[roots] = list(strata.values())
    return _Flows(conserve, supply, _sparse(network.values, (len(metrics), network.edges)))


def _sparse(entries: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> csr_array:
    rows, columns, data = zip(*entries, strict=True) if entries else ((), (), ())
    return csr_array(coo_array((data, (rows, columns)), shape=shape, dtype=np.float64))


def slack(row: dict[Metric, Printed], protocol: Protocol) -> float:
    """Smallest t such that some population gives every cell within t units of its last digit.

    Infinite if the protocol itself admits no ranking.
    """
    metrics, values, units = _arrays(row)
    flows = _flows(metrics, protocol)
    scaled = _in_units(flows.values, units)
    return _smallest_slack(scaled, values / units, None, flows.conserve, flows.supply)


def slack_best_of_each(row: dict[Metric, Printed], protocol: Protocol) -> float:
    """The slack if every column was printed at its own best epoch or run.

    One population per column: population j gives cell j, and no population exceeds another's own
    column (else that one would have been printed). Averages over seeds keep both properties.
    """
    metrics, values, units = _arrays(row)
    flows = _flows(metrics, protocol)
    count = len(metrics)
    # Row p * count + m of `every` is metric m of population p.
    every = csr_array(block_diag([_in_units(flows.values, units)] * count))
    own = [j * count + j for j in range(count)]
    others = [(p, m) for p in range(count) for m in range(count) if p != m]
    exceeds = every[[p * count + m for p, m in others]] - every[[own[m] for _, m in others]]
    return _smallest_slack(
        csr_array(every[own]),
        values / units,
        csr_array(exceeds),
        csr_array(block_diag([flows.conserve] * count)),
        np.tile(flows.supply, count),
    )


def range_of(
    target: Metric, row: dict[Metric, Printed], protocol: Protocol, rounding: Rounding
) -> tuple[float, float] | None:
    """Values of `target` that fit the other cells of the row within rounding, or None if none."""
    others = {metric: cell for metric, cell in row.items() if metric != target}
    metrics, values, units = _arrays(others)
    flows = _flows((*metrics, target), protocol)
    scaled = _in_units(csr_array(flows.values[: len(metrics)]), units)
    within = csr_array(vstack([scaled, -scaled]))
    bounds = np.concatenate([values / units, -values / units]) + rounding.value
    goal = flows.values[[len(metrics)]].toarray()[0]
    low = _minimum(goal, within, bounds, flows.conserve, flows.supply)
    high = _minimum(-goal, within, bounds, flows.conserve, flows.supply)
    return None if low is None or high is None else (low, -high)


def _in_units(values: csr_array, units: NDArray[np.float64]) -> csr_array:
    return csr_array(values.multiply(1.0 / units[:, None]))


def _smallest_slack(
    scaled: csr_array,
    goal: NDArray[np.float64],
    negative: csr_array | None,
    conserve: csr_array,
    supply: NDArray[np.float64],
) -> float:
    """min t such that |scaled @ x - goal| <= t, negative @ x <= 0 and x is a flow."""
    one = csr_array(np.ones((len(goal), 1)))
    blocks = [hstack([scaled, -one]), hstack([-scaled, -one])]
    bounds = [goal, -goal]
    if negative is not None:
        blocks.append(hstack([negative, csr_array((negative.shape[0], 1))]))
        bounds.append(np.zeros(negative.shape[0]))
    found = _minimum(
        np.append(np.zeros(scaled.shape[1]), 1.0),
        csr_array(vstack(blocks)),
        np.concatenate(bounds),
        csr_array(hstack([conserve, csr_array((len(supply), 1))])),
        supply,
    )
    return float("inf") if found is None else found


def _minimum(
    cost: NDArray[np.float64],
    within: csr_array,
    bounds: NDArray[np.float64],
    conserve: csr_array,
    supply: NDArray[np.float64],
) -> float | None:
    """min cost @ x over x >= 0, within @ x <= bounds, conserve @ x = supply; None if empty.

    Raises RuntimeError if the solver fails for another reason than infeasibility.
    """
    # linprog takes sparse matrices; its published types do not say so.
    result = linprog(
        cost,
        A_ub=cast(Any, within),
        b_ub=bounds,
        A_eq=cast(Any, conserve),
        b_eq=supply,
        method="highs",
    )
    if result.status == 2:
        return None
    if result.status != 0 or result.fun is None:
        raise RuntimeError(f"linear programme not solved: {result.message}")
    return float(result.fun)


@dataclass(frozen=True)
class Repair:
    """One digit of one cell, changed so that the row becomes possible."""

    metric: Metric
    printed: str
    repaired: str


def one_digit_repairs(
    row: dict[Metric, Printed], protocol: Protocol, rounding: Rounding = Rounding.ONCE
) -> list[Repair]:
    """All rewrites of one printed digit that make the row feasible within `rounding`."""
    repairs = []
    for metric, cell in row.items():
        allowed = range_of(metric, row, protocol, rounding)
        if allowed is None:
            continue
        margin = (rounding.value + TOLERANCE) * cell.unit
        for place, digit in enumerate(cell.text):
            if not digit.isdigit():
                continue
            for other in "0123456789":
                text = cell.text[:place] + other + cell.text[place + 1 :]
                value = _value_like(text, cell)
                if other != digit and allowed[0] - margin <= value <= allowed[1] + margin:
                    repairs.append(Repair(metric, cell.text, text))
    return repairs


def _value_like(text: str, cell: Printed) -> float:
    """The value of `text` on the scale of `cell` (fractions where the column is in per cent)."""
    places = len(text.rstrip("%").replace(",", "").partition(".")[2])
    return round(float(text.rstrip("%").replace(",", "")) * 10**places) * cell.unit


def whole_hits(cell: Printed, rankings: int, per_hit: float = 1.0) -> bool:
    """GRIM for ranking metrics: can a whole number of hits give this cell?

    rankings: users times runs that were averaged; per_hit: what one hit adds to one ranking (1 for
    HR and one-target Recall, 1 / k for Precision@k).
    """
    low, high = cell.interval()
    scale = rankings / per_hit
    return bool(np.floor(high * scale + 1e-9) >= np.ceil(low * scale - 1e-9))


def _arrays(
    row: dict[Metric, Printed],
) -> tuple[tuple[Metric, ...], NDArray[np.float64], NDArray[np.float64]]:
    return (
        tuple(row),
        np.array([cell.value for cell in row.values()]),
        np.array([cell.unit for cell in row.values()]),
    )
