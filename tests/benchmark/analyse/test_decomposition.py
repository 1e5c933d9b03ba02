"""The decomposition: an identity, a second computation, and synthetic truth."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.bootstrap import CrossedBootstrap, Score, resampled_means
from benchmark.analyse.decomposition import decompose, decompose_scores, retention
from benchmark.analyse.rules import RULES

QUICK = replace(RULES, resamples=400)


def scores(rng, users=300, seeds=6, keeps=0.8):
    """One method's scores left out and kept: a score is lost with chance 1 - keeps."""
    left = rng.random((users, 1)) * rng.random((users, seeds))
    return left * (rng.random((users, seeds)) < keeps), left


def test_terms_add_up():
    """Exact up to the rounding of four logs, 1e-14."""
    rng = np.random.default_rng(0)
    (a_kept, a_left), (b_kept, b_left) = scores(rng), scores(rng, seeds=4, keeps=0.5)
    found = decompose(a_kept, a_left, b_kept, b_left, QUICK)
    assert found.kept.value == pytest.approx(
        found.left_out.value + found.retention.value, abs=1e-14
    )
    assert found.kept.value == pytest.approx(np.log(a_kept.mean() / b_kept.mean()), abs=1e-14)
    kept, left = (x.mean() / y.mean() for x, y in ((a_kept, a_left), (b_kept, b_left)))
    assert found.retention.value == pytest.approx(np.log(kept / left), abs=1e-14)
    for term in (found.kept, found.left_out, found.retention):
        assert term.low < term.value < term.high
    assert found.note == ""


def test_terms_add_up_in_every_resample():
    """The same draws of users and seeds under all terms: 1e-12."""
    rng = np.random.default_rng(1)
    values = {}
    for name, keeps in (("a", 0.9), ("b", 0.6)):
        kept, left = scores(rng, keeps=keeps)
        values |= {Score(name, "NDCG@10", "kept"): kept, Score(name, "NDCG@10", "left out"): left}
    bootstrap = CrossedBootstrap(values, QUICK)
    kept, left = (
        {Score("a", "NDCG@10", p): 1, Score("b", "NDCG@10", p): -1} for p in ("kept", "left out")
    )
    retained = kept | {score: -sign for score, sign in left.items()}
    np.testing.assert_allclose(
        bootstrap.resampled(kept),
        bootstrap.resampled(left) + bootstrap.resampled(retained),
        atol=1e-12,
    )


def test_interval_against_a_bootstrap_written_out():
    """Without variation over seeds, users alone: the standard error is that of the ratio of
    retentions in plain resamples of the users. The same draws, so 1e-9."""
    rng = np.random.default_rng(2)
    columns = [np.repeat(x[:, :1], 6, axis=1) for _ in range(2) for x in scores(rng)]
    found = decompose(*columns, QUICK)
    means = resampled_means(
        np.stack([x[:, 0] for x in columns], axis=1), resamples=400, seed=QUICK.bootstrap_seed
    )
    error = np.log(means[:, 0] / means[:, 1] * means[:, 3] / means[:, 2]).std(ddof=1)
    half = found.retention.high - found.retention.value
    assert half == pytest.approx(1.9679 * error, rel=1e-3)  # t(0.975) with 299 degrees


def test_retention_interval_covers_the_truth():
    """True retention 0.8, 200 tables of 300 users: the 95 % interval misses it in at most 5 % + 3
    binomial sd (9.6 %)."""
    rng = np.random.default_rng(3)
    missed = 0
    for table in range(200):
        kept, left = scores(rng)
        named = {Score("a", "NDCG@10", "kept"): kept, Score("a", "NDCG@10", "left out"): left}
        found = retention(CrossedBootstrap(named, replace(QUICK, bootstrap_seed=table)), "a")
        missed += not found.low <= np.log(0.8) <= found.high
    assert missed / 200 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_relative_form():
    rng = np.random.default_rng(4)
    (kept, left), (other, other_left) = scores(rng), scores(rng)
    found = decompose(kept, left, other, other_left, QUICK)
    assert found.kept.relative[0] == pytest.approx(kept.mean() / other.mean() - 1, rel=1e-12)


def test_what_cannot_be_decomposed_says_why():
    rng = np.random.default_rng(5)
    kept, left = scores(rng)
    found = decompose(kept * 0, left, kept, left, QUICK)
    assert "near zero" in found.note
    assert np.isnan([found.kept.low, found.retention.high]).all()
    few = decompose(kept[:, :1], left[:, :1], kept, left, QUICK)
    assert few.note == "fewer than two seeds"
    named = {Score("a", "NDCG@10", "kept"): kept}
    with pytest.raises(KeyError):
        decompose_scores(CrossedBootstrap(named, QUICK), "a", "b")


def test_a_fixed_method_has_intervals_from_its_one_seed():
    """A control's retention is uncertain over users alone; its second seed would be the same."""
    rng = np.random.default_rng(6)
    kept, left = scores(rng, seeds=1)
    named = {Score("c", "NDCG@10", "kept"): kept, Score("c", "NDCG@10", "left out"): left}
    once = retention(CrossedBootstrap(named, QUICK, fixed=named), "c")
    twice = {name: np.repeat(v, 2, axis=1) for name, v in named.items()}
    again = retention(CrossedBootstrap(twice, QUICK), "c")
    assert once.value == pytest.approx(again.value, abs=1e-14)
    assert (once.low, once.high) == pytest.approx((again.low, again.high), abs=1e-12)
