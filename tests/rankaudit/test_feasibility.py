"""The linear programmes against enumeration, closed forms and hand-made rows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog

from rankaudit.feasibility import (
    one_digit_repairs,
    range_of,
    slack,
    slack_best_of_each,
    whole_hits,
)
from rankaudit.metrics import Metric
from rankaudit.printed import Printed, Rounding
from rankaudit.rankings import Protocol
from tests.rankaudit.populations import METRICS, value

# HiGHS's feasibility tolerance, in units of the last digit.
SOLVER = 1e-5


def row(**cells: str) -> dict[Metric, Printed]:
    """`row(NDCG_5="0.0843")`."""
    parsed = {Metric.parse(name.replace("_", "@")): text for name, text in cells.items()}
    return {m: Printed.parse(text, "test") for m, text in parsed.items() if m is not None}


def enumerated_slack(
    cells: dict[Metric, Printed], shares: dict[int, float], candidates: int, depth: int
) -> float:
    """The same slack from every subset of ranks, as columns of one plain programme."""
    columns, groups = [], []
    for group, m in enumerate(shares):
        for ranks in combinations(range(1, candidates + 1), m):
            columns.append([value(metric, np.array(ranks)) for metric in cells])
            groups.append(group)
    matrix = np.array(columns).T
    units = np.array([c.unit for c in cells.values()])
    goal = np.array([c.value for c in cells.values()]) / units
    scaled = matrix / units[:, None]
    one = np.ones((len(goal), 1))
    split = (np.array(groups)[None] == np.arange(len(shares))[:, None]).astype(float)
    result = linprog(
        np.append(np.zeros(scaled.shape[1]), 1.0),
        A_ub=np.vstack([np.hstack([scaled, -one]), np.hstack([-scaled, -one])]),
        b_ub=np.concatenate([goal, -goal]),
        A_eq=np.hstack([split, np.zeros((len(shares), 1))]),
        b_eq=list(shares.values()),
    )
    return float(result.fun)


@pytest.mark.parametrize("seed", range(60))
def test_flows_equal_the_enumeration_of_all_rankings(seed: int) -> None:
    """Random rows, mostly infeasible, with up to three relevant items among 5 to 12 candidates."""
    rng = np.random.default_rng(seed)
    candidates = int(rng.integers(5, 13))
    sizes = rng.choice([1, 2, 3], size=int(rng.integers(1, 4)), replace=False)
    weights = rng.dirichlet(np.ones(len(sizes)))
    shares = {int(m): float(w) for m, w in zip(sizes, weights, strict=True)}
    chosen = rng.choice(len(METRICS), size=4, replace=False)
    cells = {METRICS[i]: Printed.parse(f"{rng.random():.3f}", "test") for i in chosen}
    expected = enumerated_slack(cells, shares, candidates, depth=10)
    found = slack(cells, Protocol(tuple(shares.items()), candidates))
    # Both solve to 1e-7 of units of 1e-3 whose slack is some hundreds of units.
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_unlimited_candidates_are_a_limit_of_many(seed: int) -> None:
    """Without a candidates' number every target can miss: the same as far more than K + m."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(METRICS), size=4, replace=False)
    cells = {METRICS[i]: Printed.parse(f"{rng.random():.3f}", "test") for i in chosen}
    shares = ((1, 0.5), (3, 0.5))
    assert slack(cells, Protocol(shares)) == pytest.approx(
        slack(cells, Protocol(shares, candidates=10_000)), abs=1e-4
    )


def test_one_hit_at_rank_two_by_hand() -> None:
    """Every user's target at rank 2: NDCG = 1 / log2(3) = 0.6309, MRR = 0.5."""
    assert slack(row(NDCG_5="0.6309", MRR_5="0.5000", HR_5="1.0000"), Protocol()) < 0.5
    assert slack(row(NDCG_5="0.6320", MRR_5="0.5000", HR_5="1.0000"), Protocol()) > 0.5


def test_mrr_above_ndcg_needs_several_targets() -> None:
    """1 / r <= 1 / log2(r + 1) for one target; of two, one hit at rank 1 gives 1 and 0.613."""
    cells = row(NDCG_5="0.6131", MRR_5="1.0000")
    assert slack(cells, Protocol()) == pytest.approx(3869 / 2, abs=1)
    assert slack(cells, Protocol(((2, 1.0),))) <= 0.5
    assert slack(cells, Protocol(None)) <= 0.5


def test_more_gain_between_the_cutoffs_than_mrr_allows_by_hand() -> None:
    """A hit at rank r in 6..10 adds r / log2(r + 1) times as much NDCG as MRR, at most 2.89.

    MRR grows by 0.0010 between the cut-offs, with rounding 0.0011, so NDCG by at most 0.0032: a
    growth of 0.0100 is out of reach, one of 0.0029 is not.
    """
    cells = row(NDCG_5="0.0500", NDCG_10="0.0600", MRR_5="0.0400", MRR_10="0.0410")
    assert slack(cells, Protocol()) > 1.0
    cells = row(NDCG_5="0.0500", NDCG_10="0.0529", MRR_5="0.0400", MRR_10="0.0410")
    assert slack(cells, Protocol()) <= 0.5


