"""The report's first table and its picker: whom FindRec is compared with, what is said of it, and
that every number is the one of `benchmark.analyse`. Synthetic runs."""

import json
import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from benchmark.analyse.bootstrap import Score
from benchmark.analyse.decomposition import decompose_scores
from benchmark.analyse.outcomes import user_outcomes
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.plan import plan, spec_of
from benchmark.render.document import number, percent
from benchmark.render.notes import dataset_note
from benchmark.render.report.answer import answer
from benchmark.render.report.page import write_report
from benchmark.render.report.pairs import FIELDS, METRICS, pairs_of_dataset
from benchmark.render.tables.build import build_table
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import scores_of, synthetic_run
from tests.benchmark.results import draw_above, make_result

SIX_DIGITS = 5e-6
"""What rounding to six significant digits costs at most, relative."""


def near(expected):
    return pytest.approx(expected, rel=SIX_DIGITS, nan_ok=True)


@pytest.fixture(scope="module")
def index(tmp_path_factory, synthetic, profile):
    store, _ = synthetic
    path = write_report(profile, tmp_path_factory.mktemp("results"), RunSet(store), as_stored=True)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stored_pairs(index):
    found = re.search(r'id="pairs-data">(.*?)</script>', index, re.S)
    return json.loads(found[1].replace("<\\/", "</"))


def test_every_pair_is_the_analysis(stored_pairs, synthetic):
    """Each value of each pair in each metric, from the ranks again."""
    store, planned = synthetic
    data = stored_pairs["datasets"]["beauty"]
    specs = {p.key.model: p.spec for p in planned if p.key.variant == "base"}
    rows = [specs[row["name"]] for row in data["rows"]]
    assert [row["name"] for row in data["rows"]] == ["SASRec", "MMMLP", "FindRec", "Popularity"]
    assert stored_pairs["fields"] == list(FIELDS)
    for metric in METRICS:
        scores = scores_of(store, rows, 3, metric)
        pairs = data["pairs"][metric]
        assert len(pairs) == 6
        for (a, b), stored in zip(combinations(rows, 2), pairs, strict=True):
            found = {f: np.nan if x is None else x for f, x in zip(FIELDS, stored, strict=False)}
            terms = decompose_scores(scores, str(a.key), str(b.key), metric)
            for name, term in (
                ("kept", terms.kept),
                ("left_out", terms.left_out),
                ("price", terms.retention),
            ):
                ends = [found[name + end] for end in ("", "_low", "_high")]
                assert ends == near([term.value, term.low, term.high])
            assert stored[len(FIELDS) :] == ([terms.note] if terms.note else [])
            assert found["kept"] == pytest.approx(found["left_out"] + found["price"], abs=1e-5)
            for protocol in PROTOCOLS:
                of_a, of_b = (Score(str(s.key), metric, protocol) for s in (a, b))
                result = scores.compare(of_a, of_b)
                name = protocol.replace(" ", "_")
                assert found[f"detectable_{name}"] == near(result.smallest_detectable)
                assert np.expm1(found[name]) == pytest.approx(result.difference, rel=1e-5)
                shares = user_outcomes(scores.values[of_a], scores.values[of_b])
                for outcome in ("win", "tie", "loss"):
                    share = getattr(shares, outcome)
                    users = [found[f"{outcome}_{name}{end}"] for end in ("", "_low", "_high")]
                    expected = [120 * x for x in (share.value, share.low, share.high)]
                    assert users == pytest.approx(expected, abs=1e-9)


def test_verdicts_are_of_the_comparisons_that_were_fixed(stored_pairs):
    """FindRec against every trained row; three seeds carry none."""
    verdicts = stored_pairs["datasets"]["beauty"]["verdicts"]
    assert set(verdicts) == {"FindRec|SASRec", "FindRec|MMMLP"}
    for said in verdicts.values():
        assert set(said) == set(PROTOCOLS)
        assert set(said.values()) == {"no verdict: n = 3 seeds; a verdict needs 6"}


def test_rows_without_runs_are_not_offered(stored_pairs, index):
    assert stored_pairs["datasets"]["beauty"]["first"] == 2
    assert "NOVA" not in {row["name"] for row in stored_pairs["datasets"]["beauty"]["rows"]}
    assert '<option value="beauty">' in index


