"""Planted claims: scores have the means and spreads that are asked for, and the crossed bootstrap
judges them right at the rates that their power says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.analyse.effects import effect_of, word_of
from benchmark.analyse.power import Spread, smallest_detectable, spread_of, stored_power
from benchmark.analyse.rules import RULES
from benchmark.data.planted.truth import truth_of
from benchmark.data.planted.world import PlantedConfig, draw_sequences, world_of
from tests.benchmark.planted_claims import (
    GAINS,
    PLACES,
    claims_of,
    correlations,
    draw_scores,
    hermite_coefficients,
    planted_claims,
    right_verdict,
)

BEAUTY = stored_power().pilots["beauty"]
SPREAD = BEAUTY.histories["kept"]
RULES_HERE = replace(RULES, resamples=300)


def judged(claim):
    """By the ledger's own rule."""
    found = CrossedBootstrap({"subject": claim.subject, "other": claim.other}, RULES_HERE)
    contrast = found.contrast({"subject": 1, "other": -1})
    return word_of(effect_of(contrast, found.n_users, RULES_HERE), RULES_HERE)


def test_hermite_coefficients_hold_the_whole_variance():
    """Their squares sum to the variance of a score: (E f^2 - mean^2) / mean^2. Coefficients of a
    step fall as k^(-3/4), so 200 leave out some 5 %; the rest matters near correlation 1 alone."""
    mean = 0.045
    hit = mean / (PLACES @ GAINS)
    variance = hit * (PLACES @ GAINS**2) / mean**2 - 1
    total = (hermite_coefficients(mean) ** 2).sum()
    assert 0.9 * variance < total < variance


def test_correlations_by_simulation():
    """Covariances of two scores at w and b, each over a million pairs: within 3 %, some three
    standard errors."""
    rng = np.random.default_rng(0)
    rows = draw_scores(rng, {"a": 0.045, "b": 0.045}, SPREAD, users=1_000_000, seeds=2)
    a, b = (row / 0.045 for row in rows.values())
    variance = a[:, 0].var()
    assert np.cov(a.T)[0, 1] == pytest.approx(variance - SPREAD.noise**2, rel=0.03)
    between = np.cov(a[:, 0], b[:, 0])[0, 1]
    assert between == pytest.approx(variance - SPREAD.noise**2 - SPREAD.taste**2 / 2, rel=0.03)


def test_scores_are_ndcg_with_the_planted_means():
    """Half a million users: means within four standard errors, 0.045 * 3.8 / sqrt(5e5) each."""
    rng = np.random.default_rng(1)
    fixed = SPREAD.model_copy(update={"level": 0.0})
    rows = draw_scores(rng, {"a": 0.0495, "b": 0.045}, fixed, users=500_000, seeds=2)
    assert set(np.unique(rows["a"]).round(12)) <= {0.0, *GAINS.round(12)}
    for row, mean in (("a", 0.0495), ("b", 0.045)):
        assert rows[row].mean() == pytest.approx(mean, abs=4 * mean * 3.8 / np.sqrt(5e5))


def test_scores_have_the_spread_of_the_pilot():
    """Found anew from eight rows of ten seeds by the estimator that made the pilot: noise and taste
    within 5 %, the level, a variance of ten numbers a row, within a third."""
    rng = np.random.default_rng(2)
    rows = draw_scores(rng, {f"r{k}": 0.045 for k in range(8)}, SPREAD, users=20_000, seeds=10)
    found = spread_of(list(rows.values()), np.arange(20_000))
    assert found.noise == pytest.approx(SPREAD.noise, rel=0.05)
    assert found.taste == pytest.approx(SPREAD.taste, rel=0.05)
    assert found.level == pytest.approx(SPREAD.level, rel=0.33)


def test_a_spread_that_scores_of_a_mean_cannot_have():
    for mean, spread in ((0.3, SPREAD), (0.045, Spread(taste=0.1, noise=0.1, level=0.0))):
        with pytest.raises(ValueError, match="cannot be spread"):
            correlations(mean, spread)


