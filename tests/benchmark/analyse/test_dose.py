"""Scores against the constant that is taken from the history, and the constant that recovers most
of what the history costs."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.dose import MOST, lowered_scores, respond, smallest
from benchmark.analyse.rules import RULES
from benchmark.analyse.suppression import CHOICES
from benchmark.evaluate.metrics import per_user
from benchmark.runs.ranks import PENALTIES
from tests.benchmark.results import make_ranks, make_result, make_spec

METRIC = "NDCG@10"
FEW = replace(RULES, resamples=300)
COUNTED = np.array([0.0, *PENALTIES])


def test_the_smallest_constant_in_closed_form():
    """A score that rises by 0.02 for every sd is at 90 % of a gap of 0.05 after 2.25 sd; 1e-12."""
    rising = np.append(0.1 + 0.02 * COUNTED, 0.15)
    assert smallest(rising) == pytest.approx(MOST * 0.05 / 0.02, abs=1e-12)
    at_once = np.append(np.where(COUNTED > 0, 0.15, 0.1), 0.15)
    assert smallest(at_once) == pytest.approx(MOST * PENALTIES[0], abs=1e-12)
    late = np.append(0.1 + 0.001 * COUNTED, 0.15)
    assert np.isinf(smallest(late)), "the largest that was counted recovers 8 %"
    assert smallest(np.full(len(CHOICES), 0.1)) == 0, "there is nothing to recover"


def drawn(rng, *, slope=1.0, gap=0.8, users=300, seeds=6):
    """Scores that rise by slope / 4 for every sd up to the largest that was counted, with noise of
    users and of seeds in the slope; left out they are higher by the gap. 90 % of the gap are
    recovered at 4 * 0.9 * gap / slope exactly."""
    base = 1 + 0.3 * rng.normal(size=(users, 1))
    steep = slope + 0.6 * rng.normal(size=(users, 1)) + 0.1 * rng.normal(size=(1, seeds))
    values = {c: base + c / 4 * steep + 0.05 * rng.normal(size=(users, seeds)) for c in COUNTED}
    return values | {np.inf: base + gap + 0.3 * rng.normal(size=(users, seeds))}


def test_intervals_hold_the_true_constant():
    """95 % intervals of 120 tables, within three binomial sd (6 %) of 95 % from below. With six
    seeds a bootstrap is a little short, which the stretched draws of seeds make up for."""
    rng = np.random.default_rng(0)
    truth = 4 * MOST * 0.8
    inside = 0
    for at in range(120):
        found = respond(f"row {at}", drawn(rng), METRIC, FEW)
        assert found.recovery is not None
        inside += found.recovery.low <= truth <= found.recovery.high
    assert inside >= 120 * (0.95 - 3 * np.sqrt(0.95 * 0.05 / 120))


def test_scores_and_shares_are_those_of_the_values():
    values = drawn(np.random.default_rng(1))
    found = respond("row", values, METRIC, FEW)
    means = {c: v.mean() for c, v in values.items()}
    assert {c: s.mean for c, s in found.scores.items()} == pytest.approx(means, rel=1e-12)
    gap = means[np.inf] - means[0.0]
    assert found.shares == pytest.approx({c: (m - means[0.0]) / gap for c, m in means.items()})
    assert found.recovery.constant == pytest.approx(smallest(np.array(list(means.values()))))
    assert list(found.scores) == list(CHOICES)


def test_without_a_gap_there_is_nothing_to_recover():
    rng = np.random.default_rng(2)
    flat = drawn(rng, slope=0.0, gap=0.0)
    assert respond("row", flat, METRIC, FEW).recovery is None
    alone = {c: v[:, :1] for c, v in drawn(rng).items()}
    assert respond("row", alone, METRIC, FEW).recovery is None, "one seed has no interval"


def test_values_are_those_of_the_lowered_ranks():
    """Two users: history items above the target fall below it at 1 and at 2 sd. By hand."""
    left = np.array([[1, 1, 0, 0, 0, 0, 0], [2, 2, 2, 1, 0, 0, 0]], np.int32)
    own = make_ranks(np.array([1, 5]))
    ranks = replace(own, above_masked=np.array([0, 3], np.int32), lowered=left)
    run = make_result(make_spec(), 0, np.array([1, 5]))
    found = lowered_scores([replace(run, test=ranks)] * 2, METRIC)
    places = {0.0: (1, 5), 0.5: (1, 5), 1.0: (0, 5), 1.5: (0, 4), 2.0: (0, 3), np.inf: (0, 3)}
    for c, above in places.items():
        by_hand = 1 / np.log2(np.array(above) + 2)
        assert found[c] == pytest.approx(np.stack([by_hand] * 2, axis=1), abs=1e-12)
    assert found[1.0][:, 0] == pytest.approx(per_user(make_ranks(np.array([0, 5])), METRIC))
