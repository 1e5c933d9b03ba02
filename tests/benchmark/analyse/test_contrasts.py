"""The plan's contrasts on made-up runs: numbers, words, corrections, and what is missing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.bootstrap import Contrast, CrossedBootstrap, Score
from benchmark.analyse.contrasts import LOG_RANK, Arm, arm_scores, judge_plan, mean_log_rank
from benchmark.analyse.effects import (
    MEANINGS,
    NOT_REACHED,
    corrected,
    discoveries,
    effect_of,
    word_of,
)
from benchmark.analyse.judged import GAINING, pair_verdict, qualified
from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.runs.ranks import Ranks
from tests.benchmark.results import draw_above, make_ranks, make_result, make_spec

QUICK = replace(RULES, resamples=400)
PLAN = analysis_plan()
ARMS = {name: 1.0 for contrast in PLAN.contrasts for name in (*contrast.plus, *contrast.minus)}
ROWS = ("SASRec", "NOVA")


def arm(name, quality, *, seeds=6, users=300, asked=None, dataset="ml-1m"):
    """Runs whose users' targets stand the higher, the larger the quality."""
    row = next(
        (r for r in ("FindRec", "Late fusion", "Mamba4Rec (MM)") if name.startswith(r)), name
    )
    variant = name.removeprefix(row).strip() or "base"
    spec = make_spec(row, dataset=dataset, variant=variant)
    rng = np.random.default_rng([*name.encode(), users])
    runs = tuple(
        make_result(spec, seed, draw_above(rng, users, quality * rng.normal(1, 0.01)))
        for seed in range(seeds)
    )
    return Arm(runs, seeds if asked is None else asked)


def arms(**changes):
    """Arms of equal quality 1 but for the changes ("_" in a name stands for a space)."""
    qualities = ARMS | dict.fromkeys(ROWS, 1.0)
    qualities |= {name.replace("_", " "): value for name, value in changes.items()}
    return {name: arm(name, quality) for name, quality in qualities.items()}


def by_claim(judged):
    return {(one.claim, one.protocol): one for one in (*judged.best, *judged.contrasts)}


