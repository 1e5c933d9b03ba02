"""Column generation against one plain programme over every ranking there is."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linprog

from rankaudit.feasibility import best_of_each_bounds, range_of, slack_bounds
from rankaudit.metrics import DEFINITIONS, Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol, TooManyKinds, rankings
from tests.rankaudit.populations import METRICS, value

SHALLOW = tuple(m for m in METRICS if m.cutoff in (3, 5))
# Both solve to 1e-7 of units of 1e-3 whose slack is some hundreds of units.
SOLVERS = 1e-4


def defined(metric: Metric, ranks: NDArray[np.int64], definition: str) -> float:
    """One user's metric under another definition, from the ranks of all relevant items."""
    m, k = len(ranks), metric.cutoff or int(ranks.max())
    inside = ranks[ranks <= k]
    if not definition.lower().startswith(metric.kind.lower()):
        return value(metric, ranks)
    gains = sum(1 / np.log2(r + 1) for r in inside)
    match definition:
        case "ndcg_ideal_k":
            return float(gains / sum(1 / np.log2(i + 1) for i in range(1, k + 1)))
        case "ndcg_of_hits":
            best = sum(1 / np.log2(i + 1) for i in range(1, len(inside) + 1))
            return float(gains / best) if len(inside) else 0.0
        case "map_over_m":
            return float(sum((i + 1) / r for i, r in enumerate(inside)) / m)
        case "mrr_all_hits":
            return float(sum(1 / inside))
        case "recall_min":
            return len(inside) / min(k, m)
    raise AssertionError(definition)


def every_ranking(
    metrics: tuple[Metric, ...], sizes: range, candidates: int, definition: str = ""
) -> NDArray[np.float64]:
    """Metrics of every set of ranks of every size, [metrics, rankings], without repetitions."""
    columns = {
        tuple(defined(metric, np.array(ranks), definition) for metric in metrics)
        for m in sizes
        for ranks in combinations(range(1, candidates + 1), m)
    }
    return np.array(sorted(columns)).T


def plain_slack(columns: NDArray[np.float64], cells: dict[Metric, Printed]) -> float:
    units = np.array([c.unit for c in cells.values()])
    goal = np.array([c.value for c in cells.values()]) / units
    scaled, one = columns / units[:, None], np.ones((len(goal), 1))
    result = linprog(
        np.append(np.zeros(columns.shape[1]), 1.0),
        A_ub=np.vstack([np.hstack([scaled, -one]), np.hstack([-scaled, -one])]),
        b_ub=np.concatenate([goal, -goal]),
        A_eq=np.append(np.ones(columns.shape[1]), 0.0)[None],
        b_eq=[1.0],
    )
    return float(result.fun)


def random_cells(rng: np.random.Generator, count: int = 4) -> dict[Metric, Printed]:
    chosen = rng.choice(len(SHALLOW), size=count, replace=False)
    return {SHALLOW[i]: Printed.parse(f"{rng.random():.3f}", "test") for i in chosen}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("candidates", [4, 7, 11])
