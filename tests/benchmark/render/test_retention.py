"""The table and the picture of retention. Synthetic runs; oracles are the stored ranks themselves
and the comparisons of the analysis plan."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmark.analyse.dose import smallest
from benchmark.analyse.retention import STATES, retained_rows
from benchmark.analyse.suppression import CHOICES, suppress, with_penalty
from benchmark.analyse.verify import verify
from benchmark.evaluate.metrics import per_user
from benchmark.plan import experiments, plan, specs
from benchmark.render.document import number, percent
from benchmark.render.experiment import render
from benchmark.render.figures.doses import are_there, draw_doses
from benchmark.render.figures.retention import draw_retention
from benchmark.render.figures.style import FORMATS, styled
from benchmark.render.notes import dataset_note
from benchmark.render.selection import Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.contrasts import arms_of
from benchmark.render.tables.retention import HEADINGS, RECOVERED, dose_text, retained
from benchmark.render.verdict_retention import retention_section
from benchmark.runs.ranks import PENALTIES
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from tests.benchmark.render.synthetic import fill

DATASET = "ml-1m"
METRIC = "NDCG@10"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six seeds of every row of `retention` and `primary` on one dataset."""
    store = Store(tmp_path_factory.mktemp("runs"))
    names = ["retention", "primary"]
    fill(store, names, get_profile("rolling"), seeds=6, users=120, datasets=[DATASET])
    return store


def planned(store, name="retention", **restricted):
    wanted = specs([name], get_profile("rolling"), datasets=[DATASET], **restricted)
    return plan(wanted, range(6), RunSet(store), as_stored=True)


def test_its_rows_are_the_trained_rows_and_the_diagnostic_arms(store):
    keys = [(p.key.model, p.key.variant) for p in planned(store)]
    trained = {"id", "simple", "advanced", "ours"}
    of_table_2 = [
        name for name, m in methods().items() if m.category in trained and not m.by_name_alone
    ]
    assert [model for model, variant in keys if variant == "base"] == [*of_table_2, "Late fusion"]
    assert keys[-3:] == list(experiments()["retention"].arms)
    own = [(p.key.model, p.key.variant) for p in planned(store, models=["FindRec"])]
    assert own == [("FindRec", "base"), ("FindRec", "without-fusion")]


def test_scores_are_those_of_the_stored_ranks(store):
    """Means of the metric over users and seeds; exact but for the order of the sums."""
    plans = planned(store)
    arms = arms_of(plans, reuse_stale=False)[DATASET]
    for row in retained_rows(arms, "FindRec"):
        tests = [run.test for run in arms[row.name].runs]
        kept, left = (
            np.mean([per_user(test, METRIC, masked=masked) for test in tests])
            for masked in (False, True)
        )
        lowered = suppress(arms[row.name].runs)
        expected = dict(zip(STATES, (kept, lowered.values.mean(), left), strict=True))
        assert {s: v.mean for s, v in row.scores.items()} == pytest.approx(expected, rel=1e-12)
        assert row.penalty == lowered.penalty
        assert np.exp(row.retention.value) == pytest.approx(kept / left, rel=1e-12)
        assert row.n_seeds == 6
        assert all(v.low < v.mean < v.high for v in row.scores.values())


def test_the_lead_is_that_of_the_primary_claims(store):
    """With the history kept and left out, P1's and P2's differences and intervals, which another
    path works out; 1e-9 for the order of sums."""
    primary = build_table(
        "primary", planned(store, "primary"), get_profile("rolling"), root=store.root
    )
    rows = {r.name: r for r in retained(planned(store), reuse_stale=False)[DATASET][1]}
    compared = 0
    for best in primary.judged.best:
        for other, effect in zip(best.others, best.result.effects, strict=True):
            found = rows[other].lead[best.protocol]
            assert found.relative == pytest.approx(effect.relative, abs=1e-9)
            compared += 1
    assert compared == 22
    assert rows["FindRec"].lead == {}
    assert set(rows["FindRec without-fusion"].lead) == set(STATES)