def test_mean_log_rank_is_the_mean_over_tied_places():
    """Against the plain loop over the places, float64: 1e-12. Users have several targets."""
    rng = np.random.default_rng(0)
    above, equal = rng.integers(0, 300, 60), rng.integers(0, 5, 60)
    ranks = replace(
        make_ranks(above),
        equal=equal.astype(np.int32),
        above_masked=(above // 2).astype(np.int32),
        user=np.repeat([3, 4, 9], [20, 10, 30]).astype(np.int32),
    )
    for masked, own, ties in ((False, above, equal), (True, above // 2, np.zeros(60, int))):
        slow = [np.mean(np.log(a + 1 + np.arange(e + 1))) for a, e in zip(own, ties, strict=True)]
        slow = [np.mean(slow[:20]), np.mean(slow[20:30]), np.mean(slow[30:])]
        assert mean_log_rank(ranks, masked=masked) == pytest.approx(slow, abs=1e-12)


def test_difference_of_plain_means_has_students_error():
    """Seeds that are equal throughout leave users alone: the paired t interval of the users'
    differences, within the 3 % that 4,000 resamples leave of an sd."""
    rng = np.random.default_rng(1)
    a, b = (np.repeat(rng.normal(3, 1, (200, 1)), 6, axis=1) for _ in range(2))
    rules = replace(RULES, resamples=4_000)
    scores = CrossedBootstrap({"a": a, "b": b}, rules)
    found = scores.contrast({"a": 1, "b": -1}, log=False)
    difference = (a - b)[:, 0]
    assert found.value == pytest.approx(difference.mean(), abs=1e-12)
    assert found.error == pytest.approx(difference.std(ddof=1) / np.sqrt(200), rel=0.03)
    assert found.df == pytest.approx(199, rel=1e-6)


def test_a_contrast_of_four_is_the_difference_of_two_of_two():
    own = arms(FindRec=1.6, Late_fusion=1.2)
    judged = by_claim(judge_plan(PLAN, {"ml-1m": own}, rules=QUICK))
    for protocol in ("kept", "left out"):
        m3, m2, late = (
            judged[name, protocol].effect.value
            for name in ("M3 late fusion", "M2", "M2 late fusion")
        )
        assert m3 == pytest.approx(m2 - late, abs=1e-12)
        rank = judged["M3 late fusion", protocol].log_rank.value
        parts = [judged[name, protocol].log_rank.value for name in ("M2", "M2 late fusion")]
        assert rank == pytest.approx(parts[0] - parts[1], abs=1e-12)
    m1 = judged["M1", "left out"]
    scores = arm_scores(own, QUICK)
    pair = [Score(own[n].name, "NDCG@10", "left out") for n in ("FindRec", "Late fusion")]
    compared = scores.compare(*pair)
    assert m1.effect.relative == pytest.approx(
        (compared.difference, compared.low, compared.high), abs=1e-12
    )
    assert (m1.effect.p, m1.effect.df) == (compared.p, compared.df)
    assert m1.log_rank.value < 0, "better rows have lower ranks"


def test_words_of_the_plan():
    judged = judge_plan(PLAN, {"ml-1m": arms(FindRec=2.0)}, rows=ROWS, rules=QUICK)
    found = by_claim(judged)
    assert {found["P1", "kept"].word, found["P2", "left out"].word} == {"supported"}
    assert found["M1", "left out"].word == "supported"
    assert found["M2 late fusion", "kept"].word == "undecided"
    worse = by_claim(
        judge_plan(PLAN, {"ml-1m": arms(FindRec=0.6, SASRec=0.3)}, rows=ROWS, rules=QUICK)
    )
    assert worse["P1", "kept"].word == "refuted"
    assert "over NOVA" in worse["P1", "kept"].note
    assert worse["M1", "left out"].word == "opposite"
    assert worse["P1", "kept"].strongest == "NOVA", "best on validation"
    assert worse["P1", "kept"].margin.value < 0


def test_holm_counts_claims_that_were_not_tested():
    """M1 alone is adjusted as one of three; beside P1 and P2 it is one of the three made."""
    own = {"ml-1m": arms(FindRec=1.08)}
    alone = by_claim(judge_plan(PLAN, own, rules=QUICK))["M1", "left out"]
    assert alone.adjusted == pytest.approx(min(3 * alone.effect.p, 1), rel=1e-12)
    judged = by_claim(judge_plan(PLAN, own, rows=ROWS, rules=QUICK))
    three = [judged["P1", "kept"], judged["P2", "left out"], judged["M1", "left out"]]
    p = sorted([three[0].result.p, three[1].result.p, three[2].effect.p])
    by_hand = np.maximum.accumulate(np.minimum(np.array(p) * [3, 2, 1], 1))
    assert sorted(one.adjusted for one in three) == pytest.approx(by_hand, rel=1e-12)


def test_secondary_contrasts_are_one_family_a_protocol():
    judged = judge_plan(PLAN, {"ml-1m": arms(FindRec=1.3)}, rules=QUICK)
    for protocol in ("kept", "left out"):
        family = [
            one
            for one in judged.contrasts
            if one.protocol == protocol and one.contrast.claim == "secondary"
        ]
        p = np.array([one.effect.p for one in family])
        order = np.argsort(p)
        steps = p[order] * len(p) / np.arange(1, len(p) + 1)
        by_hand = np.empty(len(p))
        by_hand[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
        assert [one.adjusted for one in family] == pytest.approx(by_hand, rel=1e-12)


def test_a_replication_is_not_in_the_primary_family():
    beauty = {name: arm(name, 1.0, dataset="beauty") for name in ARMS}
    judged = judge_plan(PLAN, {"beauty": beauty}, rules=QUICK)
    assert np.isnan(by_claim(judged)["M1", "left out"].adjusted)


def test_what_was_not_reached_says_why():
    own = arms()
    del own["Late fusion"], own["SASRec"]
    own["FindRec permuted-features"] = arm("FindRec permuted-features", 1.0, seeds=5, asked=6)
    found = by_claim(judge_plan(PLAN, {"ml-1m": own}, rows=ROWS, rules=QUICK))
    m1, m2 = found["M1", "left out"], found["M2", "kept"]
    assert (m1.word, m1.effect, m1.note) == ("not reached", None, "no runs of Late fusion")
    assert (m2.word, m2.note) == (
        "not reached",
        "seeds are missing of FindRec permuted-features",
    )
    assert not np.isnan(m2.effect.low), "the interval is shown"
    assert found["P1", "kept"].note == "runs are missing of SASRec"
    own["SASRec"] = arm("SASRec", 1.0, seeds=5, asked=6)
    p1 = by_claim(judge_plan(PLAN, {"ml-1m": own}, rows=ROWS, rules=QUICK))["P1", "kept"]
    assert (p1.word, p1.note) == ("not reached", "runs are missing of SASRec")
    assert set(p1.others) == set(ROWS) - {"SASRec"}, "a part of its seeds is not compared"
    assert found["M4", "kept"].word == "undecided"


def test_what_is_known_of_budgets_qualifies_a_verdict():
    """Rows that were still gaining and rows without a ladder are named, on either side of a
    contrast, and nothing where there is no verdict."""
    known = {"Late fusion": "gaining", "NOVA": "gaining", "SASRec": "not established"}
    own = {
        name: with_convergence(one, known.get(name, "shown"))
        for name, one in arms(FindRec=1.6).items()
    }
    judged = by_claim(judge_plan(PLAN, {"ml-1m": own}, rows=ROWS, rules=QUICK))
    m1, m2, p1 = (judged[name] for name in (("M1", "left out"), ("M2", "kept"), ("P1", "kept")))
    assert (m1.gaining, m2.gaining, p1.gaining) == (("Late fusion",), (), ("NOVA",))
    assert (m1.without_budget, p1.without_budget) == ((), ("SASRec",))
    assert qualified("", m1) == f"{GAINING}: Late fusion"
    assert qualified("So?", p1) == (f"So? {GAINING}: NOVA. Budget chosen by no ladder: SASRec")
    assert qualified("so", m2) == "so"
    others = ("SASRec", "NOVA", "BERT4Rec", "IISAN")
    every = replace(p1, others=others, gaining=("FindRec", *others), without_budget=())
    assert qualified("", every) == f"{GAINING}: all 5 that are compared"
    but_one = replace(every, gaining=others)
    assert qualified("", but_one).endswith(": SASRec, NOVA, BERT4Rec, IISAN")
    few = judge_plan(PLAN, {"ml-1m": own | {"FindRec": arm("FindRec", 1.6, asked=7)}}, rules=QUICK)
    (unfinished,) = [one for one in few.contrasts if one.claim == "M1"]
    assert unfinished.gaining == ("Late fusion",)
    assert qualified(unfinished.note, unfinished) == "seeds are missing of FindRec"


def with_convergence(own, known):
    return replace(
        own,
        runs=tuple(
            replace(
                run,
                record=run.record.model_copy(
                    update={"spec": run.record.spec.model_copy(update={"convergence": known})}
                ),
            )
            for run in own.runs
        ),
    )


def test_two_seeds_carry_no_verdict():
    own = {name: arm(name, 2.0 if name == "FindRec" else 1.0, seeds=2) for name in [*ARMS, *ROWS]}
    judged = judge_plan(PLAN, {"ml-1m": own}, rows=ROWS, rules=QUICK)
    assert {one.word for one in (*judged.best, *judged.contrasts)} == {"not reached"}
    assert {one.note for one in judged.contrasts} == {"no verdict on 2 seeds, it needs 6"}


def test_no_run_at_all_is_no_error():
    judged = judge_plan(PLAN, {"ml-1m": {}}, rows=ROWS, rules=QUICK)
    assert {one.word for one in (*judged.best, *judged.contrasts)} == {"not reached"}


def test_an_arm_that_says_nothing_on_a_dataset():
    barred = {"ml-1m": {"FindRec permuted-images": "one modality"}}
    judged = by_claim(judge_plan(PLAN, {"ml-1m": arms()}, untestable=barred, rules=QUICK))
    m4 = judged["M4", "kept"]
    assert (m4.word, m4.note, m4.effect) == ("not testable here", "one modality", None)


def test_arms_of_other_users_are_refused():
    own = arms()
    own["Late fusion"] = arm("Late fusion", 1.0, users=200)
    with pytest.raises(InputError, match="different versions of the data"):
        judge_plan(PLAN, {"ml-1m": own}, rules=QUICK)


def test_scores_hold_both_measures():
    scores = arm_scores({"FindRec": arm("FindRec", 1.0)}, QUICK)
    assert {(s.metric, s.protocol) for s in scores.values} == {
        (metric, protocol) for metric in ("NDCG@10", LOG_RANK) for protocol in ("kept", "left out")
    }


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.001, 0.2, "supported"),
        (0.001, 0.005, "supported"),
        (-0.2, -0.001, "opposite"),
        (-0.02, 0.009, "smaller than 1 %"),
        (-0.02, 0.0101, "undecided"),
        (float("nan"), float("nan"), "undecided"),
    ],
)
def test_words_of_intervals(low, high, word):
    own = arm_scores({"a": arm("a", 1.0), "b": arm("b", 1.0)}, QUICK)
    names = [s for s in own.values if s.metric == "NDCG@10" and s.protocol == "kept"]
    effect = effect_of(own.contrast({names[0]: 1, names[1]: -1}), own.n_users, QUICK)
    effect = replace(effect, low=low, high=high)
    assert word_of(effect) == word
    assert word in MEANINGS
    assert word_of(replace(effect, n_seeds=(6, 5))) == "not reached"


def test_the_word_for_small_effects_is_the_rules():
    assert RULES.smallest_effect == 0.01, "or the word is another one"


def test_correction_can_only_take_away():
    assert corrected("supported", 0.2, 0.1) == "undecided"
    assert corrected("supported", 0.1, 0.1) == "supported"
    assert corrected("supported", float("nan"), 0.1) == "undecided"
    assert corrected("undecided", 0.2, 0.1, otherwise="smaller than 1 %") == "undecided"
    assert corrected("opposite", 0.2, 0.1, otherwise="smaller than 1 %") == "smaller than 1 %"
    assert corrected("smaller than 1 %", 0.9, 0.1) == "smaller than 1 %"
    assert np.isnan(discoveries([float("nan")])[0])
    assert discoveries([0.01, float("nan"), 0.5]) == pytest.approx(
        [0.02, float("nan"), 0.5], nan_ok=True
    )


def test_ranks_without_users_have_one_target_each():
    ranks: Ranks = make_ranks(np.array([0, 3]))
    assert mean_log_rank(ranks, masked=False) == pytest.approx(np.log([1, 4]), abs=1e-12)


def test_a_row_can_settle_a_claim_before_the_others_are_there():
    """A row far above the subject refutes P1 whatever the rows without runs bring; one that is
    equal does not, and neither does any while the subject itself lacks seeds."""
    rows = ("SASRec", "NOVA", "IISAN")
    own = arms(SASRec=1.5)
    judged = judge_plan(PLAN, {"ml-1m": own}, rows=rows, rules=QUICK)
    p1 = by_claim(judged)["P1", "kept"]
    assert (p1.word, p1.settled_by) == ("not reached", ("SASRec",))
    said = pair_verdict(judged.best)
    assert said.startswith(NOT_REACHED)
    assert "P1 and P2 will be refuted, whatever the missing rows bring: a gain of 1 %" in said
    reached = judge_plan(PLAN, {"ml-1m": own}, rows=rows[:2], rules=QUICK)
    p1 = by_claim(reached)["P1", "kept"]
    assert (p1.word, p1.settled_by) == ("refuted", ()), "a verdict needs no forecast"
    assert pair_verdict(reached.best) == "P1, P2: FindRec is below SASRec (refuted; above 0 of 2)."
    assert np.isnan(p1.adjusted), "p of being above every row is none of a refutation"
    assert p1.lost_by(0.0) == ["SASRec"]
    assert p1.margin.high < np.log1p(p1.most) < 0
    equal = judge_plan(PLAN, {"ml-1m": arms()}, rows=rows, rules=QUICK)
    assert by_claim(equal)["P1", "kept"].settled_by == ()
    assert pair_verdict(equal.best) == NOT_REACHED
    own["FindRec"] = arm("FindRec", 1.0, seeds=5, asked=6)
    short = judge_plan(PLAN, {"ml-1m": own}, rows=rows, rules=QUICK)
    assert by_claim(short)["P1", "kept"].settled_by == ()


@pytest.mark.parametrize("df", [5.0, 400.0])
def test_bounds_among_several_are_students(df):
    """By hand from the closed form; of one alone it is the end of the interval."""
    error = 0.02
    half = stats.t.ppf(0.975, df) * error
    contrast = Contrast(0.1, error, df, (6, 6))
    assert contrast.interval(0.05)[1] == pytest.approx(0.1 + half, rel=1e-12)
    expected = 0.1 + stats.t.ppf(1 - 0.025 / 11, df) * error
    assert contrast.interval(0.05 / 11)[1] == pytest.approx(expected, rel=1e-9)
