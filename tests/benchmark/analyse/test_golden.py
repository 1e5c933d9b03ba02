"""Comparing golden curves: what differs, by how much, where first, and what is missing."""

import math

import pytest

from benchmark.analyse.golden import (
    LEAST_TOLERANCE,
    Curve,
    Golden,
    MadeWith,
    changes,
    compare,
    difference,
    read_golden,
    rounding_of,
    write_golden,
)
from benchmark.errors import InputError

HERE = MadeWith(torch="2.13.0", numpy="2.4.6", numba="0.68.1", isa="AVX2", cpu="zen", scan="cpu")
THERE = HERE.model_copy(update={"cpu": "cascadelake"})
LOSSES = [8.0, 7.5, 0.1 + 0.2, 7.0]


def curve(losses=LOSSES, *, ranks=0.01, rounding=0.0, **others):
    terms = {"recommendation": list(losses), **others}
    return Curve(losses=terms, ranks={"test": ranks}, rounding=rounding)


def golden(made_with=HERE, data="hash", **rows):
    return Golden(made_with=made_with, data={"toy": data}, curves={"toy": rows})


def moved(step, by):
    """The losses with the value of one step, from 1, moved by a share of the largest value, 8."""
    return [value + 8 * by * (at == step) for at, value in enumerate(LOSSES, 1)]


def outcomes(old, new):
    return {check.name: check.outcome for check in compare(old, new)}


def test_difference_names_the_first_step_and_the_largest_share():
    changed = [8.0, 7.5 + 0.004, LOSSES[2], 7.0 - 0.008]
    found = difference(curve(kl=[1.0, 1.0]), curve(changed, kl=[1.0, 1.0]))
    assert (found.loss, found.step, found.ranks) == ("recommendation", 2, ())
    assert found.largest == pytest.approx(0.008 / 8, rel=1e-9)
    assert not difference(curve(), curve())


def test_a_term_that_appears_or_ends_early_differs_without_bound():
    for other in (curve(kl=[1.0]), curve(LOSSES[:2]), Curve(losses={}, ranks={"test": 0.01})):
        assert difference(curve(), other).largest == math.inf
        assert difference(other, curve()).largest == math.inf
    assert difference(curve(), curve(LOSSES[:2])).step == 3


def test_a_term_that_is_no_number_differs_from_any_number():
    lost = curve(kl=[1.0, math.nan])
    for one, other in ((curve(kl=[1.0, 1.0]), lost), (lost, curve(kl=[1.0, 1.0]))):
        assert (difference(one, other).largest, difference(one, other).step) == (math.inf, 2)
    assert not difference(lost, curve(kl=[1.0, math.nan]))


def test_equal_versions_allow_no_difference():
    last_bit = math.nextafter(LOSSES[3], 8)
    old = golden(A=curve(), B=curve(), C=curve(kl=[1.0]), D=curve())
    new = golden(
        A=curve([*LOSSES[:3], last_bit]), B=curve(ranks=0.02), C=curve(kl=[1.5]), D=curve()
    )
    verdicts = {check.name[-8:-7]: check for check in compare(old, new)}
    assert {n: c.outcome for n, c in verdicts.items()} == {
        "A": "failed",
        "B": "failed",
        "C": "failed",
        "D": "passed",
    }
    for name, text in (
        ("A", "first at step 4"),
        ("B", "ranks (test)"),
        ("C", "kl loss by 5.0e-01"),
    ):
        assert text in verdicts[name].message
        assert "./reproduce.sh golden --write" in verdicts[name].message


def test_other_machines_are_held_to_the_tolerance_of_the_recommendation_loss():
    """What a row amplifies (`rounding`) widens its own tolerance alone."""
    small, large = 0.9 * LEAST_TOLERANCE, 1.1 * LEAST_TOLERANCE
    old = golden(
        A=curve(), B=curve(), C=curve(kl=[1.0]), D=curve(rounding=LEAST_TOLERANCE), E=curve()
    )
    new = golden(
        THERE,
        A=curve(moved(2, small)),
        B=curve(moved(2, large)),
        C=curve(kl=[1.5], ranks=0.02),
        D=curve(moved(2, 9 * LEAST_TOLERANCE)),
        E=curve(),
    )
    assert list(outcomes(old, new).values()) == ["passed", "failed", "passed", "passed", "passed"]


def test_a_row_without_a_curve_and_a_curve_without_a_row_fail_with_the_command():
    checks = compare(golden(Old=curve(), Both=curve()), golden(Both=curve(), New=curve()))
    assert [check.outcome for check in checks] == ["missing", "passed", "missing"]
    assert not checks[0].ok
    assert all("golden --write" in check.message for check in (checks[0], checks[2]))


def test_other_data_are_named():
    (check,) = compare(golden(A=curve()), golden(data="other", A=curve(moved(1, 0.1))))
    assert "the data of toy are not those" in check.message


def test_old_stands_beside_new():
    old = golden(A=curve(), Gone=curve(), Same=curve())
    new = golden(THERE, A=curve(moved(4, 0.01)), New=curve(), Same=curve())
    lines = changes(old, new)
    assert lines == [
        "cpu: zen -> cascadelake",
        "Gone on toy: gone",
        "New on toy: new",
        "A on toy: recommendation loss by 1.0e-02 at most, first at step 4; "
        "last recommendation loss 7 -> 7.08",
        "1 of 3 curves are as they were",
    ]
    assert changes(None, new) == ["3 curves, and none before"]


def test_rounding_is_of_the_recommendation_loss():
    assert rounding_of(curve(), curve(moved(3, 1e-6), kl=[3.0])) == pytest.approx(1e-6, rel=1e-6)


def test_a_file_gives_back_every_bit(tmp_path):
    made = golden(A=curve([math.nextafter(1, 2), 1e-300, -0.1]), Control=Curve(losses={}, ranks={}))
    write_golden(tmp_path / "golden.json", made)
    assert read_golden(tmp_path / "golden.json") == made
    text = (tmp_path / "golden.json").read_text()
    assert '"recommendation": [1.0000000000000002, 1e-300, -0.1]' in text


def test_a_part_of_the_file():
    made = golden(A=curve(), B=curve())
    assert list(made.part(None, ["B"]).named()) == ["B on toy"]
    assert made.part(["other"], None).named() == {}


@pytest.mark.parametrize("text", ["", "{}", '{"made_with": 3}', "\udce9"])
def test_missing_and_damaged_files_name_the_command(tmp_path, text):
    path = tmp_path / "golden.json"
    with pytest.raises(InputError, match=r"make them: \./reproduce\.sh golden --write"):
        read_golden(path)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"make them anew: \./reproduce\.sh golden --write"):
        read_golden(path)
