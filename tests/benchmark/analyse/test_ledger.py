"""The claims ledger on made-up runs: each kind of claim judged, each verdict qualified, and the
words at the rates that they promise (slow)."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from benchmark.analyse.alignment import expected_kernel
from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.bootstrap import Score
from benchmark.analyse.claim_data import Here, layer_costs, values_in
from benchmark.analyse.claim_tests import answer
from benchmark.analyse.contrasts import Arm, arm_scores, judge_plan
from benchmark.analyse.ledger import FRAME, Place, counts, judge_claims, ledger_frame
from benchmark.analyse.rules import RULES
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.paper import Claims, load_cells, load_claims
from tests.benchmark.results import draw_above, make_ranks, make_result, make_spec

QUICK = replace(RULES, resamples=400)
CLAIMS = load_claims()
BY_ID = {claim.id: claim for claim in CLAIMS.claims}
PLAN = analysis_plan()
TRAINED = BY_ID["abstract-superior"].below
ROWS = {("table 2", row): row for row in ("FindRec", *TRAINED)} | {
    ("table 3", row): row for row in ("FindRec", "SASRec", "Mamba4Rec", "NOVA", "MMMLP")
}


def arm(name, quality, *, users=400, seeds=6, asked=None, planned=True, losses=None, bucket=None):
    """Runs of one arm; `bucket` maps the label of a length bucket to a factor of the quality."""
    protocol = {"analysis_plan": PLAN.hash if planned else None}
    row, _, variant = name.partition(" [")
    spec = make_spec(row, dataset="ml-1m", variant=variant.rstrip("]") or "base", protocol=protocol)
    rng = np.random.default_rng([*name.encode()])
    runs = []
    for seed in range(seeds):
        above = draw_above(rng, users, quality * rng.normal(1, 0.01))
        run = make_result(spec, seed, above)
        for label, factor in (bucket or {}).items():
            inside = next(b for b in RULES.buckets if b.label == label).holds(run.length)
            above[inside] = draw_above(rng, int(inside.sum()), quality * factor)
            run = make_result(spec, seed, above)
        if losses is not None:
            curves = run.record.curves.model_copy(update={"losses": losses, "loss_steps": [1]})
            run = replace(run, record=run.record.model_copy(update={"curves": curves}))
        runs.append(run)
    return Arm(tuple(runs), seeds if asked is None else asked)


def here(qualities=(), rows=None, **fields):
    """All rows of quality 1 but for those named."""
    own = dict.fromkeys(("FindRec", *TRAINED), 1.0) | dict(qualities)
    arms = {name: arm(name, quality) for name, quality in own.items()}
    return Here("ml-1m", arms | dict(rows or {}), ROWS, rules=QUICK, **fields)


def sweep(qualities, item="figure 3"):
    arms = {f"v{value}": arm(f"v{value}", q) for value, q in qualities.items()}
    places = {(item, value): f"v{value}" for value in qualities}
    return Here("ml-1m", arms, places, rules=QUICK)


@pytest.mark.parametrize(
    ("quality", "word"), [(2.0, "supported"), (0.5, "opposite"), (1.02, "undecided")]
)
def test_orders(quality, word):
    found = answer(BY_ID["abstract-superior"], here({"FindRec": quality}), "kept")
    assert found.word == word
    assert set(found.arms) == {"FindRec", *TRAINED}
    assert found.effect.n_users == 400


def test_an_order_needs_all_its_comparisons():
    """One row above the subject turns the claim round, however far the others are below."""
    found = answer(BY_ID["abstract-superior"], here({"FindRec": 2.0, "NOVA": 3.5}), "left out")
    assert (found.word, found.effect.value < 0) == ("opposite", True)
    assert "FindRec over NOVA" in found.said


def test_best_values_use_the_confidence_set():
    claim = BY_ID["rq4-experts"]
    best = answer(claim, sweep({"2": 1.0, "4": 2.0, "8": 1.0, "16": 1.0}), "kept")
    assert (best.word, best.said) == ("supported", "confidence set of the best: v4")
    other = answer(claim, sweep({"2": 1.0, "4": 1.0, "8": 2.0, "16": 1.0}), "kept")
    assert (other.word, other.said) == ("opposite", "confidence set of the best: v8")
    tie = answer(claim, sweep({"2": 1.0, "4": 1.02, "8": 1.0, "16": 1.0}), "kept")
    assert tie.word == "undecided"


def test_changes_are_one_contrast_in_the_stated_metric():
    """ "Without MoE MRR@5 drops": positive where the full model is better, and the stated size is
    held against the interval."""
    places = {("table 5", "FindRec"): "FindRec", ("table 5", "w/o MoE"): "less"}
    arms = {"FindRec": arm("FindRec", 1.6), "less": arm("less", 1.0)}
    found = answer(BY_ID["rq3-moe-mrr"], Here("ml-1m", arms, places, rules=QUICK), "kept")
    assert (found.word, found.metric) == ("supported", "MRR@5")
    assert "the stated 12.5% is outside the interval" in found.said
    own = [
        np.mean([per_user(run.test, "MRR@5").mean() for run in arms[name].runs]) for name in arms
    ]
    assert found.effect.value == pytest.approx(np.log(own[0] / own[1]), abs=1e-12)


def test_shapes_are_chains_of_steps():
    rising = sweep({"128": 0.6, "256": 1.0, "512": 1.7}, "table 8")
    assert answer(BY_ID["appendix-dimension-shape"], rising, "kept").word == "supported"
    turning = sweep({"128": 0.6, "256": 1.7, "512": 0.8}, "table 8")
    assert answer(BY_ID["appendix-dimension-shape"], turning, "kept").word == "opposite"
    heads = {"2": 1.0, "4": 1.8, "8": 2.6, "16": 1.0}
    found = answer(BY_ID["appendix-heads-shape"], sweep(heads, "table 9"), "kept")
    assert (found.word, found.effect.value > 0) == ("supported", True)
    assert "v8 over v16" in found.said
    up = {"2": 0.5, "4": 0.9, "8": 1.6, "16": 2.8}
    assert answer(BY_ID["appendix-heads-shape"], sweep(up, "table 9"), "kept").word == "opposite"


def test_mixed_results_need_both_signs():
    mixed = here({"SASRec (MM)": 2.0, "Mamba4Rec (MM)": 0.5})
    assert answer(BY_ID["rq1-mixed"], mixed, "kept").word == "supported"
    same = here({"SASRec (MM)": 2.0, "Mamba4Rec (MM)": 2.0})
    assert answer(BY_ID["rq1-mixed"], same, "kept").word == "opposite"


def test_gaps_between_buckets():
    """FindRec twice as good on short histories and no better on long ones."""
    labels = [bucket.label for bucket in RULES.buckets]
    narrowing = dict(zip(labels, (4.0, 1.8, 0.7), strict=True))
    rows = {"FindRec": arm("FindRec", 1.0, users=4_000, bucket=narrowing)}
    rows["SASRec"] = arm("SASRec", 1.0, users=4_000)
    own = Here("ml-1m", rows, ROWS, rules=QUICK)
    found = answer(BY_ID["rq2-largest-gain"], own, "kept")
    assert found.word == "supported"
    assert answer(BY_ID["abstract-long"], own, "kept").word == "opposite"
    gaps = [
        own.scores(label).contrast(own.signs(["FindRec"], ["SASRec"], "NDCG@10", "kept"))
        for label in labels
    ]
    steps = [a.value - b.value for a, b in pairwise(gaps)]
    assert min(abs(found.effect.value - step) for step in steps) < 1e-12
    users = [own.scores(label).n_users for label in labels]
    assert found.effect.n_users in {a + b for a, b in pairwise(users)}, "those of both buckets"


def test_a_claim_about_groups_names_the_rows_that_its_table_has():
    """Table 3 has four of the eleven: better than those is not better than all."""
    rows = {name: arm(name, 1.0) for name in ("SASRec", "Mamba4Rec", "NOVA", "MMMLP")}
    places = {("table 3", name): name for name in ("FindRec", *rows)}
    found = answer(
        BY_ID["rq2-all-groups"],
        Here("ml-1m", {"FindRec": arm("FindRec", 4.0), **rows}, places, rules=QUICK),
        "kept",
    )
    assert found.said.endswith("against SASRec, Mamba4Rec, NOVA, MMMLP, the rows of table 3")


def test_a_group_without_users_cannot_be_tested():
    """Nobody of ML-100k has the shortest histories: no p, which would weaken its family."""
    rows = {}
    for name in ("FindRec", "SASRec"):
        own = arm(name, 1.0)
        longer = [replace(run, length=run.length + 10) for run in own.runs]
        rows[name] = replace(own, runs=tuple(longer))
    empty = Here("ml-1m", rows, ROWS, rules=QUICK)
    label = RULES.buckets[0].label
    for claim in ("rq2-largest-gain", "abstract-long"):
        found = answer(BY_ID[claim], empty, "kept")
        assert found.word == "not testable here"
        assert f"users of length {label}: 0" in found.said
        assert np.isnan(found.p)


def test_rows_that_are_never_right_are_undecided():
    """Of a score of 0 there is no logarithm: neither above nor below, and no p."""
    rows = ("SASRec", "SASRec (MM)", "Mamba4Rec", "Mamba4Rec (MM)")
    arms = {name: arm(name, 1.0) for name in rows}
    for name, own in arms.items():
        runs = [make_result(r.record.spec, r.record.seed, np.full(400, 400)) for r in own.runs]
        arms[name] = replace(own, runs=tuple(runs))
    found = answer(BY_ID["rq1-mixed"], here(rows=arms), "kept")
    assert found.word == "undecided"
    assert np.isnan(found.p)
    assert ": unknown" in found.said


def test_runs_of_other_users_are_named():
    own = arm("SASRec", 1.0)
    fewer = make_result(own.runs[3].record.spec, 3, np.zeros(399, int))
    mixed = replace(own, runs=(*own.runs[:3], fewer, *own.runs[4:]))
    message = "SASRec on ml-1m.*399 with seed 3, 400 with seed 5; .* versions of the data"
    with pytest.raises(InputError, match=message):
        here(rows={"SASRec": mixed}).scores()
    with pytest.raises(InputError, match=message):
        arm_scores({"SASRec": mixed})


def test_noise_asks_who_keeps_more():
    against = BY_ID["abstract-noisy"].test.against
    rows = {f"{r} permuted-features": arm(f"{r} [permuted-features]", 0.5) for r in against}
    rows["FindRec permuted-features"] = arm("FindRec [permuted-features]", 1.0)
    found = answer(BY_ID["abstract-noisy"], here(rows=rows), "kept")
    assert found.word == "supported"
    assert "not run: 25 %, 50 %" in found.said
    half = {f"{r} noise=0.5": arm(f"{r} [noise=0.5]", 1.0) for r in ("FindRec", *against)}
    found = answer(BY_ID["abstract-noisy"], here(rows=rows | half), "kept")
    assert (found.word, "at 50 %" in found.said) == ("undecided", True), "all alike there"
    del rows["NOVA permuted-features"]
    assert answer(BY_ID["abstract-noisy"], here(rows=rows), "kept").word == "not reached"


def test_long_tail_is_judged_on_its_targets_alone():
    """The tail's users, against a loop over targets; frequencies put every fifth in the tail."""
    frequency = np.where(np.arange(400) % 5 == 0, 1, 50)
    items = np.concatenate([np.full(85, 1), np.full(15, 50)])
    counted = {"target": frequency, "items": items}
    own = here({"FindRec": 2.0}, frequency=counted)
    found = answer(BY_ID["conclusion-longtail"], own, "kept")
    assert (found.word, found.effect.n_users) == ("supported", 80)
    run = own.arms["NOVA"].runs[0]
    score = Score(own.arms["NOVA"].name, "NDCG@10", "kept")
    slow = per_user(run.test, "NDCG@10")[frequency == 1]
    assert own.scores("long tail").values[score][:, 0] == pytest.approx(slow, abs=1e-12)
    assert answer(BY_ID["conclusion-longtail"], here(), "kept").word == "not reached"