def test_every_number_of_the_first_page_has_its_runs(index):
    known = json.loads(re.search(r'id="provenance-data">(.*?)</script>', index, re.S)[1])
    asked = re.findall(r'data-cell="([^"]*)"', index)
    assert len(asked) == 14  # under two protocols: four rows with runs, three of the first table
    assert set(asked) <= set(known["cells"])
    assert {name.split("|")[0] for name in known["cells"]} == {"2"}
    assert {c["spec"] for c in known["cells"].values()} == set(known["specs"])
    convergence = {
        c["convergence"] for n, c in known["specs"].items() if n.startswith("Popularity")
    }
    assert convergence == {""}  # nothing is trained


# ---- the first table -----------------------------------------------------------------------------

USERS = 400
ROWS = ("SASRec", "NOVA", "FindRec", "Popularity", "EASE")


def built(store, profile, rows=ROWS, seeds=6):
    wanted = [spec_of(name, "beauty", profile) for name in rows]
    planned = plan(wanted, range(seeds), RunSet(store), as_stored=True)
    return build_table("table2", planned, profile, root=store.root)


def answered(store, profile, **asked):
    note = dataset_note("beauty", profile, None)
    return answer(built(store, profile, **asked), note, profile, 0.025)


@pytest.fixture(scope="module")
def six() -> object:
    return get_profile("quick").model_copy(update={"run_on": ("beauty",), "seeds": 6})


def filled(folder, profile, qualities, missing=()):
    """Runs whose ranks are the same on validation and test and with the history kept or not.
    qualities: row -> of the order of 1, or a pair (validation, test)."""
    store = Store(folder)
    for name, quality in qualities.items():
        on_validation, on_test = quality if isinstance(quality, tuple) else (quality, quality)
        spec = spec_of(name, "beauty", profile)
        for seed in range(1 if spec.protocol.control else 6):
            rng = np.random.default_rng([seed, *name.encode()])
            run = make_result(spec, seed, draw_above(rng, USERS, on_test))
            if on_validation != on_test:
                other = make_result(spec, seed, draw_above(rng, USERS, on_validation))
                run = replace(run, validation=other.validation)
            if (name, seed) not in missing:
                store.write(run)
    return store


def test_the_best_others_are_chosen_on_validation(tmp_path, six):
    """NOVA and EASE are best on test and have no say; the means are the table's."""
    store = filled(
        tmp_path,
        six,
        {"SASRec": (5, 1), "NOVA": (1, 5), "FindRec": 2, "Popularity": (5, 1), "EASE": (1, 5)},
    )
    found = answered(store, six)
    cells = built(store, six).cells
    for line in found.lines:
        assert (line.own.row, line.other.row, line.control.row) == (
            "FindRec",
            "SASRec",
            "Popularity",
        )
        own = cells[(cells["metric"] == "NDCG@10") & (cells["protocol"] == line.protocol)]
        for standing in (line.own, line.other, line.control):
            mean = own[own["row"] == standing.row]["mean"].item()
            assert standing.mean == number(mean)
    known = [spec_of(name, "beauty", six).convergence for name in ("FindRec", "SASRec")]
    assert found.convergence == f"FindRec {known[0]}; SASRec {known[1]}"
    kept, left_out = found.lines
    assert (kept.paper, kept.paper_gain) == ("0.1027", "+2.5\u00a0%")
    assert (left_out.paper, left_out.paper_gain) == ("", "")


def test_differences_are_those_of_the_bootstrap(tmp_path, six):
    store = filled(tmp_path, six, {"SASRec": 1.2, "FindRec": 1.3, "EASE": 1})
    rows = ("SASRec", "FindRec", "EASE")
    specs = {name: spec_of(name, "beauty", six) for name in rows}
    scores = scores_of(store, list(specs.values()), 6)
    for line in answered(store, six, rows=rows).lines:
        own, other, control = (
            Score(str(specs[n].key), "NDCG@10", line.protocol)
            for n in ("FindRec", "SASRec", "EASE")
        )
        result = scores.compare(own, other)
        assert line.difference == percent(result.difference)
        assert line.interval == f"{percent(result.low)} to {percent(result.high)}"
        assert line.detectable == percent(result.smallest_detectable).lstrip("+")
        against = scores.compare(own, control)
        assert line.from_control == (
            f"{percent(against.difference)} ({percent(against.low)} to {percent(against.high)})"
        )


def test_what_is_decided_is_said(tmp_path, six):
    store = filled(tmp_path, six, {"SASRec": 1, "FindRec": 5, "EASE": 1})
    said = answered(store, six, rows=("SASRec", "FindRec", "EASE")).sentence
    assert said.startswith("Decided: with the history kept FindRec beats SASRec (+")
    assert "; with the history left out FindRec beats SASRec (+" in said
    assert "ot decided" not in said


