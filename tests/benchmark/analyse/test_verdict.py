"""The closing line: whom the method is compared with, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analyse.bootstrap import CrossedBootstrap, Score
from benchmark.analyse.statistics import RULES
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


def runs(model, *, valid, test, seeds=6, valid_left_out=None, test_left_out=None):
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, *model.encode()])
        split = [
            ranks(rng, quality, quality if left_out is None else left_out)
            for quality, left_out in ((valid, valid_left_out), (test, test_left_out))
        ]
        record = make_record(make_spec(model), seed)
        found.append(RunResult(record, *split, np.full(USERS, 9, np.int32)))
    return found


def test_the_other_row_is_the_best_on_validation_of_each_protocol():
    """B is best by validation with the history kept, C with it left out; D is best on test and has
    no say. Scores are named as in the tables, so that the numbers are the tables' as well."""
    rows = {
        "FindRec": runs("FindRec", valid=1, test=1),
        "B": runs("B", valid=4, test=1, valid_left_out=1),
        "C": runs("C", valid=1, test=1, valid_left_out=4),
        "D": runs("D", valid=1, test=20),
    }
    kept, left_out = against_best("FindRec", rows, RULES_HERE)
    assert (kept.other, kept.protocol) == ("B", "history kept")
    assert (left_out.other, left_out.protocol) == ("C", "left out")
    values = {
        Score(str(make_spec(name).key), "NDCG@10", "left out"): np.stack(
            [per_user(r.test, "NDCG@10", masked=True) for r in rows[name]], axis=1
        )
        for name in ("FindRec", "C")
    }
    assert left_out.result == CrossedBootstrap(values, RULES_HERE).compare(*values)


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
        ("contradicted", 0.005, "does not beat"),
        ("contradicted", -0.001, "is worse than"),
        ("inconclusive", 0.05, "is not shown to beat"),
    ],
)
def test_each_verdict_has_its_word(verdict, high, verb):
    rows = {"F": runs("F", valid=1, test=1), "B": runs("B", valid=1, test=1)}
    (one, _) = against_best("F", rows, RULES_HERE)
    result = replace(one.result, difference=-0.01, low=-0.02, high=high, verdict=verdict)
    line = verdict_line("beauty", "F", [AgainstBest("B", "history kept", result)])
    ends = f"-2.0 to {100 * high:+.1f}"
    assert line == f"beauty: F {verb} B (history kept: -1.0 %, {ends})"


def test_too_few_seeds_have_no_verdict():
    rows = {name: runs(name, valid=1, test=1, seeds=2) for name in ("FindRec", "B")}
    line = verdict_line("beauty", "FindRec", against_best("FindRec", rows, RULES_HERE))
    assert line == "beauty: no verdict on 2 seeds, it needs 6"


def test_alone_there_is_nothing_to_beat():
    with pytest.raises(ValueError, match="no other row"):
        against_best("FindRec", {"FindRec": runs("FindRec", valid=1, test=1)})
