"""All rankings that a protocol allows, and the best of them for any weighting of the metrics.

A ranking with m relevant items is a path through states c (hits so far): at position r = 1 .. K it
either misses, c -> c, or hits, c -> c + 1. Every metric is a sum over the hits of the path of a
number that depends on (r, c) and m alone (`rankaudit.metrics`). So the ranking that is best for a
weighted sum of metrics is a longest path, which dynamic programming finds exactly, however many
rankings there are. `rankaudit.feasibility` builds populations from such best rankings.

Rankings are sorted into kinds, which share m and, where NDCG is divided by the ideal of the hits
made, the numbers of hits within each of its cut-offs. Kinds are sorted into strata: parts of the
population with a known share of the rankings (one stratum if m is unknown).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from rankaudit.metrics import DEFINITIONS, Metric

MOST_POSITIONS = 5_000  # the largest cut-off that is tested; a row takes seconds there
MOST_NUMBERS = 10_000_000  # in `Rankings.gains`; beyond it (80 MB) a protocol is called untested


@dataclass(frozen=True)
class Protocol:
    """What one ranking is.

    relevant: (m, share) pairs, the share of rankings with m relevant items; None if unknown, then
        any mixture of m >= 1 is allowed. The default is one target per ranking.
    candidates: items in a ranking (sampled negatives plus the relevant ones); None if so many that
        every target can miss the cut-off.
    definitions: names of `rankaudit.metrics.DEFINITIONS` that replace the usual ones.
    """

    relevant: tuple[tuple[int, float], ...] | None = ((1, 1.0),)
    candidates: int | None = None
    definitions: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        unknown = self.definitions - set(DEFINITIONS)
        if unknown:
            raise ValueError(f"no definition {sorted(unknown)[0]!r}")
        if self.relevant is None:
            return
        if any(m < 1 or share < 0 for m, share in self.relevant):
            raise ValueError(f"relevant items must be >= 1 and shares >= 0, not {self.relevant}")
        if abs(sum(share for _, share in self.relevant) - 1.0) > 1e-6:
            raise ValueError(f"shares of rankings must sum to 1, not {self.relevant}")

    @property
    def one_target(self) -> bool:
        """Whether every ranking has exactly one relevant item."""
        return self.relevant is not None and {m for m, s in self.relevant if s > 0} == {1}

    def testable(self, metric: Metric) -> bool:
        """Whether a metric is a mean over rankings under these definitions.

        A micro average over an unknown number of targets is not, nor a sum of reciprocal ranks
        without a cut-off: these are left out of the programme, which can only make a row easier to
        satisfy, so that a row is excluded by it and never found possible.
        """
        if metric.kind == "Recall" and "recall_micro" in self.definitions:
            return self.relevant is not None
        return not (
            metric.kind == "MRR" and metric.cutoff is None and "mrr_all_hits" in self.definitions
        )


class TooManyKinds(ValueError):
    """The protocol distinguishes more kinds of rankings than can be handled."""


@dataclass(frozen=True)
class _Kind:
    """Rankings with `relevant` items and, by NDCG cut-off, the declared numbers of hits."""

    relevant: float
    stratum: int
    declared: dict[int, int]


@dataclass(frozen=True)
class Rankings:
    """The rankings of a protocol in arrays; positions and kinds from 0, states are hits so far.

    gains: what a hit adds, [metrics, positions, kinds, states].
    open: 0 where a state may stand after that many positions, else minus infinity,
        [positions + 1, kinds, states].
    tails: the least and the most that a ranking without hits adds, [2, metrics, kinds]: a
        reciprocal rank without cut-off goes on below the last position.
    stratum: of each kind, [kinds]; weights: share of each stratum, [strata].
    """

    gains: NDArray[np.float64]
    open: NDArray[np.float64]
    tails: NDArray[np.float64]
    stratum: NDArray[np.int64]
    weights: NDArray[np.float64]

    def best(
        self, direction: NDArray[np.float64], most: int = 6
    ) -> tuple[NDArray[np.float64], list[tuple[int, NDArray[np.float64]]]]:
        """Largest `direction @ metrics` of a ranking in each stratum, and rankings that reach it.

        direction: [metrics]. Returns the maxima, [strata], and (stratum, metrics) of up to `most`
        good rankings each, the best first.
        """
        _, depth, kinds, states = self.gains.shape
        weighted = np.tensordot(direction, self.gains, axes=1)
        value = self.open[depth].copy()
        tail = np.einsum("m,tmk->tk", direction, self.tails)
        value[:, 0] += tail.max(axis=0)
        hits = np.zeros((depth, kinds, states), dtype=bool)
        for r in range(depth - 1, -1, -1):
            hit = np.full((kinds, states), -np.inf)
            hit[:, :-1] = weighted[r, :, :-1] + value[:, 1:]
            hits[r] = hit > value
            value = np.where(hits[r], hit, value) + self.open[r]
        reached = value[:, 0]
        maxima = np.full(len(self.weights), -np.inf)
        np.maximum.at(maxima, self.stratum, reached)
        chosen: list[tuple[int, NDArray[np.float64]]] = []
        taken = np.zeros(len(self.weights), dtype=np.int64)
        for kind in np.argsort(-reached, kind="stable"):
            stratum = int(self.stratum[kind])
            if taken[stratum] < most and np.isfinite(reached[kind]):
                taken[stratum] += 1
                chosen.append((stratum, self._metrics(kind, hits, int(tail[:, kind].argmax()))))
        return maxima, chosen

    def _metrics(self, kind: int, hits: NDArray[np.bool_], tail: int) -> NDArray[np.float64]:
        """Metrics of the path that follows `hits` from the first position, [metrics]."""
        total = np.zeros(len(self.gains))
        state = 0
        for r in range(len(hits)):
            if hits[r, kind, state]:
                total += self.gains[:, r, kind, state]
                state += 1
        return total + self.tails[tail, :, kind] if state == 0 else total

    @cached_property
    def first(self) -> list[tuple[int, NDArray[np.float64]]]:
        """(stratum, metrics) of some rankings to begin with: single hits, extremes of a metric."""
        found = [*self._single_hits()]
        for direction in np.eye(len(self.gains)):
            for sign in (1.0, -1.0):
                found += self.best(sign * direction, most=1)[1]
        return found

    def _single_hits(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """(stratum, metrics) of every ranking of one relevant item: the hit's place, or none."""
        for kind in range(len(self.stratum)):
            if self.gains.shape[3] > 1 and np.isfinite(self.open[:, kind, 2:]).any():
                continue  # more than one hit is possible
            stratum = int(self.stratum[kind])
            missed, hit = self.open[:, kind, 0], self.open[:, kind, 1]
            for r in range(self.gains.shape[1]):
                if np.isfinite(missed[: r + 1]).all() and np.isfinite(hit[r + 1 :]).all():
                    yield stratum, self.gains[:, r, kind, 0]
            if np.isfinite(missed).all():
                yield stratum, self.tails[0, :, kind]
                yield stratum, self.tails[1, :, kind]