def test_the_table_prints_what_was_derived(store):
    built = build_table("retention", planned(store), get_profile("rolling"), root=store.root)
    rows = {r.name: r for r in retained(planned(store), reuse_stale=False)[DATASET][1]}
    scores, leads, *_ = built.document.blocks
    assert [row.label for row in scores.rows] == list(rows)
    entries = {row.label: row.entries for row in scores.rows}["SASRec"]
    own = rows["SASRec"]
    assert entries[0].text == number(own.scores["kept"].mean)
    assert entries[2].text == number(own.scores["with constant"].mean)
    assert entries[3].text == number(own.scores["left out"].mean)
    assert entries[4].text == number(float(np.exp(own.retention.value)), 3)
    (line,) = [row for row in leads.rows if row.label == "SASRec"]
    assert [e.text for e in line.entries[::2]] == [percent(own.lead[s].relative[0]) for s in STATES]
    assert "FindRec" not in {row.label for row in leads.rows}
    assert built.document.notes[0].startswith("Descriptive")
    cells = built.cells.set_index(["row", "column", "metric"])
    kept = cells.loc["SASRec", HEADINGS["kept"], METRIC]
    assert (kept["mean"], kept["ci_low"], kept["n"]) == (
        own.scores["kept"].mean, own.scores["kept"].low, 6,
    )  # fmt: skip


def test_the_table_has_every_constant(store):
    """Scores at each constant from the ranks themselves, and the constant that recovers most."""
    plans = planned(store)
    built = build_table("retention", plans, get_profile("rolling"), root=store.root)
    (doses,) = [b for b in built.document.blocks if "lowered by a constant" in b.title]
    arms = arms_of(plans, reuse_stale=False)[DATASET]
    assert [row.label for row in doses.rows] == list(arms)
    by_name = {row.label: [e.text for e in row.entries] for row in doses.rows}
    tests = [run.test for run in arms["SASRec"].runs]
    means = {c: np.mean([per_user(with_penalty(t, c), METRIC) for t in tests]) for c in CHOICES}
    assert by_name["SASRec"][: len(PENALTIES)] == [number(means[c]) for c in PENALTIES]
    own = {r.name: r for r in retained(plans, reuse_stale=False)[DATASET][1]}["SASRec"]
    recovery = own.response.recovery
    assert recovery.low <= recovery.constant <= recovery.high
    assert recovery.constant == smallest(np.array(list(means.values())))
    assert by_name["SASRec"][-2] == dose_text(recovery.constant)
    cells = built.cells.set_index(["row", "column"])
    line = cells.loc["SASRec", RECOVERED]
    assert (line["mean"], line["ci_low"], line["ci_high"]) == (
        recovery.constant, recovery.low, recovery.high,
    )  # fmt: skip


def test_the_picture_of_doses_has_a_curve_and_a_mark_a_row(store):
    found = retained(planned(store), reuse_stale=False)
    with styled():
        drawn = draw_doses(found, {DATASET: dataset_note(DATASET, get_profile("rolling"), None)})
    curves, constants = drawn.axes
    rows = found[DATASET][1]
    shares = [list(row.response.shares.values())[:-1] for row in rows]
    lines = [line for line in curves.lines if len(line.get_xdata()) == len(PENALTIES) + 1]
    assert [list(line.get_ydata()) for line in lines] == shares
    marks = [line.get_xdata()[0] for line in constants.lines if line.get_marker() == "o"]
    assert marks == [row.response.recovery.constant for row in rows]
    assert [label.get_text() for label in constants.get_yticklabels()] == [r.name for r in rows]