def test_right_verdicts():
    assert right_verdict(0.16, 0.1) == "supported"
    assert right_verdict(-0.16, 0.1) == "opposite"
    assert right_verdict(0.0, 0.1) == "undecided"
    assert right_verdict(0.0, 0.002) == "smaller than 1 %"
    assert right_verdict(0.1, 0.1) is None
    assert right_verdict(0.0, 0.012) is None


TABLES = 120


def chance_of(difference, users, seeds):
    """That a table supports a true difference. The bootstrap counts the noise twice and so takes
    the standard error for larger than it is (benchmark/analyse/power.py)."""
    noise = SPREAD.noise**2 / seeds / users
    true = np.sqrt(SPREAD.taste**2 / users + 2 * noise + 2 * SPREAD.level**2 / seeds)
    taken = np.sqrt(true**2 + 2 * noise)
    return stats.norm.sf((stats.norm.isf(0.025) * taken - np.log1p(difference)) / true)


@pytest.mark.slow
def test_planted_claims_are_judged_right_at_their_rates():
    """At Beauty's users and six seeds, in 120 tables. Clear differences, true or turned round, are
    found in all but 8 (binomial at 98.7 %, 99.9 % of the time). Of a true 0 more than "undecided"
    is said in at most 14 (at 5 %), and a difference of the detectable size or of a third of it is
    supported as often as its power says, within 0.12: three binomial standard errors. Nobody says
    the opposite of such a difference in more than 3."""
    users, seeds = BEAUTY.users, 6
    detectable = smallest_detectable(SPREAD, users=users, seeds=seeds)
    differences = {
        "true": 1.5 * detectable,
        "false": -1.5 * detectable,
        "nothing": 0.0,
        "just": detectable,
        "too small": detectable / 3,
    }
    said = {name: [] for name in differences}
    right = {}
    for table in range(TABLES):
        rng = np.random.default_rng(table)
        for claim in planted_claims(rng, differences, SPREAD, users=users, seeds=seeds):
            said[claim.name].append(judged(claim))
            right[claim.name] = claim.verdict
    assert right == {
        "true": "supported",
        "false": "opposite",
        "nothing": "undecided",
        "just": None,
        "too small": None,
    }
    assert said["true"].count("supported") >= 112
    assert said["false"].count("opposite") >= 112
    assert said["nothing"].count("undecided") >= 106
    for name in ("just", "too small"):
        rate = said[name].count("supported") / TABLES
        assert rate == pytest.approx(chance_of(differences[name], users, seeds), abs=0.12)
        assert said[name].count("opposite") <= 3


@pytest.mark.slow
def test_a_difference_below_one_per_cent_can_be_shown_with_enough_users():
    """400,000 users whose scores vary less between rows and seeds than Beauty's."""
    narrow = Spread(taste=0.5, noise=1.5, level=0.001)
    rng = np.random.default_rng(3)
    said = []
    for _ in range(5):
        (claim,) = planted_claims(rng, {"x": 0.0}, narrow, users=400_000, seeds=6)
        assert claim.verdict == "smaller than 1 %"
        said.append(judged(claim))
    assert said.count("smaller than 1 %") >= 4


def test_claims_of_planted_data_are_as_true_as_the_data():
    """A copy makes claims on one modality empty, noise that on images; the complement makes all
    true ones true."""
    config = {"users": 300, "items": 150, "mean_length": 9.0}
    found = {}
    for role in ("copy", "noise", "complement"):
        world = world_of(PlantedConfig(image=role, **config))
        found[role] = claims_of(truth_of(world, draw_sequences(world)))
    assert found["copy"]["images add to texts and ids"] == 0.0
    assert found["copy"]["texts add to images and ids"] == 0.0
    assert found["noise"]["images add to texts and ids"] == 0.0
    assert found["noise"]["texts add to images and ids"] > 0.05
    for claim, difference in found["complement"].items():
        assert difference > 0.05 if " add " in claim else difference < -0.05