@lru_cache(maxsize=16)
def rankings(metrics: tuple[Metric, ...], protocol: Protocol) -> Rankings | None:
    """The rankings of a protocol, down to the largest cut-off; None if it admits none.

    Raises TooManyKinds.
    """
    depth = max((m.cutoff or 1 for m in metrics), default=1)
    if depth > MOST_POSITIONS:
        raise TooManyKinds(f"a cut-off of {depth:,}, and {MOST_POSITIONS:,} is the largest")
    kinds, weights = _kinds(metrics, protocol, depth)
    if not kinds:
        return None
    states = int(min(max(kind.relevant for kind in kinds), depth)) + 1
    if len(kinds) * depth * states * len(metrics) > MOST_NUMBERS:
        raise TooManyKinds(f"{len(kinds)} kinds of rankings with up to {states - 1} hits")
    gains = np.zeros((len(metrics), depth, len(kinds), states))
    shut = np.zeros((depth + 1, len(kinds), states), dtype=bool)
    tails = np.zeros((2, len(metrics), len(kinds)))
    c, r = np.arange(states)[None], np.arange(depth + 1)[:, None]
    for k, kind in enumerate(kinds):
        # More hits than positions or relevant items; more misses than irrelevant candidates.
        shut[:, k] = (c > r) | (c > kind.relevant)
        deepest = 0.0
        if protocol.candidates is not None:
            misses = protocol.candidates - kind.relevant
            shut[:, k] |= (np.minimum(r, protocol.candidates) - c) > misses
            deepest = 1.0 / (misses + 1)
        for cutoff, count in kind.declared.items():
            shut[cutoff, k] |= np.arange(states) != count
        for j, metric in enumerate(metrics):
            gains[j, :, k] = _gains(metric, protocol, depth, states, kind)
            if metric.cutoff is None:
                tails[:, j, k] = deepest, max(deepest, 1.0 / (depth + 1))
    opened = np.where(shut, -np.inf, 0.0)
    stratum = np.array([kind.stratum for kind in kinds])
    return Rankings(gains, opened, tails, stratum, np.array(weights))


