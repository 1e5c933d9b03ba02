"""Real rankings for the audit's tests: ranks of relevant items and metrics from their definitions.

Written apart from the audit: metrics are computed user by user from lists of ranks, not from flows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankaudit.metrics import Metric
from rankaudit.printed import Printed
from rankaudit.rankings import Protocol

METRICS = tuple(
    metric
    for kind in ("NDCG", "MRR", "HR", "Recall", "Precision", "MAP")
    for k in (1, 3, 5, 10)
    if (metric := Metric.parse(f"{kind}@{k}")) is not None
)


def value(metric: Metric, ranks: NDArray[np.int64]) -> float:
    """One user's metric from the sorted ranks (1-based) of all the user's relevant items."""
    k = metric.cutoff if metric.cutoff is not None else int(ranks.max())
    inside = ranks[ranks <= k]
    if metric.kind == "HR":
        return float(len(inside) > 0)
    if metric.kind == "Recall":
        return len(inside) / len(ranks)
    if metric.kind == "Precision":
        return len(inside) / k
    if metric.kind == "MRR":
        return float(1.0 / inside[0]) if len(inside) else 0.0
    if metric.kind == "MAP":
        precisions = [(i + 1) / r for i, r in enumerate(inside)]
        return float(sum(precisions) / min(len(ranks), k))
    ideal = sum(1 / np.log2(i + 2) for i in range(min(len(ranks), k)))
    return float(sum(1 / np.log2(r + 1) for r in inside) / ideal)


@dataclass(frozen=True)
class Population:
    """Users with their numbers of relevant items, ranked among `candidates` items."""

    relevant: NDArray[np.int64]
    candidates: int

    @property
    def protocol(self) -> Protocol:
        """What a page would have to state."""
        sizes, counts = np.unique(self.relevant, return_counts=True)
        shares = tuple(
            (int(m), int(n) / len(self.relevant)) for m, n in zip(sizes, counts, strict=True)
        )
        return Protocol(shares, self.candidates)

    def run(self, rng: np.random.Generator, skill: float) -> list[NDArray[np.int64]]:
        """One model's ranks: relevant items get better scores on average by `skill`."""
        ranks = []
        for m in self.relevant:
            scores = rng.normal(size=self.candidates)
            scores[:m] += skill
            order = np.argsort(-scores)
            ranks.append(np.sort(np.flatnonzero(order < m)) + 1)
        return ranks


def draw_population(rng: np.random.Generator, one_target: bool) -> Population:
    """A few users up to some dozens, with one relevant item each or one to several."""
    users = int(rng.integers(1, 40))
    candidates = int(rng.choice([8, 12, 30, 101]))
    most = 1 if one_target else int(rng.integers(2, min(candidates, 15)))
    return Population(rng.integers(1, most + 1, size=users), candidates)


def means(ranks: list[NDArray[np.int64]], metrics: tuple[Metric, ...]) -> NDArray[np.float64]:
    """Mean metrics over users, [metrics]."""
    return np.array([np.mean([value(metric, r) for r in ranks]) for metric in metrics])


def draw_metrics(rng: np.random.Generator) -> tuple[Metric, ...]:
    """Two to six different metrics."""
    count = int(rng.integers(2, 7))
    return tuple(METRICS[i] for i in rng.choice(len(METRICS), size=count, replace=False))


def printed(number: float, decimals: int) -> Printed:
    """A number as a page shows it."""
    return Printed.parse(f"{number:.{decimals}f}", "test")


def print_row(
    values: NDArray[np.float64], metrics: tuple[Metric, ...], decimals: int
) -> dict[Metric, Printed]:
    """A row as a page shows it."""
    return {m: printed(float(v), decimals) for m, v in zip(metrics, values, strict=True)}
