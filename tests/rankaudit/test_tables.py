"""Checks across rows: subgroup tables, constant ratios, improvements, marks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rankaudit.hits import whole_numbers
from rankaudit.metrics import Metric
from rankaudit.presentation import (
    improvements,
    marks,
)
from rankaudit.printed import Printed, Rounding
from rankaudit.proportional import (
    Sample,
    own_spreads,
    proportional_rows,
    smoothest,
)
from rankaudit.rows import Role, Row
from rankaudit.subgroups import parts_vs_whole
from tests.rankaudit.populations import (
    Population,
    means,
    print_row,
)

METRICS = (Metric("NDCG", 5), Metric("NDCG", 10), Metric("MRR", 5), Metric("MRR", 10))


def row(name: str, *texts: str, group: str = "", role: Role = "result", **more: int) -> Row:
    cells = {m: Printed.parse(t, "test") for m, t in zip(METRICS, texts, strict=False)}
    return Row("1", "data", name, cells, group, role, users=more.get("users"))


def subgroup_tables(seed: int, decimals: int, twice: bool = False) -> tuple[list[Row], list[Row]]:
    """Three groups of users, four methods, two runs: group rows and overall rows as printed."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 40, size=3)
    parts, wholes = [], []
    for method in range(4):
        runs = []
        for _ in range(2):
            skills = rng.uniform(0, 3, size=3)
            groups = [
                Population(np.ones(n, dtype=np.int64), 50).run(rng, s)
                for n, s in zip(sizes, skills, strict=True)
            ]
            rows = [means(g, METRICS) for g in groups]
            rows.append(means([user for g in groups for user in g], METRICS))
            runs.append(np.round(rows, decimals) if twice else rows)
        mean = np.mean(runs, axis=0)
        rounding = Rounding.TWICE if twice else Rounding.ONCE
        for g in range(3):
            cells = print_row(mean[g], METRICS, decimals)
            parts.append(
                Row("3", "d", f"m{method}", cells, f"g{g}", rounding=rounding, users=int(sizes[g]))
            )
        wholes.append(
            Row("2", "d", f"m{method}", print_row(mean[3], METRICS, decimals), rounding=rounding)
        )
    return parts, wholes


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_real_subgroup_tables_pass(seed: int, twice: bool) -> None:
    parts, wholes = subgroup_tables(seed, decimals=3 + seed % 2, twice=twice)
    users = {row.group: float(row.users or 0) for row in parts}
    known = {group: n / sum(users.values()) for group, n in users.items()}
    outcome = parts_vs_whole(parts, wholes, known)
    assert outcome.examined == 16
    assert outcome.findings == []


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_subgroup_table_is_found(seed: int) -> None:
    """One overall cell moved beyond its method's best and worst group."""
    parts, wholes = subgroup_tables(seed, decimals=4)
    metric = METRICS[seed % 4]
    best = max(p.cells[metric].value for p in parts if p.name == wholes[0].name)
    moved = Printed.parse(f"{best + 0.01:.4f}", "test")
    wholes[0] = replace(wholes[0], cells={**wholes[0].cells, metric: moved})
    (finding,) = parts_vs_whole(parts, wholes).findings
    assert finding.severity == "contradiction"
    assert finding.kind == "parts_vs_whole"
    assert finding.slack > finding.allowance


def test_weights_that_differ_from_the_known_ones_are_told_apart() -> None:
    """Exact mixtures with shares 0.5 / 0.5, judged with known shares 0.9 / 0.1."""
    parts = [row("a", "0.2", group="x"), row("a", "0.4", group="y"),
             row("b", "0.1", group="x"), row("b", "0.7", group="y")]  # fmt: skip
    wholes = [row("a", "0.3"), row("b", "0.4")]
    (finding,) = parts_vs_whole(parts, wholes, {"x": 0.9, "y": 0.1}).findings
    assert finding.kind == "parts_vs_whole"
    assert finding.severity == "discrepancy"
    assert finding.slack <= 1.0
    # a: |0.22 - 0.3| = 0.8 units; b: |0.16 - 0.4| = 2.4 units of 0.1.
    assert finding.slack_known == pytest.approx(2.4, abs=1e-6)


def proportional_pair(seed: int, dropped: float | None, runs: int = 10) -> list[Row]:
    """Two printed rows: independent models, or one with hits of the other dropped exactly."""
    rng = np.random.default_rng(seed)
    population = Population(np.ones(400, dtype=np.int64), 60)
    base = means(population.run(rng, 1.0), METRICS)
    other = base * dropped if dropped else means(population.run(rng, 0.7), METRICS)
    return [
        Row("1", "d", "a", print_row(base, METRICS, 4)),
        Row("1", "d", "b", print_row(other, METRICS, 4)),
    ]