def test_values_in_a_stratum_average_its_targets():
    """Users with several targets: 1e-12 against the loop; one without any is left out."""
    ranks = replace(make_ranks(np.array([0, 3, 8, 2, 5])), user=np.array([0, 0, 1, 2, 2], np.int32))
    inside = np.array([True, True, False, False, True])
    gain = [1 / np.log2(r + 2) for r in (0, 3, 5)]
    found = values_in(ranks, "NDCG@10", inside, masked=False)
    assert found == pytest.approx([(gain[0] + gain[1]) / 2, gain[2]], abs=1e-12)
    with pytest.raises(ValueError, match="classed"):
        values_in(ranks, "NDCG@10", inside[:3], masked=False)


def test_gates_are_described():
    losses = {"expert_1": [0.9], "expert_2": [0.1], "gate_entropy": [0.47]}
    rows = {"FindRec": arm("FindRec", 1.0, losses=losses)}
    found = answer(BY_ID["method-experts"], here(rows=rows), "kept")
    assert found.word == "described"
    assert "0.90, 0.10" in found.said
    assert "0.47" in found.said


def test_every_claim_has_a_line_with_nothing_run():
    """No run is no error: what runs could test is not reached, the rest has its evidence."""
    empty = Place(Here("ml-1m", {}, {}, rules=QUICK), "C")
    lines = judge_claims(CLAIMS, load_cells(), [empty], PLAN)
    assert {line.claim.id for line in lines} == set(BY_ID)
    assert {line.word for line in lines} <= {"not reached", "described", "not testable here"}
    assert all(line.finding.said for line in lines)
    hook = next(line for line in lines if line.claim.id == "abstract-id-aligned")
    assert (hook.word, hook.dataset, hook.finding.said) == (
        "not reached",
        "",
        "run `alignment`, which measures it",
    )
    by_id = {line.claim.id: line for line in lines}
    assert "contrastive" in by_id["method-no-negatives"].finding.said
    assert "biased" in by_id["method-unbiased"].finding.said
    assert "theorem" in by_id["abstract-guarantee"].finding.said
    assert by_id["rq1-mm-below"].word == "not testable here", "of MicroLens alone"
    frame = ledger_frame(lines)
    assert tuple(frame.columns) == FRAME
    assert len(frame) == len(lines)


