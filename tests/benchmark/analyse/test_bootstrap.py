"""The crossed bootstrap on synthetic truth, and against scipy and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.bootstrap import (
    MOST_UNITS,
    CrossedBootstrap,
    in_units,
    resampled_means,
)
from benchmark.analyse.rules import RULES

QUICK = replace(RULES, resamples=300)
RNG = np.random.default_rng(0)


def draw(
    rng: np.random.Generator,
    seeds: int,
    *,
    effect: float = 0.0,
    users: int = 200,
    shared: float = 0.3,
    method: float = 0.2,
    seed: float = 0.01,
    noise: float = 0.2,
) -> tuple[np.ndarray, np.ndarray]:
    """Two methods of means 1 + effect and 1: users' own level (shared by both), users' taste for a
    method, seeds' level, and the noise of a seed on a user; sds given."""
    level = rng.normal(0, shared, (users, 1))

    def one(mean: float) -> np.ndarray:
        taste = rng.normal(0, method, (users, 1))
        return (
            mean + level + taste + rng.normal(0, seed, seeds) + rng.normal(0, noise, (users, seeds))
        )

    return one(1 + effect), one(1.0)


def compare(a, b, rules=QUICK):
    return CrossedBootstrap({"a": a, "b": b}, rules).compare("a", "b")


WORLDS = {
    "users": {"seed": 0.0, "noise": 0.02},
    "seeds": {"method": 0.05, "seed": 0.03, "noise": 0.02},
    "both": {"seed": 0.01, "noise": 0.2},
    "noise": {"method": 0.0, "seed": 0.0, "noise": 0.5},
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seeds", [3, 10])
def test_type_one_rate_and_coverage(world, seeds):
    """True difference 2 %, 300 tables: the 95 % interval misses it in at most 5 % + 3 binomial sd
    (8.8 %). In the world of pure noise the interaction is counted twice, so it misses less; in the
    others a rate of zero would mean intervals too wide to be of use."""
    rng = np.random.default_rng(1)
    missed = 0
    for table in range(300):
        a, b = draw(rng, seeds, effect=0.02, **WORLDS[world])
        result = compare(a, b, replace(QUICK, bootstrap_seed=table))
        missed += not result.low <= 0.02 <= result.high
    assert missed / 300 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    if world in ("users", "seeds"):
        assert missed / 300 > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_coverage_at_length(world, seeds, effect):
    """2,000 tables: misses at most 5 % + 3 binomial sd (6.5 %), one point more for two and three
    seeds, where Satterthwaite's degrees of freedom are themselves uncertain."""
    rng = np.random.default_rng(2)
    missed = 0
    for table in range(2_000):
        a, b = draw(rng, seeds, effect=effect, **WORLDS[world])
        result = compare(a, b, replace(QUICK, bootstrap_seed=table))
        missed += not result.low <= effect <= result.high
    assert missed / 2_000 < 0.065 + 0.01 * (seeds <= 3)


def test_power_at_the_smallest_detectable_effect():
    """Where the true difference is the smallest detectable one, the interval excludes 0 in 80 % of
    the tables: between 70 and 90 % of 200 (3.5 binomial sd)."""
    rng = np.random.default_rng(3)
    world = {"seed": 0.01, "noise": 0.02}
    detectable = np.mean(
        [compare(*draw(rng, 6, effect=0.05, **world)).smallest_detectable for _ in range(20)]
    )
    found = 0
    for table in range(200):
        a, b = draw(rng, 6, effect=detectable, **world)
        found += compare(a, b, replace(QUICK, bootstrap_seed=table)).low > 0
    assert found / 200 == pytest.approx(0.8, abs=0.1)


def test_one_fixed_split_makes_the_seeds_test_say_anything():
    """Why users count: with no true difference between methods beyond these users, a paired t-test
    over seeds finds one in most tables, the crossed bootstrap in about 5 %."""
    rng = np.random.default_rng(4)
    world = {"method": 0.3, "seed": 0.002, "noise": 0.05}
    by_seeds = crossed = 0
    for table in range(100):
        a, b = draw(rng, 10, **world)
        by_seeds += stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue < 0.05
        crossed += compare(a, b, replace(QUICK, bootstrap_seed=table)).p < 0.05
    assert by_seeds > 60
    assert crossed < 13


def test_error_against_scipys_bootstrap_over_users():
    """Seeds that do not differ leave users alone: scipy's paired bootstrap of the same statistic
    has the same standard error; 4,000 resamples give 1.1 % each, tolerance 5 %."""
    users = RNG.gamma(2.0, 0.1, (300, 2))
    a, b = (np.repeat(users[:, [i]], 3, axis=1) for i in (0, 1))
    rules = replace(RULES, resamples=4_000)
    result = compare(a, b, rules)
    theirs = stats.bootstrap(
        (users[:, 0], users[:, 1]),
        lambda x, y, axis: np.log(x.mean(axis) / y.mean(axis)),
        paired=True,
        n_resamples=4_000,
        rng=np.random.default_rng(5),
    )
    half = np.log1p(result.high) - np.log1p(result.difference)
    assert result.df == pytest.approx(299)
    assert half / stats.t.ppf(0.975, result.df) == pytest.approx(theirs.standard_error, rel=0.05)


def test_seeds_alone_give_the_t_interval():
    """Users that do not differ leave seeds alone: the mean's interval is Student's over seeds, up
    to the bootstrap's own noise (10,000 resamples: 1 %, tolerance 4 %)."""
    by_seed = RNG.normal(0.1, 0.003, 8)
    values = np.repeat(by_seed[None], 50, axis=0)
    interval = CrossedBootstrap({"a": values}).interval("a")
    low, high = stats.t.interval(0.95, 7, by_seed.mean(), stats.sem(by_seed))
    assert interval.mean == pytest.approx(by_seed.mean())
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.04)