def test_a_planted_constant_ratio_is_found_with_its_rarity() -> None:
    rows = proportional_pair(1, dropped=0.97)
    (finding,) = proportional_rows(rows, {"d": Sample(400, 10)}).findings
    assert finding.kind == "proportional_rows"
    assert finding.row == "b / a"
    assert finding.ratio[0] <= 0.97 <= finding.ratio[1]
    assert finding.chance_independent is not None
    assert finding.chance_dropped is not None
    assert finding.chance_independent < 0.05
    assert finding.chance_independent <= finding.chance_dropped


def test_independent_models_are_rarely_proportional() -> None:
    """At most 5 of 60 pairs of independent models are reported (the threshold is 5 %)."""
    found = sum(
        len(proportional_rows(proportional_pair(seed, None), {"d": Sample(400, 1)}).findings)
        for seed in range(60)
    )
    assert found <= 5


def test_smoothest_distribution_gives_back_its_row() -> None:
    cells = {m: Printed.parse(t, "") for m, t in
             zip(METRICS, ("0.0843", "0.1027", "0.0722", "0.0797"), strict=True)}  # fmt: skip
    shape = smoothest(cells)
    assert shape.shape == (10,)
    assert shape.min() >= 0
    assert shape.sum() <= 1
    for metric, cell in cells.items():
        mean = sum(metric.of_hit(r, 0, 1) * p for r, p in enumerate(shape, start=1))
        assert abs(mean - cell.value) <= 0.5001 * cell.unit


def test_spread_of_own_runs_by_hand() -> None:
    """Ratios 2 and 4 over two metrics: spread 4 / 2 - 1 = 1, the only pair."""
    runs = pd.DataFrame(
        [("d", "a", "NDCG@5", 0.2), ("d", "a", "MRR@5", 0.4),
         ("d", "b", "NDCG@5", 0.1), ("d", "b", "MRR@5", 0.1)],
        columns=["dataset", "row", "metric", "mean"],
    )  # fmt: skip
    assert own_spreads(runs) == pytest.approx((1.0, 1.0, 1.0))


def test_improvements_within_and_beyond_rounding() -> None:
    """0.0438 over 0.0425 is 3.06 %, between 2.82 and 3.30 % with any unprinted digits."""
    table = [row("x", "0.0425"), row("y", "0.0300"), row("o", "0.0438", role="ours")]
    right = row("Improv.", "3.06%", role="improvement")
    loose = row("Improv.", "3.25%", role="improvement")
    wrong = row("Improv.", "4.06%", role="improvement")
    assert improvements([*table, right]).findings == []
    assert improvements([*table, loose]).findings == []
    (finding,) = improvements([*table, wrong]).findings
    assert "2.82% to 3.30%" in finding.why


@pytest.mark.parametrize("seed", range(30))
def test_improvements_from_unrounded_numbers_pass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    best, ours = rng.uniform(0.02, 0.3, size=2)
    table = [
        row("x", f"{best:.4f}"),
        row("o", f"{ours:.4f}", role="ours"),
        row("i", f"{100 * (ours / best - 1):.2f}%", role="improvement"),
    ]
    assert improvements(table).findings == []


def test_marks_on_the_wrong_row_are_found() -> None:
    good = [row("a", "**0.30**"), row("b", "_0.20_"), row("c", "0.10")]
    assert marks(good).examined == 2
    assert marks(good).findings == []
    bad = [row("a", "0.30"), row("b", "**0.20**"), row("c", "_0.10_")]
    assert [f.row for f in marks(bad).findings] == ["b", "c"]
    tied = [row("a", "**0.30**"), row("b", "_0.30_"), row("c", "0.10")]
    assert marks(tied).findings == []
    starred = [row("a", "0.30"), row("b", "0.20*"), row("c", "0.10")]
    assert [(f.row, f.severity) for f in marks(starred).findings] == [("b", "note")]


def test_hits_that_no_whole_number_gives_are_found() -> None:
    cells = {Metric("HR", 10): Printed.parse("0.34", "")}
    assert len(whole_numbers([Row("1", "d", "a", cells, users=3)]).findings) == 1
    assert whole_numbers([Row("1", "d", "a", cells)]).examined == 0
    twice = Row("1", "d", "a", cells, users=3, rounding=Rounding.TWICE)
    assert whole_numbers([twice]).findings == []