def _gains(
    metric: Metric, protocol: Protocol, depth: int, states: int, kind: _Kind
) -> NDArray[np.float64]:
    micro = "recall_micro" in protocol.definitions and metric.kind == "Recall"
    if micro:
        assert protocol.relevant is not None  # otherwise not testable
        inside = np.arange(1, depth + 1) <= (metric.cutoff or depth)
        mean = sum(m * share for m, share in protocol.relevant)
        return np.repeat(inside[:, None] / mean, states, axis=1)
    declared = kind.declared.get(metric.cutoff) if metric.cutoff is not None else None
    table = np.zeros((depth, states))
    for r in range(1, min(depth, metric.cutoff or depth) + 1):
        for c in range(min(states, r)):
            table[r - 1, c] = metric.of_hit(r, c, kind.relevant, protocol.definitions, declared)
    return table


def _kinds(
    metrics: Sequence[Metric], protocol: Protocol, depth: int
) -> tuple[list[_Kind], list[float]]:
    """Kinds of rankings and the strata's shares; no kinds if some stratum is impossible."""
    strata: list[tuple[float, int]]
    if protocol.relevant is None:
        sizes = _unknown_sizes(metrics, protocol, depth)
        strata = [(m, 0) for m in sizes]
        weights = [1.0]
    else:
        shares: dict[int, float] = {}
        for m, share in protocol.relevant:
            if share > 0:
                shares[m] = shares.get(m, 0.0) + share
        strata = [(m, i) for i, m in enumerate(shares)]
        weights = list(shares.values())
        if protocol.candidates is not None and max(shares) > protocol.candidates:
            return [], []
    cutoffs = (
        sorted({m.cutoff for m in metrics if m.kind == "NDCG" and m.cutoff is not None})
        if "ndcg_of_hits" in protocol.definitions
        else []
    )
    kinds = []
    for relevant, stratum in strata:
        for declared in _declarations(cutoffs, relevant):
            kinds.append(_Kind(relevant, stratum, declared))
            if len(kinds) * depth * len(metrics) > MOST_NUMBERS:
                raise TooManyKinds(f"more than {len(kinds)} kinds of rankings")
    return kinds, weights


def _unknown_sizes(metrics: Sequence[Metric], protocol: Protocol, depth: int) -> list[float]:
    """Numbers of relevant items whose rankings span those of every number.

    Between K and C - K (C candidates) every position can be a hit or a miss, and m enters only as
    1 / m, in Recall and in MAP over m: the two ends span what lies between. Beyond C - K there are
    too few irrelevant candidates to miss at will, so each m counts by itself.
    """
    by_share = any(
        metric.kind == "Recall" or (metric.kind == "MAP" and "map_over_m" in protocol.definitions)
        for metric in metrics
    )
    total = protocol.candidates
    if total is None:
        few: list[float] = list(range(1, depth + 1))
        if (
            "ndcg_of_hits" in protocol.definitions
            and not by_share
            and not any(metric.kind == "MAP" for metric in metrics)
        ):
            few = [depth]  # m bounds the hits and nothing else
        return [*few, *([math.inf] if by_share else [])]
    low = range(1, min(depth, total) + 1)
    high = range(max(total - depth, 1), total + 1)
    return sorted({float(m) for m in (*low, *high)})


def _declarations(cutoffs: Sequence[int], relevant: float) -> Iterator[dict[int, int]]:
    """Every way to place hits within the cut-offs: nondecreasing, at most one a position."""
    if not cutoffs:
        yield {}
        return
    *smaller, last = cutoffs
    for rest in _declarations(smaller, relevant):
        before, start = (rest[smaller[-1]], smaller[-1]) if smaller else (0, 0)
        for count in range(before, int(min(before + last - start, relevant)) + 1):
            yield {**rest, last: count}
