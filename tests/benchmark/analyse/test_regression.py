"""The regression check: level and power by simulation, outcomes, JUnit XML."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from benchmark.analyse.regression import (
    check_means,
    check_runs,
    detectable_drop,
    write_junit,
)
from benchmark.errors import InputError
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from tests.benchmark.results import draw_above, failed_result, make_result, make_spec

SOUND = np.random.default_rng(0).normal(0.1, 0.002, 10)


def outcome(fresh, reference=SOUND, alpha=0.01):
    (check,) = check_means({"spec": fresh}, {"spec": reference}, alpha=alpha)
    return check


def test_sound_code_fails_a_whole_check_as_often_as_stated():
    """alpha = 5 % over eight specs, 800 checks: tolerance 3 binomial sd (2.3 %)."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(800):
        reference = {str(u): rng.normal(0.1, 0.002, 10) for u in range(8)}
        fresh = {str(u): rng.normal(0.1, 0.002, 3) for u in range(8)}
        wrong += any(c.outcome == "failed" for c in check_means(fresh, reference, alpha=0.05))
    assert wrong / 800 == pytest.approx(0.049, abs=0.023)


@pytest.mark.parametrize(("seeds", "fresh", "specs"), [(10, 2, 4), (10, 3, 1), (5, 2, 1)])
def test_detectable_drop_is_found_with_its_power(seeds, fresh, specs):
    """90 % of 1,000 checks, tolerance 3 binomial sd (2.9 %)."""
    rng = np.random.default_rng(2)
    drop = detectable_drop(seeds, fresh, specs=specs)
    found = 0
    for _ in range(1_000):
        reference, now = rng.normal(0, 1, seeds) + 50, rng.normal(-drop, 1, fresh) + 50
        found += outcome(now, reference, alpha=0.01 / specs).outcome == "failed"
    assert found / 1_000 == pytest.approx(0.9, abs=0.029)


def test_more_references_find_smaller_drops():
    drops = [detectable_drop(seeds, 2, specs=4) for seeds in (3, 5, 10, 30)]
    assert drops == sorted(drops, reverse=True)
    assert drops[2] < 5.0, "ten references and two fresh seeds see a drop of five sds"


@pytest.mark.parametrize(
    ("fresh", "reference", "expected"),
    [
        ([0.1, 0.1], SOUND, "passed"),
        ([0.05, 0.05], SOUND, "failed"),
        ([0.15, 0.15], SOUND, "risen"),
        ([], SOUND, "missing"),
        ([0.1, np.nan], SOUND, "missing"),
        ([0.1], [0.1], "unjudged"),
        ([0.1], [0.1, np.nan, 0.1], "unjudged"),
        ([0.1], [0.1, 0.1], "passed"),
        ([0.2], [0.1, 0.1], "unjudged"),
    ],
)
def test_outcomes(fresh, reference, expected):
    check = outcome(fresh, reference)
    assert check.outcome == expected
    assert check.ok == (expected in ("passed", "risen"))
    assert check.message


def test_unit_without_a_fresh_run_cannot_pass():
    checks = check_means({"a": SOUND}, {"a": SOUND, "b": SOUND})
    assert [check.outcome for check in checks] == ["passed", "missing"]
    with pytest.raises(ValueError, match="nothing to check against"):
        check_means({"a": SOUND}, {})


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    fresh, reference = Store(tmp_path / "runs"), Store(tmp_path / "reference")
    for model, quality in (("Sound", 1.0), ("Worse", 0.3)):
        for seed in range(10):
            rng = np.random.default_rng(seed)
            spec = make_spec(model, profile="ci")
            reference.write(make_result(spec, seed, draw_above(rng, 500, 1.0)))
            if seed < 2:
                rng = np.random.default_rng(100 + seed)
                fresh.write(make_result(spec, seed, draw_above(rng, 500, quality)))
    other = make_spec("Sound", profile="paper")
    reference.write(make_result(other, 0, draw_above(np.random.default_rng(0), 500)))
    return fresh, reference


def test_stores_are_checked_unit_by_unit(stores):
    outcomes = {
        check.name: check.outcome for check in check_runs(*map(RunSet, stores), profile="ci")
    }
    assert outcomes == {"Sound on toy (ci)": "passed", "Worse on toy (ci)": "failed"}


def test_failed_fresh_run_is_no_pass(stores):
    fresh, _ = stores
    fresh.write(failed_result(make_spec("Sound", profile="ci"), 1))
    outcomes = {
        check.name: check.outcome for check in check_runs(*map(RunSet, stores), profile="ci")
    }
    assert outcomes["Sound on toy (ci)"] == "missing"


def test_damage_and_absence_are_errors(stores):
    fresh, reference = stores
    with pytest.raises(InputError, match="no finished run of the profile 'smoke'"):
        check_runs(RunSet(fresh), RunSet(reference), profile="smoke")
    path = reference.path(make_spec("Sound", profile="ci").key, 0).with_suffix(".npz")
    path.write_bytes(b"")
    with pytest.raises(InputError, match=str(path)):
        check_runs(RunSet(fresh), RunSet(reference), profile="ci")


def test_junit(stores, tmp_path):
    checks = [*check_runs(*map(RunSet, stores), profile="ci"), outcome([]), outcome([0.15, 0.15])]
    write_junit(tmp_path / "out" / "junit.xml", checks)
    suite = ET.parse(tmp_path / "out" / "junit.xml").getroot()
    assert {k: suite.get(k) for k in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
    }
    children = [[child.tag for child in case] for case in suite]
    assert children == [["system-out"], ["failure"], ["error"], ["system-out"]]
    assert "was" in suite[1][0].get("message", "")
    with pytest.raises(InputError, match="give another path"):
        write_junit(tmp_path / "out" / "junit.xml" / "x.xml", checks)
