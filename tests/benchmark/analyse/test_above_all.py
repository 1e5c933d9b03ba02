"""Claims that one method is above all others: error rates on synthetic truth, and a closed form."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.above_all import AllAbove, all_above
from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.effects import Effect
from benchmark.analyse.rules import RULES
from tests.benchmark.analyse.test_best import draw

QUICK = replace(RULES, resamples=400)


def words(gains, tables, *, start=0, **world):
    """Of "m0 is above all others" on tables in which m0's true mean is 1 + gain over each."""
    rng = np.random.default_rng(23)
    found = []
    for table in range(tables):
        values = draw(rng, methods=len(gains) + 1, users=150, **world)
        for at, gain in enumerate(gains):
            values[f"m{at + 1}"] = values[f"m{at + 1}"] / (1 + gain)
        scores = CrossedBootstrap(values, replace(QUICK, bootstrap_seed=start + table))
        result = all_above(scores, [{"m0": 1, name: -1} for name in list(values)[1:]])
        found.append(result.word(QUICK.smallest_effect, QUICK.minimum_seeds))
    return found


def share(found, word):
    return found.count(word) / len(found)


@pytest.mark.parametrize("seed", [0.005, 0.03])
def test_a_tie_with_one_row_is_seldom_called_support(seed):
    """Ten rows far below and one equal: the least favourable truth for intersection-union. Support
    in at most 2.5 % + 3 binomial sd of 80 tables (7.7 %)."""
    found = words([0.5] * 10 + [0.0], 80, seed=seed, taste=0.15, noise=0.1)
    assert share(found, "supported") <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 80)


@pytest.mark.parametrize("seed", [0.005, 0.03])
def test_a_gain_of_one_per_cent_over_all_is_seldom_refuted(seed):
    """The least favourable truth for refutation. In at most 2.5 % + 3 binomial sd of 80 tables."""
    found = words([0.01] * 11, 80, seed=seed, taste=0.15, noise=0.1)
    assert share(found, "refuted") <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 80)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0.0, 0.005, 0.03])
def test_error_rates_at_length(seed):
    """Both rates in 600 tables: at most 2.5 % + 3 binomial sd (4.4 %). A search for the worst of
    eleven without simultaneous bounds would refute in some 15 %."""
    most = 0.025 + 3 * np.sqrt(0.025 * 0.975 / 600)
    equal = words([0.5] * 10 + [0.0], 600, seed=seed, taste=0.15, noise=0.1)
    assert share(equal, "supported") <= most
    true = words([0.01] * 11, 600, seed=seed, taste=0.15, noise=0.1)
    assert share(true, "refuted") <= most


def test_a_word_shows_the_difference_that_it_rests_on():
    """The noisy one has the lowest lower bound and the precise one the lowest upper bound: a
    contradiction rests on the second, whose interval lies below 0, and everything else on the
    first."""
    noisy = Effect(-0.016, -0.06, 0.03, 0.5, 0.07, 900.0, 900, (6, 6))
    precise = Effect(-0.033, -0.05, -0.014, 0.001, 0.03, 900.0, 900, (6, 6))
    result = AllAbove((noisy, precise), (0.035, -0.01), 0.002)
    assert result.weakest == 0
    assert {word: result.deciding(word) for word in ("supported", "undecided")} == {
        "supported": 0,
        "undecided": 0,
    }
    assert result.word_of_order(0.01, 6) == "opposite"
    assert result.deciding("opposite") == result.deciding("smaller than 1 %") == 1
    assert result.effects[1].high < 0


def test_clear_truths_are_recognised():
    """A gain of 12 % over all is support, a loss of 10 % to one refutes: standard errors are below
    2 %, so that each is missed in far fewer than one of 20 tables."""
    world = {"seed": 0.005, "taste": 0.15, "noise": 0.1}
    assert share(words([0.12] * 11, 20, **world), "supported") >= 0.95
    assert share(words([0.12] * 10 + [-0.1], 20, **world), "refuted") >= 0.95


def test_upper_bounds_are_dunnetts():
    """Independent methods of equal variance on many users: the bound is the two-sided critical
    value of Dunnett's comparison with one of them, here from 400,000 draws of the normals. Within
    3 %: 3,000 users give variances that differ by a few per cent."""
    rng = np.random.default_rng(3)
    values = {f"m{at}": np.repeat(rng.normal(1, 0.2, (3_000, 1)), 6, axis=1) for at in range(9)}
    scores = CrossedBootstrap(values)
    signs = [{"m0": 1, f"m{at}": -1} for at in range(1, 9)]
    result = all_above(scores, signs)
    z = rng.normal(size=(400_000, 9))
    critical = np.quantile(np.abs(z[:, 1:] - z[:, :1]).max(axis=1) / np.sqrt(2), 0.95)
    assert 2.6 < critical < 2.75
    for effect, upper, sign in zip(result.effects, result.upper, signs, strict=True):
        error = scores.contrast(sign).error
        assert (upper - effect.value) / error == pytest.approx(critical, rel=0.03)


def test_p_is_that_of_the_weakest_difference():
    """With one row it is the comparison's own; p < 5 % exactly where all bounds are above 0."""
    values = draw(np.random.default_rng(5), methods=4, seed=0.002, taste=0.1, noise=0.05)
    values["m0"] = values["m0"] * 1.05
    scores = CrossedBootstrap(values)
    alone = all_above(scores, [{"m0": 1, "m1": -1}])
    assert alone.p == scores.compare("m0", "m1").p
    both = all_above(scores, [{"m0": 1, f"m{at}": -1} for at in (1, 2, 3)])
    assert both.p == max(scores.compare("m0", f"m{at}").p for at in (1, 2, 3))
    assert (both.p < 0.05) == all(effect.low > 0 for effect in both.effects)
    assert both.effects[both.weakest].low == min(effect.low for effect in both.effects)
    below = all_above(scores, [{"m1": 1, "m0": -1}])
    assert below.p == 1


def test_few_seeds_and_scores_without_an_interval_give_no_verdict():
    values = draw(np.random.default_rng(6), methods=3)
    few = CrossedBootstrap({name: v[:, :3] for name, v in values.items()}, QUICK)
    result = all_above(few, [{"m0": 1, "m1": -1}])
    assert result.word(0.01, 6) == "not reached"
    zero = values | {"m1": np.zeros_like(values["m1"])}
    result = all_above(CrossedBootstrap(zero, QUICK), [{"m0": 1, "m1": -1}, {"m0": 1, "m2": -1}])
    assert np.isnan(result.p)
    assert np.isnan(result.upper[0])
    assert result.word(0.01, 6) == "undecided"


def test_normal_scale_of_the_bound_is_each_contrasts_own_t():
    """A single difference: the bound is the upper end of its own interval, up to the error of the
    quantile of 10,000 resamples (2 %)."""
    rng = np.random.default_rng(7)
    level = rng.normal(0, 0.03, (2, 6))
    values = {f"m{at}": 1 + level[at] + rng.normal(0, 0.01, (400, 1)) for at in range(2)}
    scores = CrossedBootstrap(values)
    contrast = scores.contrast({"m0": 1, "m1": -1})
    assert contrast.df < 15
    (upper,) = all_above(scores, [{"m0": 1, "m1": -1}]).upper
    t = (upper - contrast.value) / contrast.error
    assert stats.t.sf(t, contrast.df) == pytest.approx(0.025, rel=0.1)
