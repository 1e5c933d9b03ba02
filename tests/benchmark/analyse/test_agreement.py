"""Rank correlations of rows, against scipy and against worlds whose order is known."""

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.agreement import agreements, kendall
from benchmark.analyse.contrasts import Arm
from tests.benchmark.analyse.test_contrasts import QUICK, arm


def test_tau_is_scipys():
    """Ties among them; 1e-12 is rounding of sums of some dozen signs."""
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 6, (20, 9)).astype(float), rng.normal(size=(20, 9))
    found = kendall(a, b)
    for mine, x, y in zip(found, a, b, strict=True):
        assert mine == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert np.isnan(kendall(np.ones((1, 4)), b[:1, :4])).all()


def test_rows_far_apart_are_ordered_alike_and_few_rows_say_nothing():
    """Rows whose gains differ by half have one order under any protocol and metric."""
    rows = {name: arm(name, gain) for name, gain in (("A", 1.0), ("B", 1.5), ("C", 2.2))}
    found = agreements(rows, list(rows), QUICK)
    assert [(one.one, one.other) for one in found[:2]] == [
        (("NDCG@10", "kept"), ("NDCG@10", "left out")),
        (("HR@10", "kept"), ("HR@10", "left out")),
    ]
    assert len(found) == 7
    assert all(one.rows == 3 and -1 <= one.low <= one.high <= 1 for one in found)
    assert found[0].tau == 1.0
    assert agreements(rows, ["A", "B"], QUICK) == []
    assert isinstance(rows["A"], Arm)


def test_rows_of_one_seed_are_left_out():
    """Nothing can be drawn anew of one seed; the others are ordered all the same."""
    rows = {name: arm(name, gain) for name, gain in (("A", 1.0), ("B", 1.5), ("C", 2.2))}
    expected = agreements(rows, list(rows), QUICK)
    begun = {**rows, "D": arm("D", 1.7, seeds=1)}
    assert agreements(begun, ["D", *rows, "E"], QUICK) == expected
    assert agreements(begun, ["A", "B", "D"], QUICK) == []