def test_resampled_means_do_not_depend_on_blocks(monkeypatch):
    values = RNG.random((37, 3))
    whole = resampled_means(values, resamples=50, seed=7)
    monkeypatch.setattr("benchmark.analyse.bootstrap._DRAWS_AT_ONCE", 100)
    blocks = resampled_means(values, resamples=50, seed=7)
    assert np.allclose(whole, blocks, rtol=1e-14), "equal up to the order of one dot product"
    assert not np.allclose(whole, resampled_means(values, resamples=50, seed=8))
    assert whole.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.05)


def test_many_users_are_drawn_in_groups():
    """Means are the users'; standard errors, also of a rare hit, and the correlation of two columns
    are the closed forms' to four standard errors of 400 resamples (3.5 %; groups add 0.3 %).
    120,007 users leave groups of 2 and of 3, which a column far from 0 would show."""
    users = 120_007
    score = 5 + RNG.normal(size=users)
    columns = np.stack([score, RNG.random(users) < 0.01, score + RNG.normal(size=users)], axis=1)
    groups = in_units(columns)
    assert groups.shape == (MOST_UNITS, 3)
    assert groups.mean(axis=0) == pytest.approx(columns.mean(axis=0), abs=1e-12)
    means = resampled_means(columns, resamples=400, seed=3)
    errors = columns.std(axis=0) / np.sqrt(users)
    assert means.std(axis=0) == pytest.approx(errors, rel=0.14)
    assert np.all(np.abs(means.mean(axis=0) - columns.mean(axis=0)) < 4 * errors / np.sqrt(400))
    assert np.corrcoef(means.T)[0, 2] == pytest.approx(np.sqrt(0.5), abs=4 * 0.5 / np.sqrt(400))
    pair = resampled_means(columns[:, :2], resamples=400, seed=3)
    assert pair == pytest.approx(means[:, :2], rel=1e-12), "others change nothing"


def test_a_comparison_of_many_users_is_that_of_all_of_them(monkeypatch):
    """20,000 users in 2,000 groups against the users one by one, on 500 resamples: the difference
    to rounding, its interval's width to 19 % (four standard errors: 3.2 % of the resamples of
    either, 1.6 % of the groups), and n counts users."""
    a, b = RNG.random((20_000, 3)) * 1.02, RNG.random((20_000, 3))
    rules = replace(RULES, resamples=500)
    whole = CrossedBootstrap({"a": a, "b": b}, rules).compare("a", "b")
    monkeypatch.setattr("benchmark.analyse.bootstrap.MOST_UNITS", 2_000)
    grouped = CrossedBootstrap({"a": a, "b": b}, rules).compare("a", "b")
    assert grouped.n_users == whole.n_users == 20_000
    assert grouped.difference == pytest.approx(whole.difference, rel=1e-9)
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.19)