@pytest.mark.parametrize("left_out", ["alone", "as well"])
def test_references_of_rolling_splits_have_no_response(store, left_out):
    """`promote` drops the counts of both splits: leaving the history out, which is always among
    the best on validation, needs none of them."""
    plans = planned(store, models=["SASRec", "FindRec"])

    def runs_of(arm):
        for run in arm.runs:
            counted = np.full_like(run.validation.lowered, run.validation.n_items)
            if left_out == "as well":  # the largest constant takes all of the history
                counted[:, -1] = 0
            yield replace(run, validation=replace(run.validation, lowered=counted))

    whole = {
        name: replace(arm, runs=tuple(runs_of(arm)))
        for name, arm in arms_of(plans, reuse_stale=False)[DATASET].items()
    }
    promoted = {
        name: replace(
            arm,
            runs=tuple(
                replace(
                    run,
                    validation=replace(run.validation, lowered=None),
                    test=replace(run.test, lowered=None),
                )
                for run in arm.runs
            ),
        )
        for name, arm in whole.items()
    }
    expected = {row.name: row for row in retained_rows(whole, "FindRec")}
    found = retained_rows(promoted, "FindRec")
    assert len(found) == len(expected) > 1
    for row in found:
        assert row.response is None
        assert np.isinf(expected[row.name].penalty) == (left_out == "alone")
        scores = dict(expected[row.name].scores)
        if left_out == "as well":
            assert expected[row.name].penalty == PENALTIES[-1]
            scores["with constant"] = scores["left out"]
        assert np.isinf(row.penalty)
        assert row.scores == scores


def test_the_verdicts_section_has_constants_where_lowered_scores_are_stored(store):
    """Committed runs of rolling splits lack them: columns without a number are left out, and what
    stays is the same."""
    arms = arms_of(planned(store), reuse_stale=False)[DATASET]
    promoted = {
        name: replace(
            arm, runs=tuple(replace(run, test=replace(run.test, lowered=None)) for run in arm.runs)
        )
        for name, arm in arms.items()
    }
    whole, without = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
        for lines in (retention_section(arms, "it"), retention_section(promoted, "it"))
    )
    assert RECOVERED in whole[0]
    assert len(without[0]) == 3
    assert without == [cells[:3] for cells in whole]
    assert len(without) == 2 + len(retained_rows(arms, "FindRec"))


def test_the_picture_has_a_line_a_row(store):
    found = retained(planned(store), reuse_stale=False)
    with styled():
        drawn = draw_retention(
            found, {DATASET: dataset_note(DATASET, get_profile("rolling"), None)}
        )
    (panel,) = drawn.axes
    names, rows = found[DATASET]
    assert [label.get_text() for label in panel.get_yticklabels()] == names
    for marker, state in (("o", "kept"), ("D", "with constant"), ("s", "left out")):
        marks = [line for line in panel.lines if line.get_marker() == marker]
        assert [line.get_xdata()[0] for line in marks] == [r.scores[state].mean for r in rows]


def test_smoke_runs_end_to_end(tmp_path):
    """From stored runs to all files; what was written is what the ranks give. A row is missing."""
    store, profile = Store(tmp_path / "runs"), get_profile("smoke")
    made = fill(store, ["retention"], profile, seeds=2, users=60, models=["SASRec", "FindRec"])
    wanted = specs(["retention"], profile, models=["SASRec", "GRU4Rec", "FindRec"])
    plans = plan(wanted, range(2), RunSet(store), as_stored=True)
    assert len(made) < len(plans)
    selection = Selection(seeds=(0, 1))
    shown = render("retention", plans, RunSet(store), profile, tmp_path / "out", selection)
    expected = {f"retention.{suffix}" for suffix in (*FORMATS, "md", "tex", "csv", "json")}
    expected |= {f"retention-doses.{suffix}" for suffix in FORMATS}
    assert {path.name for path in shown.paths} == expected
    built = build_table("retention", plans, profile, root=store.root)
    assert verify(tmp_path / "out" / "tables" / "retention.csv", built.cells) == []
    frame = pd.read_csv(tmp_path / "out" / "tables" / "retention.csv")
    assert "GRU4Rec" not in set(frame["row"])
    assert (tmp_path / "out" / "tables" / "retention.tex").read_text(encoding="utf-8").isascii()
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown.terminal)
    assert "no current run" in console.export_text()
    with styled():
        assert [t.get_text() for t in draw_retention({}, {}).axes[0].texts] == ["no runs"]
    assert not are_there({}), "there is no picture of lowered scores where none are stored"
