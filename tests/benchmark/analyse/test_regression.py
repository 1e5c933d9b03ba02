"""The regression check: exact chances, level and power by simulation, outcomes, JUnit XML."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.regression import (
    ALPHA,
    JOINT,
    check_means,
    check_runs,
    rank_sum,
    write_junit,
)
from benchmark.errors import InputError
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from tests.benchmark.results import (
    delete_run,
    draw_above,
    failed_result,
    make_result,
    make_spec,
)

SOUND = np.random.default_rng(0).normal(0.1, 0.002, 10)
SPECS, REFERENCES, FRESH = 4, 10, 6
"""What `check` has."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng, shape):
    return rng.normal(0.1, 0.002, shape)


def skewed(rng, shape):
    """A log-normal tail of bad seeds: skewness -6."""
    return 0.1 - 0.002 * rng.lognormal(size=shape)


def stuck(share: float) -> Draw:
    """A share of the seeds at a fifth of the quality of the rest."""
    return lambda rng, shape: normal(rng, shape) - 0.08 * (rng.random(shape) < share)


def shared(rng, shape):
    """What specs of the same seed have in common, beside what each has of its own; the seeds that
    get stuck do so in all specs."""
    return normal(rng, shape) + normal(rng, shape[1:]) - 0.08 * (rng.random(shape[1:]) < 0.1)


DRAWS = {
    "normal": normal,
    "skewed": skewed,
    "3 % stuck": stuck(0.03),
    "10 % stuck": stuck(0.1),
    "30 % stuck": stuck(0.3),
    "shared": shared,
}


def by_seed(values, first=0):
    return dict(enumerate(np.atleast_1d(values).tolist(), first))


def check_all(fresh, reference, alpha=ALPHA):
    """fresh: [specs, n]; reference: [specs, m]"""
    return check_means(
        {str(at): by_seed(values, 10) for at, values in enumerate(fresh)},
        {str(at): by_seed(values) for at, values in enumerate(reference)},
        alpha=alpha,
    )


def outcome(fresh, reference=SOUND, alpha=0.01):
    now = by_seed(fresh, 10) if len(fresh) else {}
    (check,) = check_means({"spec": now}, {"spec": by_seed(reference)}, alpha=alpha)
    return check


def failure_rate(draw, checks, alpha, rng):
    def one():
        drawn = draw(rng, (SPECS, REFERENCES + FRESH))
        return check_all(drawn[:, REFERENCES:], drawn[:, :REFERENCES], alpha)

    return sum(any(not c.ok for c in one()) for _ in range(checks)) / checks


def test_chances_are_those_of_scipys_exact_test():
    rng = np.random.default_rng(0)
    for n, m in ((6, 10), (3, 10), (8, 5)):
        fresh, reference = rng.normal(size=n), rng.normal(size=m)
        expected = [
            stats.mannwhitneyu(fresh, reference, alternative=side, method="exact").pvalue
            for side in ("less", "greater")
        ]
        assert rank_sum(fresh, reference) == pytest.approx(expected, rel=1e-12)


