"""FindRec read otherwise: the same claims beside the base's, corrected over the four."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.claim_data import Here
from benchmark.analyse.contrasts import Arm, judge_plan
from benchmark.analyse.ledger import Place, counts, judge_claims, ledger_frame
from benchmark.analyse.rules import RULES
from benchmark.paper import Claims, load_cells, load_claims
from benchmark.plan import other_readings
from benchmark.render.claims import ledger_markdown
from tests.benchmark.results import draw_above, make_result, make_spec

PLAN = replace(analysis_plan(), contrasts=())
READINGS = other_readings()
CLAIMS = load_claims()
TRAINED = next(c for c in CLAIMS.claims if c.id == "abstract-superior").below
FEW = replace(RULES, resamples=200)


def arm(name, quality, rng, *, users=200, seeds=6):
    row = next((r for r in ("FindRec (released)", "FindRec") if name.startswith(r)), name)
    variant = name.removeprefix(row).strip() or "base"
    spec = make_spec(row, dataset="ml-1m", variant=variant)
    runs = [
        make_result(spec, seed, draw_above(rng, users, quality * rng.normal(1, 0.03)))
        for seed in range(seeds)
    ]
    return Arm(tuple(runs), seeds)


def arms(qualities, seed=0, **sizes):
    rng = np.random.default_rng(seed)
    return {name: arm(name, quality, rng, **sizes) for name, quality in qualities.items()}


def judged(own, rows, **fields):
    return judge_plan(PLAN, {"ml-1m": own}, rows=rows, readings=READINGS, rules=FEW, **fields)


def test_the_four_are_those_of_the_experiment():
    assert READINGS == (
        "FindRec reading-a",
        "FindRec reading-b",
        "FindRec favourable",
        "FindRec (released)",
    )


def test_holm_is_over_the_four_and_the_base_is_left_alone():
    """Against Holm by hand: the k-th smallest of four p-values times 5 - k, never falling."""
    qualities = dict(zip(READINGS, (1.5, 1.9, 1.0, 1.6), strict=True))
    own = arms({"FindRec": 1.0, "SASRec": 1.0, "NOVA": 0.6} | qualities)
    found = judged(own, ["SASRec", "NOVA"])
    for protocol in ("kept", "left out"):
        family = [one for one in found.readings if one.protocol == protocol]
        assert [one.subject for one in family] == list(READINGS)
        p = np.array([one.result.p for one in family])
        order = np.argsort(p)
        by_hand = np.empty(4)
        by_hand[order] = np.minimum(np.maximum.accumulate(p[order] * [4, 3, 2, 1]), 1)
        assert [one.adjusted for one in family] == pytest.approx(by_hand, rel=1e-12)
        for one in family:
            assert (one.word == "supported") == (one.adjusted <= 0.05 and one.result.p <= 0.05)
        assert family[1].word == "supported"
    alone = judge_plan(PLAN, {"ml-1m": own}, rows=["SASRec", "NOVA"], rules=FEW)
    assert alone.readings == ()
    assert [(b.word, b.adjusted) for b in alone.best] == [(b.word, b.adjusted) for b in found.best]


def test_a_reading_that_was_not_run_counts_as_one():
    """One reading alone: its p is multiplied by 4 all the same. What is known of the others is
    said. A dataset where none was run has no such lines."""
    own = arms({"FindRec": 1.0, "SASRec": 1.0, "FindRec reading-b": 1.3})
    found = judged(own, ["SASRec"], absent={"ml-1m": {"FindRec favourable": "not chosen yet"}})
    by_name = {one.subject: one for one in found.readings if one.protocol == "kept"}
    only = by_name["FindRec reading-b"]
    assert only.adjusted == pytest.approx(min(4 * only.result.p, 1), rel=1e-12)
    assert by_name["FindRec favourable"].note == "not chosen yet"
    assert by_name["FindRec reading-a"].word == "not reached"
    del own["FindRec reading-b"]
    assert judged(own, ["SASRec"]).readings == ()


def test_false_support_of_any_of_the_four():
    """The worst null: every FindRec is as good as the best other row, which the rest are far below.
    Of 300 tables of 6 seeds, some reading is called above every other row in at most 2.5 % (one
    side of 5 %), within three binomial sd (5.2 %)."""
    qualities = dict.fromkeys(READINGS, 1.0) | {"FindRec": 1.0, "SASRec": 1.0, "NOVA": 0.3}
    wrong = 0
    for seed in range(300):
        found = judged(arms(qualities, seed, users=100), ["SASRec", "NOVA"])
        family = [one for one in found.readings if one.protocol == "kept"]
        wrong += any(one.word == "supported" for one in family)
    assert wrong <= 300 * (0.025 + 3 * np.sqrt(0.025 * 0.975 / 300))


def test_the_ledger_shows_them_below_the_base():
    qualities = dict(zip(READINGS[:2], (2.5, 1.0), strict=True))
    own = arms(dict.fromkeys(("FindRec", *TRAINED), 1.0) | qualities)
    rows = {("table 2", row): row for row in ("FindRec", *TRAINED)}
    place = Place(Here("ml-1m", own, rows, rules=FEW), "C")
    some = [c for c in CLAIMS.claims if c.id in ("abstract-superior", "rq1-mmmlp-best")]
    claims = Claims(display_items=CLAIMS.display_items, claims=some)
    plan = judged(own, TRAINED)
    lines = judge_claims(claims, load_cells(), [place], PLAN, plan)
    base, others = lines[:2], lines[2:10]
    assert {line.standing for line in base} == {"primary"}
    assert {line.word for line in base} <= {"undecided", "refuted"}, "its own verdict stands"
    assert [(line.read_as, line.protocol) for line in others] == [
        (name, protocol) for protocol in ("kept", "left out") for name in READINGS
    ]
    assert {line.standing for line in others} == {"another reading"}
    assert [line.word for line in others[:3]] == [o.word for o in plan.readings[:3]]
    assert (others[0].word, others[2].word) == ("supported", "not reached")
    assert all("the weakest: over" in line.finding.said for line in others[:2])
    assert sum(counts(lines).values()) == len(lines) - 8, "they are no part of the count"
    frame = ledger_frame(lines)
    assert list(frame["read_as"][2:6]) == list(READINGS)
    assert frame["p_adjusted"][2] == pytest.approx(plan.readings[0].adjusted)
    page = ledger_markdown(lines)
    assert "ml-1m (C), kept, as FindRec reading-a | supported" in page
