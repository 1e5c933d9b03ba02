"""Tests over seeds: against scipy, against definitions, and on degenerate input."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.rules import RULES, RULES_HASH, Bucket, Rules
from benchmark.analyse.statistics import (
    bucket_sizes,
    hedges_g,
    holm,
    paired_effect,
    paired_t,
    summarise,
    welch_t,
    wilcoxon,
)

RNG = np.random.default_rng(0)
A, B = RNG.normal(0.10, 0.002, 10), RNG.normal(0.098, 0.004, 10)


def test_summary_against_scipy():
    """1e-12: two ways of rounding."""
    summary = summarise(A)
    low, high = stats.t.interval(0.95, 9, A.mean(), stats.sem(A))
    assert (summary.mean, summary.sd, summary.n) == (A.mean(), A.std(ddof=1), 10)
    assert (summary.low, summary.high) == pytest.approx((low, high), rel=1e-12)


def test_tests_against_scipy():
    """Paired t, Welch and exact Wilcoxon agree with scipy; 1e-12."""
    assert paired_t(A, B).p == pytest.approx(stats.ttest_rel(A, B).pvalue, rel=1e-12)
    assert paired_t(A, B).statistic == pytest.approx(stats.ttest_rel(A, B).statistic, rel=1e-12)
    theirs = stats.ttest_ind(A, B, equal_var=False)
    assert (welch_t(A, B).p, welch_t(A, B).df) == pytest.approx(
        (theirs.pvalue, theirs.df), rel=1e-12
    )
    exact = stats.wilcoxon(A, B, method="exact")
    assert (wilcoxon(A, B).statistic, wilcoxon(A, B).p) == pytest.approx(
        (exact.statistic, exact.pvalue), rel=1e-12
    )


def test_wilcoxon_with_ties_counts_every_sign():
    """Tied differences 1, 1, 2, 3, zero left out: of the 16 sign patterns, those at least as
    extreme as the one seen (W- = 1.5) are +++ +, two with one small minus, and their mirrors."""
    a, b = np.array([2, 2, 4, 6, 5.0]), np.array([1, 3, 2, 3, 5.0])
    assert wilcoxon(a, b).p == pytest.approx(6 / 16)


@pytest.mark.parametrize("pairs", range(2, 13))
def test_wilcoxon_is_exact_to_twelve_pairs(pairs):
    """Against every assignment of signs, one by one, with ties and zeros among the differences;
    ranks by definition, as the mean place of the values that are equal. 1e-12."""
    rng = np.random.default_rng(pairs)
    for _ in range(3):
        difference = rng.integers(-4, 5, pairs).astype(float)
        difference[0] = 1.0  # not all zero
        kept = difference[difference != 0]
        size = np.abs(kept)
        ranks = [(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size]
        total = sum(ranks)
        positive = sum(r for r, d in zip(ranks, kept, strict=True) if d > 0)
        seen = abs(positive - total / 2)
        extreme = [
            abs(sum(r for r, plus in zip(ranks, signs, strict=True) if plus) - total / 2)
            >= seen - 1e-9
            for signs in itertools.product((False, True), repeat=len(kept))
        ]
        result = wilcoxon(difference, np.zeros(pairs))
        assert result.p == pytest.approx(np.mean(extreme), abs=1e-12)


def test_wilcoxon_of_many_pairs_is_scipys_approximation():
    x = RNG.normal(0.3, 1, 40)
    assert wilcoxon(x, np.zeros(40)).p == pytest.approx(stats.wilcoxon(x, method="approx").pvalue)


def test_signs_and_symmetry():
    assert paired_t(A, B).statistic == -paired_t(B, A).statistic
    assert paired_t(A + 1, A + RNG.normal(0, 0.1, 10)).statistic > 0
    assert paired_effect(A, B) == -paired_effect(B, A)
    assert hedges_g(A, B) == -hedges_g(B, A)
    assert paired_t(A, B).p == paired_t(B, A).p


def test_effect_sizes_by_definition():
    """d_z = t / sqrt(n). Hedges's correction is close to 1 - 3 / (4 df - 1): within 2e-4 at 18."""
    assert paired_effect(A, B) == pytest.approx(paired_t(A, B).statistic / np.sqrt(10), rel=1e-12)
    pooled = np.sqrt((A.var(ddof=1) + B.var(ddof=1)) / 2)
    approximate = (A.mean() - B.mean()) / pooled * (1 - 3 / (4 * 18 - 1))
    assert hedges_g(A, B) == pytest.approx(approximate, rel=2e-4)