def test_what_is_not_decided_is_said(tmp_path, six):
    store = filled(tmp_path, six, {"SASRec": 1, "FindRec": 1})
    said = answered(store, six, rows=("SASRec", "FindRec")).sentence
    assert said.startswith(
        "Nothing is decided: with the history kept FindRec and SASRec are not told apart ("
    )
    assert "smallest detectable" in said


def test_no_verdict_below_six_seeds(tmp_path, six):
    store = filled(tmp_path, six, {"SASRec": 1, "FindRec": 5})
    found = answered(store, six, rows=("SASRec", "FindRec"), seeds=3)
    assert found.sentence == (
        "Nothing is decided: a verdict needs 6 seeds, and 3 seeds of a row are there."
    )
    assert found.lines[0].interval  # it is shown all the same


def test_no_verdict_while_rows_lack_seeds(tmp_path, six):
    qualities = {"SASRec": 1, "NOVA": 1, "FindRec": 5}
    store = filled(tmp_path, six, qualities, missing=[("NOVA", 5)])
    said = answered(store, six, rows=tuple(qualities)).sentence
    assert said == "Nothing is decided: 1 row lacks seeds (NOVA)."


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (("SASRec", "EASE"), "FindRec has no finished run there"),
        (("FindRec", "EASE"), "no other row has a finished run there"),
    ],
)
def test_what_is_missing_is_said(tmp_path, six, rows, reason):
    store = filled(tmp_path, six, dict.fromkeys(rows, 1))
    found = answered(store, six, rows=("SASRec", "FindRec", "EASE"))
    assert found.sentence == f"Nothing is decided: {reason}."
    assert all(line.control.row == "EASE" for line in found.lines)


def test_a_slice_of_the_users_decides_nothing(tmp_path):
    profile = get_profile("smoke")
    store = filled(tmp_path, profile, {"SASRec": 1, "FindRec": 5})
    table = built(store, profile, rows=("SASRec", "FindRec"))
    note = dataset_note("beauty", profile, None)
    found = answer(table, note, profile, None)
    assert found.sentence == (
        "Nothing is decided: only its first 150 users take part, which tests the program alone."
    )
    pairs = pairs_of_dataset(table.numbers, table.cell_specs, note, sliced=True)
    assert set(pairs["verdicts"]["FindRec|SASRec"].values()) == {
        "no verdict: only the first users of the dataset take part"
    }


@pytest.mark.parametrize(
    ("better", "worse", "verb"),
    [("FindRec", "SASRec", "beats"), ("SASRec", "FindRec", "is worse than")],
)
def test_a_verdict_of_its_interval_alone_is_told_from_one_that_stands(
    tmp_path, six, better, worse, verb
):
    """Among many comparisons some intervals leave zero out by chance, and Holm's p says so."""
    store = filled(tmp_path, six, {better: 5, worse: 1})
    table = built(store, six, rows=("SASRec", "FindRec"))
    note = dataset_note("beauty", six, None)

    def said(p):
        numbers = replace(table.numbers, verdicts=table.numbers.verdicts.assign(p_holm=p))
        pairs = pairs_of_dataset(numbers, table.cell_specs, note, sliced=False)
        return pairs["verdicts"]["FindRec|SASRec"]["left out"]

    assert f"FindRec {verb} SASRec (Holm p = 0.049)" in said(0.049)
    assert (
        f"FindRec {verb} SASRec by its own 95 % interval, not once all of the table are counted "
        "(Holm p = 0.050)"
    ) in said(0.05)


def test_a_pair_without_an_interval_says_why(tmp_path, six):
    """A row that finds no target within ten: its mean is zero, and nothing is relative to it."""
    store = Store(tmp_path)
    for name, above in (("SASRec", None), ("FindRec", 400)):
        spec = spec_of(name, "beauty", six)
        for seed in range(6):
            run = synthetic_run(spec, seed, USERS)
            store.write(run if above is None else make_result(spec, seed, np.full(USERS, above)))
    table = built(store, six, rows=("SASRec", "FindRec"))
    note = dataset_note("beauty", six, None)
    pairs = pairs_of_dataset(table.numbers, table.cell_specs, note, sliced=False)
    (pair,) = pairs["pairs"]["NDCG@10"]
    found = dict(zip(FIELDS, pair, strict=False))
    assert found["kept"] is None
    assert found["kept_low"] is None
    assert pair[len(FIELDS) :] == ["a mean is too near zero for a relative difference"]
    said = answered(store, six, rows=("SASRec", "FindRec")).sentence
    assert "a mean is too near zero" in said
