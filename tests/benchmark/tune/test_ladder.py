"""Whether a budget is enough: against cases whose answer is known by construction."""

import numpy as np
import pytest

from benchmark.tune.ladder import choose

RULES = {"gain": 0.02, "level": 0.9}


def ladder(means, *, users=4000, seeds=3, noise=0.002, rng=None):
    """Rung -> [U, S] around the means; users differ as they do in NDCG and seeds a little."""
    rng = rng or np.random.default_rng(0)
    user = rng.exponential(1.0, users)
    user /= user.mean()
    return {
        100 * 2**at: mean
        * (
            user[:, None]
            + noise * rng.normal(size=(1, seeds))
            + noise * 10 * rng.normal(size=(users, seeds))
        )
        for at, mean in enumerate(means)
    }, 0.3 * means[0] * user


def test_the_smallest_rung_that_longer_ones_do_not_beat_is_enough():
    values, floor = ladder([0.080, 0.100, 0.1005, 0.1003])
    budget = choose(values, floor, **RULES)
    assert (budget.rung, budget.convergence) == (200, "shown")
    # the estimates by hand: the best of the larger rungs over each
    means = {rung: v.mean() for rung, v in values.items()}
    for rung, gain in budget.gains.items():
        best = max(mean for k, mean in means.items() if k > rung)
        assert gain.estimate == pytest.approx(best / means[rung] - 1, rel=1e-12)
        assert gain.low < gain.estimate + 1e-3
        assert gain.high > gain.estimate - 1e-3


def test_one_larger_rung_shows_nothing_unless_it_loses():
    """The third of four is as good as the fourth: it is taken, but one doubling can be a chance.
    Where the fourth is known to be worse, the row has passed its best."""
    values, floor = ladder([0.05, 0.07, 0.10, 0.10])
    budget = choose(values, floor, **RULES)
    assert (budget.rung, budget.convergence) == (400, "not shown")
    values, floor = ladder([0.05, 0.07, 0.10, 0.09])
    budget = choose(values, floor, **RULES)
    assert (budget.rung, budget.convergence) == (400, "shown")
    assert budget.gains[400].high < 0


def test_what_still_grows_is_gaining_and_what_noise_hides_is_not_shown():
    values, floor = ladder([0.05, 0.06, 0.08, 0.10])
    assert choose(values, floor, **RULES).convergence == "gaining"
    noisy, floor = ladder([0.1, 0.1, 0.1, 0.1], users=60, noise=0.08)
    assert choose(noisy, floor, **RULES).convergence in ("not shown", "gaining")
    assert choose(noisy, floor, **RULES).rung == 800


def test_a_plateau_at_popularity_ends_no_ladder():
    """Attention that has found nothing yet stays at popularity's level for three rungs."""
    values, floor = ladder([0.03, 0.03, 0.03, 0.06])
    flat = {rung: v for rung, v in values.items() if rung < 800}
    assert choose(flat, floor, **RULES).rung == 100  # clearly above a floor of 0.009
    level = choose(flat, flat[100].mean(axis=1) * 1.02, **RULES)
    assert level.rung == 400
    assert choose(values, floor, **RULES).rung == 800


@pytest.mark.parametrize("truth", [0.0, 0.04])
def test_the_bound_errs_as_rarely_as_it_says(truth):
    """A rung is called enough although longer ones gain 4 % in less than a tenth of 200 draws; with
    no gain and 6,000 users it is called enough in most. Binomial sd at 10 %: 2.1 points; a bound
    with three seeds is a little short (normal quantiles), so 0.16 is allowed."""
    rng = np.random.default_rng(7)
    enough = 0
    for _ in range(200):
        means = np.array([0.1, 0.1 * (1 + truth), 0.1 * (1 + truth)])
        values, floor = ladder(means, users=600, noise=0.01, rng=rng)
        enough += choose(values, floor, **RULES).rung == 100
    assert (enough / 200 < 0.16) if truth else (enough / 200 > 0.5)
