"""No false alarm on numbers from real rankings; no missed alarm on numbers that cannot be.

The default suite makes some hundred draws, `-m slow` many thousands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from rankaudit.feasibility import (
    TOLERANCE,
    slack,
    slack_best_of_each,
    whole_hits,
)
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol
from tests.rankaudit.populations import (
    draw_metrics,
    draw_population,
    means,
    print_row,
    printed,
)


def draws(default: int, slow: int) -> pytest.MarkDecorator:
    """Blocks of draws by seed: one in the default suite, more under `slow`."""
    blocks = [pytest.param(0, default, id="default")]
    blocks += [
        pytest.param(seed, slow // 10, marks=pytest.mark.slow, id=f"slow-{seed}")
        for seed in range(1, 11)
    ]
    return pytest.mark.parametrize(("seed", "count"), blocks)


def generators(seed: int, count: int) -> Iterator[np.random.Generator]:
    """One generator a draw, so that a failing draw can be repeated alone."""
    for draw in range(count):
        yield np.random.default_rng([seed, draw])


@draws(default=80, slow=2000)
@pytest.mark.parametrize("one_target", [True, False], ids=["one target", "several targets"])
@pytest.mark.parametrize("rounding", list(Rounding), ids=["once", "twice"])
def test_rows_of_real_rankings_pass(
    seed: int, count: int, one_target: bool, rounding: Rounding
) -> None:
    """H1, H2, H3: mean over users, one to three runs, rounded once, or per run and again."""
    for rng in generators(seed, count):
        population = draw_population(rng, one_target)
        metrics = draw_metrics(rng)
        decimals = int(rng.integers(2, 6))
        runs = [
            means(population.run(rng, skill=rng.uniform(-1, 4)), metrics)
            for _ in range(int(rng.integers(1, 4)))
        ]
        if rounding is Rounding.TWICE:
            runs = [np.round(run, decimals) for run in runs]
        row = print_row(np.mean(runs, axis=0), metrics, decimals)
        for protocol in (population.protocol, Protocol(None)):
            assert slack(row, protocol) <= rounding.value + TOLERANCE, (protocol, row)


@draws(default=60, slow=2000)
def test_rows_with_every_column_at_its_own_best_epoch_pass_under_that_hypothesis(
    seed: int, count: int
) -> None:
    """H4: per run the best of several epochs column by column, averaged over runs."""
    for rng in generators(seed, count):
        population = draw_population(rng, one_target=True)
        metrics = draw_metrics(rng)[:4]
        best = [
            np.max(
                [means(population.run(rng, skill=rng.uniform(0, 3)), metrics) for _ in range(3)],
                axis=0,
            )
            for _ in range(2)
        ]
        row = print_row(np.mean(best, axis=0), metrics, 4)
        assert slack_best_of_each(row, population.protocol) <= 0.5 + TOLERANCE, row


@draws(default=200, slow=5000)
def test_hits_of_real_rankings_are_whole_numbers(seed: int, count: int) -> None:
    """GRIM never rejects an HR, Recall or Precision that ranks produced."""
    for rng in generators(seed, count):
        population = draw_population(rng, one_target=True)
        users = len(population.relevant)
        runs = int(rng.integers(1, 4))
        k = int(rng.integers(1, 11))
        hits = [population.run(rng, skill=2.0) for _ in range(runs)]
        for metric, per_hit in ((Metric("HR", k), 1.0), (Metric("Precision", k), 1.0 / k)):
            mean = float(np.mean([means(ranks, (metric,)) for ranks in hits]))
            cell = printed(mean, int(rng.integers(1, 5)))
            assert whole_hits(cell, users * runs, per_hit), (cell, users, runs)


def vertices(metrics: tuple[Metric, ...], depth: int) -> NDArray[np.float64]:
    """Metrics of one target at rank 1..depth and of a miss, [depth + 1, metrics], from formulas."""
    rows = []
    for rank in range(1, depth + 2):
        gains = {
            "NDCG": 1 / np.log2(rank + 1),
            "MRR": 1 / rank,
            "MAP": 1 / rank,
            "HR": 1.0,
            "Recall": 1.0,
        }
        rows.append(
            [
                0.0
                if m.cutoff is None or rank > min(m.cutoff, depth)
                else gains.get(m.kind, 1 / m.cutoff)
                for m in metrics
            ]
        )
    return np.array(rows)


@draws(default=200, slow=10_000)
@pytest.mark.parametrize("rounding", list(Rounding), ids=["once", "twice"])
def test_rows_beyond_the_rounding_are_always_found(
    seed: int, count: int, rounding: Rounding
) -> None:
    """A row past a supporting plane of all outcomes by more than rounding can bridge.

    In a random direction d the largest d @ metrics of any population is that of one outcome
    (maximum over the vertices). Printing moves d @ metrics by at most |d|_1 times the rounding, so
    a row with d @ row above both cannot be a population's.
    """
    for rng in generators(seed, count):
        metrics = draw_metrics(rng)
        outcomes = vertices(metrics, depth=10)
        direction = rng.normal(size=len(metrics))
        best = outcomes[np.argmax(outcomes @ direction)]
        unit = 10.0 ** -int(rng.integers(2, 5))
        # Two roundings' worth outside, since printing the row below moves it by half a unit.
        needed = (rounding.value + 0.5 + 0.01) * unit * np.abs(direction).sum()
        step = np.sign(direction) * needed / np.abs(direction).sum()
        decimals = round(-np.log10(unit))
        cells = {
            m: Printed.parse(f"{max(v, -1):.{decimals}f}", "test")
            for m, v in zip(metrics, best + step, strict=True)
        }
        assert slack(cells, Protocol()) > rounding.value, (cells, direction)