def test_chances_with_ties_are_counted_over_every_choice_of_seeds():
    values = np.array([3, 1, 1, 2, 2, 2, 5, 1, 4.0])
    for n in (1, 3, 5):
        ranks = stats.rankdata(values)
        sums = np.array([sum(ranks[list(c)]) for c in combinations(range(len(values)), n)])
        expected = (sums <= ranks[:n].sum()).mean(), (sums >= ranks[:n].sum()).mean()
        assert rank_sum(values[:n], values[n:]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_sound_code_fails_no_more_often_than_stated(draw):
    """alpha = 20 % over the four specs and all together, 200 checks: tolerance 3 binomial sd."""
    rate = failure_rate(draw, 200, 0.2, np.random.default_rng(1))
    assert rate <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_error_rate_of_the_check_as_it_is(draw):
    """At the check's own alpha, 4,000 checks: tolerance 3 binomial sd (0.5 %). From below too where
    values do not tie: Bonferroni's correction and the steps of an exact test lose less than half
    of alpha."""
    rate = failure_rate(draw, 4_000, ALPHA, np.random.default_rng(2))
    slack = 3 * np.sqrt(ALPHA / 4_000)
    assert rate <= ALPHA + slack
    if draw is not shared:
        assert rate >= ALPHA / 2 - slack


def power(drops, checks, rng, fresh=FRESH, references=REFERENCES):
    """Share of checks that find a drop of so many sds over seeds, one number a spec."""
    found = 0
    for _ in range(checks):
        reference = rng.normal(50, 1, (SPECS, references))
        now = rng.normal(50, 1, (SPECS, fresh)) - np.reshape(drops, (SPECS, 1))
        found += any(c.outcome == "failed" for c in check_all(now, reference))
    return found / checks


@pytest.mark.parametrize(
    ("drops", "expected"), [([1.5] * 4, 0.96), ([1.0] * 4, 0.65), ([3.25, 0, 0, 0], 0.90)]
)
def test_drops_are_found_with_the_power_that_the_documentation_states(drops, expected):
    """200 checks: tolerance 3 binomial sd, and 1 % for the rounding of the documented figure."""
    slack = 0.01 + 3 * np.sqrt(expected * (1 - expected) / 200)
    assert power(drops, 200, np.random.default_rng(3)) == pytest.approx(expected, abs=slack)


def test_more_references_and_fresh_seeds_find_smaller_drops():
    """Power at a drop of one sd in all specs; 100 checks each (sd 5 %)."""
    found = [
        power([1.0] * 4, 100, np.random.default_rng(4), fresh, references)
        for fresh, references in ((4, 6), (6, 10), (10, 20))
    ]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.3


@pytest.mark.parametrize(
    ("fresh", "reference", "expected"),
    [
        ([0.1, 0.101, 0.099], SOUND, "passed"),
        ([0.05, 0.051, 0.049], SOUND, "failed"),
        ([0.15, 0.151, 0.149], SOUND, "risen"),
        ([], SOUND, "missing"),
        ([0.1, np.nan], SOUND, "missing"),
        ([0.05, 0.05], SOUND, "unjudged"),
        ([0.1], [0.1], "unjudged"),
        ([0.1], [0.1, np.nan, 0.1], "unjudged"),
        ([0.1], [0.1, 0.1], "passed"),
        ([0.2], [0.1, 0.1], "unjudged"),
        ([0.2] * 5, [0.1] * 10, "risen"),
    ],
)
def test_outcomes(fresh, reference, expected):
    check = outcome(fresh, reference)
    assert check.outcome == expected
    assert check.ok == (expected == "passed")
    assert check.message


def test_too_few_seeds_are_said_to_be_too_few():
    assert "take more (--seeds)" in outcome([0.05, 0.05]).message


def test_one_bad_seed_alone_is_no_failure():
    """It is the lowest of all, and nothing else is low."""
    rng = np.random.default_rng(5)
    assert outcome([*rng.normal(0.1, 0.002, 5), 0.01], alpha=0.05).outcome == "passed"


def test_a_small_drop_of_every_spec_fails_all_together_alone():
    """Quantiles of a normal distribution, the fresh ones moved by 1.3 sd, dealt to the seeds anew
    for every spec: no spec has p below its own limit."""
    rng = np.random.default_rng(6)
    quantiles = [np.tile(stats.norm.ppf((np.arange(n) + 0.5) / n) + 50, (4, 1)) for n in (10, 6)]
    reference, fresh = (rng.permuted(own, axis=1) for own in quantiles)
    checks = check_all(fresh - 1.3, reference)
    assert [c.outcome for c in checks] == ["passed"] * 4 + ["failed"]
    assert checks[-1].name == JOINT


def test_unit_without_a_fresh_run_cannot_pass():
    sound = by_seed(SOUND)
    checks = check_means({"a": by_seed(SOUND, 10)}, {"a": sound, "b": sound})
    assert [check.outcome for check in checks] == ["passed", "missing", "unjudged"]
    with pytest.raises(ValueError, match="nothing to check against"):
        check_means({"a": sound}, {})


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    fresh, reference = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    for model, quality in (("Sound", 1.0), ("Worse", 0.3)):
        for seed in range(10):
            rng = np.random.default_rng(seed)
            spec = make_spec(model, profile="ci")
            reference.write(make_result(spec, seed, draw_above(rng, 500, 1.0)))
            if seed < 6:
                rng = np.random.default_rng(100 + seed)
                fresh.write(make_result(spec, seed, draw_above(rng, 500, quality)))
    other = make_spec("Sound", profile="paper")
    reference.write(make_result(other, 0, draw_above(np.random.default_rng(0), 500)))
    return fresh, reference


def test_stores_are_checked_unit_by_unit(stores):
    outcomes = {
        check.name: check.outcome for check in check_runs(*map(RunSet, stores), profile="ci")
    }
    assert outcomes.pop(JOINT) in ("passed", "failed")
    assert outcomes == {"Sound on toy (ci)": "passed", "Worse on toy (ci)": "failed"}


def test_failed_fresh_run_is_no_pass(stores):
    fresh, _ = stores
    delete_run(fresh, make_spec("Sound", profile="ci"), 1)
    fresh.write(failed_result(make_spec("Sound", profile="ci"), 1))
    outcomes = {
        check.name: check.outcome for check in check_runs(*map(RunSet, stores), profile="ci")
    }
    assert outcomes["Sound on toy (ci)"] == "missing"
    assert outcomes[JOINT] == "unjudged"


def test_damage_and_absence_are_errors(stores):
    fresh, reference = stores
    with pytest.raises(InputError, match="no finished run of the profile 'smoke'"):
        check_runs(RunSet(fresh), RunSet(reference), profile="smoke")
    path = reference.path(make_spec("Sound", profile="ci").key, 0).with_suffix(".npz")
    path.write_bytes(b"")
    with pytest.raises(InputError, match=str(path)):
        check_runs(RunSet(fresh), RunSet(reference), profile="ci")


def test_junit(stores, tmp_path):
    checks = [
        *check_runs(*map(RunSet, stores), profile="ci")[:2],
        outcome([]),
        outcome([0.15, 0.15, 0.15]),
    ]
    write_junit(tmp_path / "out" / "junit.xml", checks)
    suite = ET.parse(tmp_path / "out" / "junit.xml").getroot()
    assert {k: suite.get(k) for k in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "2",
        "errors": "1",
    }
    children = [[child.tag for child in case] for case in suite]
    assert children == [["system-out"], ["failure"], ["error"], ["failure"]]
    assert "was" in suite[1][0].get("message", "")
    with pytest.raises(InputError, match="give another path"):
        write_junit(tmp_path / "out" / "junit.xml" / "x.xml", checks)