def test_few_candidates_forbid_misses() -> None:
    """Among ten candidates HR@10 is 1, and the least NDCG@10 is 1 / log2(11) = 0.289."""
    few = Protocol(candidates=10)
    assert slack(row(HR_10="1.00", NDCG_10="0.29"), few) <= 0.5
    assert slack(row(HR_10="0.90", NDCG_10="0.29"), few) > 0.5
    assert slack(row(HR_10="1.00", NDCG_10="0.27"), few) > 0.5
    assert slack(row(HR_10="0.90", NDCG_10="0.29"), Protocol()) <= 0.5


def test_mrr_without_cutoff_reaches_beyond_it() -> None:
    """With HR@10 = 0 the MRR lies between 1 / candidates and 1 / 11."""
    among_hundred = Protocol(candidates=100)
    assert slack(row(HR_10="0.000", MRR="0.091"), among_hundred) <= 0.5
    assert slack(row(HR_10="0.000", MRR="0.010"), among_hundred) <= 0.5
    assert slack(row(HR_10="0.000", MRR="0.005"), among_hundred) > 0.5
    assert slack(row(HR_10="0.000", MRR="0.095"), among_hundred) > 0.5


def test_recall_of_any_number_of_targets_has_no_lower_bound() -> None:
    """HR@5 = 1 with Recall@5 near 0: possible with very many targets, not with one."""
    cells = row(HR_5="1.0000", Recall_5="0.0001")
    assert slack(cells, Protocol(None)) <= 0.5
    assert slack(cells, Protocol()) > 0.5


def test_a_column_at_its_own_best_epoch_by_hand() -> None:
    """MRR above NDCG stays impossible: the run behind MRR would have a larger NDCG than printed."""
    assert slack_best_of_each(row(NDCG_5="0.0500", MRR_5="0.0600"), Protocol()) > 0.5
    mixed = row(NDCG_5="0.0500", NDCG_10="0.0600", MRR_5="0.0400", MRR_10="0.0410")
    assert slack(mixed, Protocol()) > 0.5
    assert slack_best_of_each(mixed, Protocol()) <= 0.5


def test_repairs_are_all_the_digits_that_help_and_no_other() -> None:
    """Against trying every digit of every cell."""
    cells = row(NDCG_5="0.0823", NDCG_10="0.0957", MRR_5="0.0687", MRR_10="0.0776")
    assert slack(cells, Protocol()) > 0.5
    expected = set()
    for metric, cell in cells.items():
        for place, old in enumerate(cell.text):
            for digit in "0123456789":
                if old.isdigit() and digit != old:
                    text = cell.text[:place] + digit + cell.text[place + 1 :]
                    changed = {**cells, metric: Printed.parse(text, "test")}
                    if slack(changed, Protocol()) <= 0.5 + SOLVER:
                        expected.add((metric, text))
    found = {(r.metric, r.repaired) for r in one_digit_repairs(cells, Protocol())}
    assert found == expected
    assert found


def test_repairs_keep_the_scale_of_percentages() -> None:
    cells = row(NDCG_5="8.43%", MRR_5="9.22%")
    repairs = one_digit_repairs(cells, Protocol())
    assert "7.22%" in {r.repaired for r in repairs}
    for repair in repairs:
        changed = {**cells, repair.metric: Printed.parse(repair.repaired, "test")}
        assert slack(changed, Protocol()) <= 0.5 + SOLVER


def test_range_of_a_cell_by_hand() -> None:
    """HR@1 = 0.5 leaves MRR@2 between 0.5 and 0.75, here with half a unit of rounding."""
    hr, mrr = Metric("HR", 1), Metric("MRR", 2)
    allowed = range_of(
        mrr, {hr: Printed.parse("0.500", ""), mrr: Printed.parse("0.9", "")}, Protocol(),
        Rounding.ONCE,
    )  # fmt: skip
    assert allowed is not None
    assert allowed == pytest.approx((0.4995, 0.75025), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "rankings", "per_hit", "possible"),
    [
        ("0.33", 3, 1.0, True),
        ("0.34", 3, 1.0, False),
        ("0.0501", 943, 1.0, False),  # 47 / 943 = 0.0498, 48 / 943 = 0.0509
        ("0.0509", 943, 1.0, True),
        ("0.05", 2, 0.1, True),  # one hit of two rankings in Precision@10
        ("0.07", 2, 0.1, False),
    ],
)
def test_whole_hits(text: str, rankings: int, per_hit: float, possible: bool) -> None:
    assert whole_hits(Printed.parse(text, ""), rankings, per_hit) is possible


def test_protocol_refuses_shares_that_are_none() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Protocol(((1, 0.5),))
    with pytest.raises(ValueError, match=">= 1"):
        Protocol(((0, 1.0),))


def test_metric_names() -> None:
    assert Metric.parse("nDCG@10") == Metric("NDCG", 10)
    assert Metric.parse("Hit@5") == Metric("HR", 5)
    assert Metric.parse("MRR") == Metric("MRR", None)
    assert Metric.parse("NDCG") is None
    assert Metric.parse("AUC") is None
    assert Metric.parse("HR@0") is None
