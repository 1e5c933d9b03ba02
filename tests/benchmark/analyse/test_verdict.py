"""The closing line: whom the method is compared with, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.rules import RULES
from benchmark.analyse.verdict import AgainstBest, against_best, verdict_line
from benchmark.evaluate.metrics import per_user
from benchmark.runs.ranks import Ranks
from benchmark.runs.schema import RunResult
from tests.benchmark.results import draw_above, make_ranks, make_record, make_spec

RULES_HERE = replace(RULES, resamples=500)
USERS = 400


def ranks(rng, quality, left_out) -> Ranks:
    """Of another quality where the history is left out."""
    kept = make_ranks(draw_above(rng, USERS, quality))
    other = make_ranks(draw_above(rng, USERS, left_out))
    return replace(kept, above_masked=other.above)


def runs(model, *, valid, test, seeds=6, valid_left_out=None, test_left_out=None, **fields):
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, *model.encode()])
        split = [
            ranks(rng, quality, quality if left_out is None else left_out)
            for quality, left_out in ((valid, valid_left_out), (test, test_left_out))
        ]
        record = make_record(make_spec(model, **fields), seed)
        found.append(RunResult(record, *split, np.full(USERS, 9, np.int32)))
    return found


def test_the_other_row_is_the_best_on_validation_of_each_protocol():
    """B is best by validation with the history kept, C with it left out; D is best on test and has
    no say."""
    rows = {
        "FindRec": runs("FindRec", valid=1, test=1),
        "B": runs("B", valid=4, test=1, valid_left_out=1),
        "C": runs("C", valid=1, test=1, valid_left_out=4),
        "D": runs("D", valid=1, test=20),
    }
    kept, left_out = against_best("FindRec", rows, RULES_HERE)
    assert (kept.other, kept.protocol) == ("B", "kept")
    assert (left_out.other, left_out.protocol) == ("C", "left out")
    names = [Score(str(make_spec(m).key), "NDCG@10", "left out") for m in ("FindRec", "C")]
    values = {
        name: np.stack([per_user(r.test, "NDCG@10", masked=True) for r in rows[model]], axis=1)
        for name, model in zip(names, ("FindRec", "C"), strict=True)
    }
    assert left_out.result == CrossedBootstrap(values, RULES_HERE).compare(*names)


def test_what_a_line_says():
    """Far better kept, a little better or worse left out, as the verdicts of the bootstrap are."""
    rows = {
        "FindRec": runs("FindRec", valid=1, test=4, test_left_out=1.0),
        "B": runs("B", valid=2, test=1, test_left_out=1.02),
    }
    found = against_best("FindRec", rows, RULES_HERE)
    assert [one.result.verdict for one in found] == ["replicated", "inconclusive"]
    kept, left_out = (
        f"{100 * r.difference:+.1f} %, {100 * r.low:+.1f} to {100 * r.high:+.1f}"
        for r in (one.result for one in found)
    )
    assert verdict_line("beauty", "FindRec", found) == (
        f"beauty: FindRec beats B (history kept: {kept}) and is not shown to beat B "
        f"(left out: {left_out})"
    )


@pytest.mark.parametrize(
    ("verdict", "high", "verb"),
    [
        ("replicated", 0.05, "beats"),
        ("contradicted", 0.005, "does not gain 1 % over"),
        ("contradicted", -0.001, "is worse than"),
        ("inconclusive", 0.05, "is not shown to beat"),
    ],
)
def test_each_verdict_has_its_word(verdict, high, verb):
    rows = {"F": runs("F", valid=1, test=1), "B": runs("B", valid=1, test=1)}
    (one, _) = against_best("F", rows, RULES_HERE)
    result = replace(one.result, difference=-0.01, low=-0.02, high=high, verdict=verdict)
    line = verdict_line("beauty", "F", [AgainstBest("B", "kept", result)])
    ends = f"-2.0 to {100 * high:+.1f}"
    assert line == f"beauty: F {verb} B (history kept: -1.0 %, {ends})"


def test_clauses_with_one_verb_are_drawn_together():
    rows = {"F": runs("F", valid=1, test=1), "B": runs("B", valid=1, test=1)}
    (one, _) = against_best("F", rows, RULES_HERE)
    result = replace(one.result, difference=-0.01, low=-0.02, high=0.04, verdict="inconclusive")
    kept, same, other = (
        AgainstBest(name, protocol, result)
        for name, protocol in (("B", "kept"), ("B", "left out"), ("C", "left out"))
    )
    figures = "-1.0 %, -2.0 to +4.0"
    start = f"beauty: F is not shown to beat B (history kept: {figures}"
    assert verdict_line("beauty", "F", [kept, same]) == f"{start}; left out: {figures})"
    assert verdict_line("beauty", "F", [kept, other]) == f"{start}) nor C (left out: {figures})"


def test_what_cannot_be_compared_says_why():
    rows = {"F": runs("F", valid=1, test=1), "B": runs("B", valid=1, test=1)}
    nothing = [
        replace(r, test=make_ranks(np.full(USERS, 499))) if name == "B" else r
        for name, own in rows.items()
        for r in own
    ]
    found = against_best("F", {"F": nothing[:6], "B": nothing[6:]}, RULES_HERE)
    why = "a mean is too near zero for a relative difference"
    assert verdict_line("beauty", "F", found) == (
        f"beauty: F cannot be compared with B (history kept: {why}; left out: {why})"
    )


def test_a_loser_whose_budget_was_too_short_is_named():
    rows = {
        "FindRec": runs("FindRec", valid=1, test=4),
        "B": runs("B", valid=2, test=1, convergence="gaining"),
    }
    found = against_best("FindRec", rows, RULES_HERE)
    assert [(one.result.verdict, one.gaining) for one in found] == [("replicated", "B")] * 2
    line = verdict_line("beauty", "FindRec", found)
    assert line.count(", B was still gaining at its budget") == 2


def test_too_few_seeds_have_no_verdict():
    rows = {name: runs(name, valid=1, test=1, seeds=2) for name in ("FindRec", "B")}
    line = verdict_line("beauty", "FindRec", against_best("FindRec", rows, RULES_HERE))
    assert line == "beauty: no verdict on 2 seeds, it needs 6"


def test_alone_there_is_nothing_to_beat():
    with pytest.raises(ValueError, match="no other row"):
        against_best("FindRec", {"FindRec": runs("FindRec", valid=1, test=1)})