def test_an_unknown_number_of_targets_among_candidates(seed: int, candidates: int) -> None:
    """Every number of relevant items from one to all the candidates, K = 5 at most."""
    cells = random_cells(np.random.default_rng(seed))
    columns = every_ranking(tuple(cells), range(1, candidates + 1), candidates)
    bounds = slack_bounds(cells, Protocol(None, candidates))
    assert bounds.upper == pytest.approx(plain_slack(columns, cells), abs=SOLVERS)
    assert bounds.lower == pytest.approx(bounds.upper, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("definition", sorted(set(DEFINITIONS) - {"recall_micro"}))
def test_other_definitions(seed: int, definition: str) -> None:
    """Rows that hold the metric in question, one to three relevant items among nine."""
    rng = np.random.default_rng(seed)
    kind = DEFINITIONS[definition][0]
    own = {Metric(kind, k): Printed.parse(f"{rng.random():.3f}", "test") for k in (3, 5)}
    cells = {**random_cells(rng, 3), **own}
    m = int(rng.integers(1, 4))
    columns = every_ranking(tuple(cells), range(m, m + 1), 9, definition)
    protocol = Protocol(((m, 1.0),), 9, frozenset({definition}))
    assert slack_bounds(cells, protocol).upper == pytest.approx(
        plain_slack(columns, cells), abs=SOLVERS
    )


def test_recall_as_micro_average_by_hand() -> None:
    """Users with 1 and 3 targets, all hit in the first five: 1 of 1 and 3 of 3 either way; if only
    the first user's is hit, the mean over users is 1 / 2 and the micro average 1 / 4."""
    half = ((1, 0.5), (3, 0.5))
    micro = Protocol(half, definitions=frozenset({"recall_micro"}))
    cells = {
        Metric("Recall", 5): Printed.parse("0.250", ""),
        Metric("HR", 5): Printed.parse("0.500", ""),
        Metric("Precision", 5): Printed.parse("0.100", ""),
    }
    assert slack_bounds(cells, micro).within(0.5) is True
    cells[Metric("Recall", 5)] = Printed.parse("0.500", "")
    assert slack_bounds(cells, micro).within(0.5) is False
    assert slack_bounds(cells, Protocol(half)).within(0.5) is True


@pytest.mark.parametrize("seed", range(8))
def test_columns_at_their_own_best_epoch(seed: int) -> None:
    """One plain programme with a population of single-target rankings for every column."""
    rng = np.random.default_rng(seed)
    cells = random_cells(rng, 3)
    columns = every_ranking(tuple(cells), range(1, 2), 30)
    units = np.array([c.unit for c in cells.values()])
    goal = np.array([c.value for c in cells.values()]) / units
    n, scaled = columns.shape[1], columns / units[:, None]
    rows, limits = [], []
    for j in range(3):
        for sign in (1.0, -1.0):
            row = np.zeros(3 * n + 1)
            row[j * n : (j + 1) * n], row[-1] = sign * scaled[j], -1.0
            rows.append(row)
            limits.append(sign * goal[j])
    for p, m in permutations(range(3), 2):
        row = np.zeros(3 * n + 1)
        row[p * n : (p + 1) * n] += scaled[m]
        row[m * n : (m + 1) * n] -= scaled[m]
        rows.append(row)
        limits.append(0.0)
    equal = np.hstack([np.kron(np.eye(3), np.ones(n)), np.zeros((3, 1))])
    result = linprog(
        np.append(np.zeros(3 * n), 1.0), A_ub=np.array(rows), b_ub=limits, A_eq=equal, b_eq=[1] * 3
    )
    bounds = best_of_each_bounds(cells, Protocol(candidates=30))
    assert bounds.upper == pytest.approx(result.fun, abs=SOLVERS)
    assert bounds.lower == pytest.approx(bounds.upper, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_the_range_of_a_cell(seed: int) -> None:
    """Two plain programmes over all rankings of two targets among eight; the row is a real one."""
    rng = np.random.default_rng(seed)
    metrics = tuple(SHALLOW[i] for i in rng.choice(len(SHALLOW), size=4, replace=False))
    columns = every_ranking(metrics, range(2, 3), 8)
    mean = columns @ rng.dirichlet(np.full(columns.shape[1], 0.3))
    cells = {m: Printed.parse(f"{v:.3f}", "") for m, v in zip(metrics, mean, strict=True)}
    others = np.array([cells[m].value for m in metrics[1:]])
    ends = []
    for sign in (1.0, -1.0):
        result = linprog(
            sign * columns[0],
            A_ub=np.vstack([columns[1:], -columns[1:]]),
            b_ub=np.concatenate([others + 0.0005, 0.0005 - others]),
            A_eq=np.ones((1, columns.shape[1])),
            b_eq=[1.0],
        )
        ends.append(sign * result.fun)
    allowed = range_of(metrics[0], cells, Protocol(((2, 1.0),), 8), Rounding.ONCE)
    # The audit adds its tolerance of 1e-5 units of 1e-3, times the steepness of the bound.
    assert allowed == pytest.approx(ends, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_ranking_in_a_direction_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    metrics = tuple(SHALLOW[i] for i in rng.choice(len(SHALLOW), size=5, replace=False))
    space = rankings(metrics, Protocol(None, 8))
    assert space is not None
    columns = every_ranking(metrics, range(1, 9), 8)
    direction = rng.normal(size=5)
    (best,), found = space.best(direction)
    assert best == pytest.approx((direction @ columns).max(), abs=1e-12)
    assert direction @ found[0][1] == pytest.approx(best, abs=1e-12)


def test_no_ranking_and_too_many_kinds() -> None:
    cells = {Metric("HR", 5): Printed.parse("0.5", "")}
    assert slack_bounds(cells, Protocol(((4, 1.0),), candidates=3)).within(0.5) is False
    of_hits = Protocol(None, definitions=frozenset({"ndcg_of_hits"}))
    metrics = tuple(Metric("NDCG", k) for k in (10, 20, 50))
    with pytest.raises(TooManyKinds):
        rankings(metrics, of_hits)
