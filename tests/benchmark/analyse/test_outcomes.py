"""Users as wins, ties and losses."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.bootstrap import resampled_means
from benchmark.analyse.outcomes import user_outcomes
from benchmark.analyse.rules import RULES

MARGIN = RULES.win_margin


def test_counts_by_hand():
    """Means over seeds 0.5, 0.5, 0, 0.04 against 0, 0.5, 0.3, 0: one win, two ties (the last is
    within the margin), one loss."""
    a = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0.08, 0.0]])
    b = np.array([[0.0], [0.5], [0.3], [0.0]])
    found = user_outcomes(a, b)
    assert (found.win.value, found.tie.value, found.loss.value) == (0.25, 0.5, 0.25)


def test_a_difference_of_the_margin_is_a_tie():
    a = np.full((4, 3), MARGIN)
    assert user_outcomes(a, np.zeros((4, 3))).tie.value == 1
    assert user_outcomes(a + 1e-9, np.zeros((4, 3))).win.value == 1


def test_one_of_six_seeds_at_the_last_place_is_no_win():
    """What the margin of the rules is chosen for; two such seeds are one."""
    gain = 1 / np.log2(11)
    one, two = np.zeros((5, 6)), np.zeros((5, 6))
    one[:, 0], two[:, :2] = gain, gain
    assert user_outcomes(one, np.zeros((5, 6))).tie.value == 1
    assert user_outcomes(two, np.zeros((5, 6))).win.value == 1


def test_shares_sum_to_one_and_mirror():
    rng = np.random.default_rng(0)
    a, b = rng.random((300, 6)), rng.random((300, 4))
    forth, back = user_outcomes(a, b), user_outcomes(b, a)
    assert forth.win == back.loss
    assert forth.win.value + forth.tie.value + forth.loss.value == pytest.approx(1, abs=1e-12)
    assert forth.win.low < forth.win.value < forth.win.high


def test_interval_is_the_binomial_one():
    """Shares of 400 users: the width is 2 x 1.96 binomial sd, up to steps of 1 / 400 and the
    bootstrap's noise (10 %)."""
    a = (np.arange(400) % 4 == 0).astype(float)[:, None]
    win = user_outcomes(a, np.zeros((400, 1)), RULES).win
    expected = 2 * 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert win.high - win.low == pytest.approx(expected, rel=0.1)


def test_interval_is_that_of_users_drawn_with_replacement():
    """20,000 resamples of 90 users: their percentiles are within a user of the exact ones."""
    rng = np.random.default_rng(1)
    a, b = rng.random((90, 6)), rng.random((90, 4))
    found = user_outcomes(a, b)
    gap = a.mean(axis=1) - b.mean(axis=1)
    columns = np.stack([gap > MARGIN, abs(gap) <= MARGIN, gap < -MARGIN], axis=1).astype(float)
    draws = resampled_means(columns, resamples=20_000, seed=0)
    for share, drawn in zip((found.win, found.tie, found.loss), draws.T, strict=True):
        ends = np.quantile(drawn, [RULES.alpha / 2, 1 - RULES.alpha / 2])
        assert (share.low, share.high) == pytest.approx(tuple(ends), abs=1 / 90 + 1e-9)


def test_other_users_and_none_are_refused():
    for a, b in ((np.ones((3, 2)), np.ones((4, 2))), (np.ones((0, 2)), np.ones((0, 2)))):
        with pytest.raises(ValueError, match="same users"):
            user_outcomes(a, b, replace(RULES, resamples=10))