def test_every_claim_has_a_test_or_a_reason():
    """With nothing run, what is not reached has a hook that runs answer, what is described is of a
    kind that the page itself decides or has its evidence, and the rest says what a test would
    take."""
    empty = Place(Here("ml-1m", {}, {}, rules=QUICK), "C")
    by_runs = {"order", "change", "shape", "mixed", "gap"}
    by_page = {"value", "change", "range", "setting", "base", "reference", "promise", "loose_end"}
    for line in judge_claims(CLAIMS, load_cells(), [empty], PLAN):
        claim, said = line.claim, line.finding.said
        if line.word == "not reached":
            assert claim.kind in by_runs or claim.test is not None, claim.id
        elif line.word == "described":
            assert claim.kind in by_page or claim.evidence, claim.id
        else:
            assert "would take" in said or "it speaks of" in said, claim.id


def test_variants_are_described():
    """The row over each variant that was run, with the numbers of one contrast; the others are not
    waited for."""
    rows = {"FindRec permuted-features": arm("FindRec [permuted-features]", 0.5)}
    own = here(rows=rows)
    found = answer(BY_ID["rq2-modalities"], own, "kept")
    names = [Score(own.arms[n].name, "NDCG@10", "kept") for n in ("FindRec", *rows)]
    contrast = own.scores().contrast({names[0]: 1, names[1]: -1})
    assert (found.word, found.arms) == ("described", ("FindRec", *rows))
    assert found.effect.value == pytest.approx(contrast.value, abs=1e-12)
    assert f"over permuted-features {100 * np.expm1(contrast.value):+.1f} %" in found.said
    assert answer(BY_ID["method-kl"], own, "kept").word == "not reached"


