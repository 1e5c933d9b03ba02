"""Making golden curves, and the command that compares them and makes them anew."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmark.analyse.golden import Curve, read_golden, write_golden
from benchmark.cli import app
from benchmark.golden import STEPS, make_golden
from benchmark.settings.registry import get_profile, methods

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"models": ["GRU4Rec", "Popularity"], "datasets": ["beauty"]}
NAMED = ("--models", "GRU4Rec,Popularity", "--datasets", "beauty")


@pytest.fixture(scope="module")
def made():
    return make_golden(**SMALL, rounding=True)


@pytest.fixture
def reference(tmp_path, made):
    write_golden(tmp_path / "golden.json", made)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


def test_committed_curves_are_those_of_every_row():
    """Without making any: `check` does that."""
    held = read_golden(ROOT / "results" / "reference" / "golden.json")
    for dataset in get_profile("smoke").run_on:
        assert set(held.curves[dataset]) == set(methods())
        for name, curve in held.curves[dataset].items():
            trained = methods()[name].category != "control"
            assert {len(values) for values in curve.losses.values()} == (
                {STEPS} if trained else set()
            )
            assert len(curve.ranks) == 4


def test_curves_are_the_same_to_the_bit_whatever_the_threads(made):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = make_golden(**SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    old, new = (golden.named()["GRU4Rec on beauty"] for golden in (made, again))
    assert (old.losses, old.ranks) == (new.losses, new.ranks)
    assert again.made_with == made.made_with


def test_a_curve_starts_at_chance_and_falls(made):
    """The first loss of small initial weights is near log(items); tolerance 5 %."""
    losses = made.named()["GRU4Rec on beauty"].losses["recommendation"]
    assert losses[0] == pytest.approx(math.log(2423), rel=0.05)
    assert losses[-1] < losses[0] - 0.2


def test_rounding_is_that_of_a_few_units_in_the_last_place(made):
    """A float32 loss near 8 has steps of 6e-8 of itself; a gated network of small widths amplifies
    a step of its parameters by less than a hundred within 20 steps."""
    assert made.named()["GRU4Rec on beauty"].rounding < 6e-6
    assert made.named()["Popularity on beauty"].rounding == 0


def test_the_command_passes_on_what_is_equal_and_fails_on_what_differs(reference, made):
    done = invoke("golden", *NAMED, "--reference", str(reference))
    assert done.exit_code == 0, done.output
    assert done.output.count("passed") == 2
    curve = made.curves["beauty"]["GRU4Rec"]
    wrong = [*curve.losses["recommendation"]]
    wrong[6] = math.nextafter(wrong[6], 0)
    curves = {"beauty": {"GRU4Rec": curve.model_copy(update={"losses": {"recommendation": wrong}})}}
    write_golden(reference / "golden.json", made.model_copy(update={"curves": curves}))
    junit = reference / "golden.xml"
    done = invoke("golden", *NAMED, "--reference", str(reference), "--junit", str(junit))
    assert done.exit_code == 1
    assert "first at step 7" in done.output
    assert "Popularity on beauty: the row has no golden curve" in done.output
    assert 'failures="1" errors="1"' in junit.read_text()


def test_made_anew_the_old_stands_beside_the_new(reference, made, monkeypatch):
    """With controls alone, for the time that all rows take."""
    rows = {"models": ["Popularity", "Session KNN"], "datasets": ["beauty"]}
    monkeypatch.setattr("benchmark.golden.make_golden", partial(make_golden, **rows))
    ranks = dict.fromkeys(made.curves["beauty"]["Popularity"].ranks, 0.5)
    old = Curve(losses={}, ranks=ranks)
    curves = {"beauty": {"Popularity": old, "Gone": old}}
    write_golden(reference / "golden.json", made.model_copy(update={"curves": curves}))
    done = invoke("golden", "--write", "--reference", str(reference))
    assert done.exit_code == 0, done.output
    for text in (
        "Gone on beauty: gone",
        "Session KNN on beauty: new",
        "Popularity on beauty: ranks",
    ):
        assert text in done.output
    now = read_golden(reference / "golden.json").curves["beauty"]
    assert now["Popularity"] == made.curves["beauty"]["Popularity"]
    assert set(now) == {"Popularity", "Session KNN"}