def test_others_in_the_table_change_nothing():
    a, b = draw(RNG, 6)
    alone = compare(a, b)
    crowd = CrossedBootstrap({"z": b * 0.5, "b": b, "a": a, "y": a[:, :3]}, QUICK).compare("a", "b")
    assert crowd.low == pytest.approx(alone.low, rel=1e-9)
    assert crowd.p == pytest.approx(alone.p, rel=1e-9)


def test_result_depends_on_the_given_seed_alone():
    a, b = draw(RNG, 6)
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = compare(a, b)
    np.random.seed(1)  # noqa: NPY002
    assert compare(a, b) == first
    assert compare(a, b, replace(QUICK, bootstrap_seed=1)) != first


def test_sign_and_mirror():
    """Swapping the methods inverts the ratio: 1 / (1 + difference), and the interval's ends swap
    up to the independent draws of seeds (which follow names, not places)."""
    a, b = draw(RNG, 6, effect=0.3)
    forth, back = compare(a, b), CrossedBootstrap({"a": a, "b": b}, QUICK).compare("b", "a")
    assert forth.difference > 0 > back.difference
    assert 1 / (1 + forth.difference) == pytest.approx(1 + back.difference)
    assert 1 / (1 + forth.high) == pytest.approx(1 + back.low, rel=1e-9)
    assert forth.p == pytest.approx(back.p, rel=1e-9)


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.5, "replicated"), (-0.5, "contradicted"), (0.0, "inconclusive")]
)
def test_verdicts(effect, verdict):
    a, b = draw(np.random.default_rng(6), 6, effect=effect, noise=0.5)
    result = compare(a, b)
    assert result.verdict == verdict
    assert (result.p < 0.05) == (not result.low <= 0 <= result.high)


def test_real_but_negligible_is_said():
    base = RNG.gamma(2.0, 0.1, (300, 1))
    a, b = (base * (1 + e) + RNG.normal(0, 1e-5, (300, 6)) for e in (0.004, 0.0))
    result = compare(a, b)
    assert result.verdict == "replicated"
    assert "smaller than the smallest effect" in result.note


def test_three_seeds_are_inconclusive():
    result = compare(*draw(RNG, 3, effect=0.9))
    assert result.low > 0
    assert (result.verdict, result.note) == ("inconclusive", "n = 3 seeds; a verdict needs 6")


def test_identical_results_differ_by_nothing():
    values = np.repeat(RNG.random((50, 1)), 6, axis=1)
    result = compare(values, values)
    assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert result.verdict == "contradicted"


@pytest.mark.parametrize(
    ("a", "b", "note"),
    [
        (np.full((30, 6), 0.2), np.full((30, 6), 0.1), "no variation"),
        (np.zeros((30, 6)), np.ones((30, 6)), "near zero"),
        (np.ones((30, 6)), np.zeros((30, 6)), "near zero"),
        (RNG.random((30, 1)), RNG.random((30, 6)), "fewer than two seeds"),
        (RNG.random((1, 6)), RNG.random((1, 6)), "fewer than two users"),
        (np.empty((0, 6)), np.empty((0, 6)), "fewer than two users"),
        (np.where(np.eye(6) > 0, np.nan, 0.5), np.full((6, 6), 0.5), "NaN"),
    ],
)
def test_degenerate_input_is_inconclusive(a, b, note):
    result = compare(a, b)
    assert result.verdict == "inconclusive"
    assert note in result.note
    assert np.isnan([result.p, result.low, result.high]).all()


def test_different_users_are_refused():
    with pytest.raises(ValueError, match=r"different numbers of users: \[30, 31\]"):
        CrossedBootstrap({"a": np.ones((30, 2)), "b": np.ones((31, 2))})


def test_interval_stays_inside_the_metric():
    values = np.zeros((40, 3))
    values[0] = 0.5
    interval = CrossedBootstrap({"a": values}, QUICK).interval("a")
    assert interval.low == 0.0
    assert interval.high > interval.mean