def test_costs_are_power_laws(tmp_path):
    """Times that grow as the length and as its square: the exponents are 1 and 2, and the ratio of
    both falls by the ratio of the lengths. They are one line, of no dataset."""
    path = tmp_path / "scale.csv"
    lines = [f"Mamba layer,{n},{0.01 * n}\nattention layer,{n},{1e-4 * n * n}" for n in (50, 200)]
    path.write_text("part,window,cpu_seconds\nstep,50,9\n" + "\n".join(lines) + "\n")
    places = [Place(here(costs=layer_costs(path)), "C") for _ in range(2)]
    (line,) = ledger(places, ["abstract-linear"])
    assert (line.word, line.dataset) == ("described", "")
    assert "as length^1.00" in line.finding.said
    assert "as length^2.00" in line.finding.said
    assert "at 50 Mamba's layer takes 2.0 times" in line.finding.said
    assert "at 200 0.5 times" in line.finding.said
    assert layer_costs(tmp_path / "none.csv") == {}
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="run `scale` again"):
        layer_costs(path)
    (line,) = ledger([Place(here(), "C")], ["abstract-linear"])
    assert (line.word, line.finding.said) == ("not reached", "run `scale`, which measures it")


def ledger(places, ids, judged=None):
    some = Claims(display_items=CLAIMS.display_items, claims=[BY_ID[name] for name in ids])
    return judge_claims(some, load_cells(), places, PLAN, judged)