@pytest.mark.parametrize("test", [paired_t, welch_t, wilcoxon])
@pytest.mark.parametrize(
    ("a", "b", "note"),
    [
        ([], [], "fewer than two seeds"),
        ([0.1], [0.2], "fewer than two seeds"),
        ([0.1, np.nan, 0.3], [0.1, 0.2, 0.4], "NaN"),
    ],
)
def test_degenerate_input_is_no_evidence(test, a, b, note):
    result = test(a, b)
    assert np.isnan(result.p)
    assert note in result.note
    assert np.isnan(hedges_g(a, b))
    assert np.isnan(paired_effect(a, b))


@pytest.mark.parametrize("test", [paired_t, welch_t, wilcoxon])
def test_equal_values_are_no_difference(test):
    same = [0.1, 0.1, 0.1]
    assert test(same, same).p == 1.0
    assert (paired_effect(same, same), hedges_g(same, same)) == (0.0, 0.0)


def test_difference_that_does_not_vary_is_not_p_zero():
    """scipy gives t = inf, p = 0 here; a deterministic method says nothing about chance."""
    result = paired_t([0.2, 0.3, 0.4], [0.1, 0.2, 0.3])
    assert np.isnan(result.p)
    assert "do not vary" in result.note
    assert np.isnan(welch_t([0.2] * 3, [0.1] * 3).p)
    assert np.isnan(hedges_g([0.2] * 3, [0.1] * 3))
    assert np.isnan(paired_effect([0.2, 0.3, 0.4], [0.1, 0.2, 0.3]))


def test_paired_tests_refuse_unpaired_seeds():
    with pytest.raises(ValueError, match="one value a seed of both"):
        paired_t([0.1, 0.2], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("n", [0, 1])
def test_summary_of_few(n):
    summary = summarise([0.5] * n)
    assert summary.n == n
    assert np.isnan([summary.sd, summary.low, summary.high]).all()
    assert np.isnan(summary.mean) == (n == 0)


def test_summary_never_drops_a_nan():
    assert np.isnan(summarise([0.1, np.nan, 0.2]).mean)


def test_holm_by_hand():
    """Holm 1979's steps on four tests: 4 x .01, 3 x .02, then monotone, cut at 1."""
    assert holm([0.02, 0.01, 0.5, 0.04]) == pytest.approx([0.06, 0.04, 0.5, 0.08])
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])


def test_holm_is_the_closed_bonferroni_test():
    """Oracle: adjusted p_i is the largest Bonferroni p of any set of hypotheses that holds i."""
    for _ in range(20):
        p = RNG.random(5) ** 3
        closed = [
            max(
                min(1.0, len(members) * min(p[list(members)]))
                for size in range(1, 6)
                for members in itertools.combinations(range(5), size)
                if i in members
            )
            for i in range(5)
        ]
        assert holm(p) == pytest.approx(closed)


def test_holm_leaves_out_tests_that_were_not_made():
    adjusted = holm([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])
    assert holm([]).shape == (0,)


def test_holm_keeps_the_family_error():
    """2,000 tables of 20 true nulls: any rejection in 5 %; binomial sd 0.5 %, tolerance 3 sd."""
    p = np.random.default_rng(1).random((2_000, 20))
    wrong = np.mean([(holm(row) < 0.05).any() for row in p])
    assert wrong == pytest.approx(0.0494, abs=0.015)


def test_paired_t_over_seeds_has_its_level_when_seeds_are_all_there_is():
    """2,000 tables of null differences, n = 5: rejections 5 %, tolerance 3 binomial sd (1.5 %)."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 2_000, 5))
    assert np.mean([paired_t(a, b).p < 0.05 for a, b in zip(x, y, strict=True)]) == pytest.approx(
        0.05, abs=0.015
    )


def test_buckets_are_half_open_and_cover():
    length = np.array([5, 9, 10, 29, 30, 200], np.int32)
    members = np.stack([bucket.holds(length) for bucket in RULES.buckets])
    assert members.sum(axis=0).tolist() == [1] * 6
    assert bucket_sizes(length, RULES.buckets) == {"5-10": 2, "10-30": 2, ">30": 2}


def test_rules_hash_follows_every_value():
    assert Rules().hash() == RULES_HASH
    changed = [
        Rules(alpha=0.01),
        Rules(smallest_effect=0.02),
        Rules(minimum_seeds=5),
        Rules(buckets=(Bucket(5, None),)),
        Rules(version=3),
        Rules(win_margin=0.1),
        Rules(verdict_tables=("table2",)),
    ]
    assert len({RULES_HASH, *(rules.hash() for rules in changed)}) == 8


def test_rules_are_those_that_were_fixed():
    """Golden: changing a rule must be a deliberate act, in the same change as this line."""
    assert RULES_HASH == "e5161e3e1a4afb0de09c1f804f30c0efa9b59841d2ecab648f92806c74e4629a"