def test_grades_qualify_the_verdict():
    for grade, said in (
        ("A", "does not replicate"),
        ("B", "opposite, under these features, widths and budgets"),
        ("C", "opposite, on other data, under these features, widths and budgets"),
    ):
        place = Place(here({"MMMLP": 0.3}), grade)
        lines = ledger([place], ["rq1-mmmlp-best"])
        assert {line.word for line in lines} == {"opposite"}
        assert {line.verdict for line in lines} == {said}
    (line, _) = ledger([Place(here({"MMMLP": 2.0}), "A")], ["rq1-mmmlp-best"])
    assert line.verdict == "supported"
    assert line.runs[0] == "quick/ml-1m/mmmlp/base"


def test_primary_claims_have_the_plans_verdict():
    own = here({"FindRec": 2.0})
    judged = judge_plan(PLAN, {"ml-1m": own.arms}, rows=TRAINED, rules=QUICK)
    lines = ledger([Place(own, "C")], ["abstract-superior", "rq1-mmmlp-best"], judged)
    assert [line.standing for line in lines] == ["primary"] * 2 + ["secondary"] * 2
    for line, best in zip(lines[:2], judged.best, strict=True):
        assert (line.word, line.adjusted) == (best.word, best.adjusted)


def test_runs_outside_the_plan_are_exploratory():
    arms = {name: arm(name, 1.0, planned=False) for name in ("FindRec", *TRAINED)}
    place = Place(Here("ml-1m", arms, ROWS, rules=QUICK), "C")
    assert {line.standing for line in ledger([place], ["rq1-mmmlp-best"])} == {"exploratory"}


def test_a_family_is_corrected_together():
    """Adjusted p-values of one protocol are those of Benjamini and Hochberg over its lines, and a
    verdict whose adjusted p is above 10 % is undecided."""
    place = Place(here({"MMMLP": 1.25, "FindRec": 1.4}), "C")
    ids = ["rq1-mmmlp-best", "rq1-advanced", "rq1-mamba-best-id", "rq1-mixed"]
    lines = [line for line in ledger([place], ids) if line.protocol == "kept"]
    p = np.array([line.finding.p for line in lines])
    order = np.argsort(p)
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    expected = np.empty(len(p))
    expected[order] = np.minimum.accumulate(steps[::-1])[::-1]
    assert [line.adjusted for line in lines] == pytest.approx(np.minimum(expected, 1), rel=1e-12)
    for line in lines:
        assert line.word == line.finding.word or line.adjusted > 0.1
    assert sum(counts(lines).values()) == len(lines)


def test_two_seeds_are_not_reached():
    arms = {name: arm(name, 1.0, seeds=2) for name in ("FindRec", *TRAINED)}
    place = Place(Here("ml-1m", arms, ROWS, rules=QUICK), "C")
    lines = ledger([place], ["abstract-superior", "rq1-mamba-best-id", "rq1-mixed"])
    assert {line.word for line in lines} == {"not reached"}


def test_alignment_is_described_from_stored_states():
    """Two datasets, one with states: the claim's lines are that dataset's alone, and its numbers
    are those of the measures on the states themselves."""
    rng = np.random.default_rng(0)
    states = {
        f"{when}.{name}": rng.normal(size=(40, 6)).astype(np.float32)
        for when in ("before", "after")
        for name in ("text", "image", "id")
    }
    spec = make_spec("FindRec", dataset="ml-100k", variant="alignment-lambda=0.1")
    spec = spec.model_copy(update={"config": {**spec.config, "iicm_weight": 0.1}})
    run = replace(make_result(spec, 0, draw_above(rng, 60, 1.0)), artefacts={"snapshot": states})
    own = Here("ml-100k", {"FindRec": arm("FindRec", 1.0)}, {}, snapshots=[run], rules=QUICK)
    places = [Place(here(), "C"), Place(own, "C")]
    lines = judge_claims(CLAIMS, load_cells(), places, PLAN)
    for claim in ("abstract-id-aligned", "method-sign-text"):
        found = [line for line in lines if line.claim.id == claim]
        assert {(line.word, line.dataset) for line in found} == {("described", "ml-100k")}
        measured = expected_kernel(states["after.image"], states["after.text"])
        assert f"to {measured.value:.2f} at 0.1" in found[0].finding.said
        assert f"chance {measured.chance:.2f}" in found[0].finding.said
