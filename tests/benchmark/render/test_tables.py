"""Tables: what a cell says, what marks it gets, and that every text is a function of the runs.

The runs are synthetic (see synthetic.py).
"""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.analyse.alignment import cka
from benchmark.analyse.cells import COLUMNS
from benchmark.analyse.comparisons import NAMES
from benchmark.analyse.rules import RULES
from benchmark.data.bundle import load_bundle
from benchmark.data.meta import meta_bytes
from benchmark.errors import InputError
from benchmark.paper import load_cells
from benchmark.plan import experiments, plan, specs
from benchmark.render.document import change, count, number, percent, signed, size
from benchmark.render.experiment import render
from benchmark.render.notes import dataset_note
from benchmark.render.selection import Selection, read_selection
from benchmark.render.tables.build import TABLES, build_table
from benchmark.render.tables.definitions import SWEEPS
from benchmark.render.tables.latex import to_latex
from benchmark.render.tables.writers import to_markdown, to_terminal
from benchmark.runs.identity import hashes
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from tests.benchmark.render.synthetic import QUALITY, fill, synthetic_run
from tests.benchmark.results import delete_run, failed_result

MODELS = ("SASRec", "MMMLP", "FindRec", "Popularity")


def planned(store, profile, name="table2", seeds=3, models=MODELS):
    return plan(specs([name], profile, models=models), range(seeds), RunSet(store), as_stored=True)


def test_a_reading_or_an_arm_is_no_row_even_if_it_is_named(tmp_path, profile, monkeypatch):
    """However good: neither shown nor compared in Table 2. Among the feature controls it stands by
    itself."""
    others = ("FindRec (released)", "Late fusion")
    for name in others:
        monkeypatch.setitem(QUALITY, name, 3.0)
    store = Store(tmp_path)
    named = fill(store, ["table2"], profile, users=60, models=(*MODELS, *others))
    assert {p.key.model for p in named} == {*MODELS, *others}
    table, plain = (
        build_table("table2", rows, profile, root=store.root)
        for rows in (named, planned(store, profile))
    )
    assert table.document.blocks[:-1] == plain.document.blocks[:-1]  # the last lists runs
    assert table.cells.equals(plain.cells)
    alone = planned(store, profile, "controls", models=("Late fusion",))
    rows = build_table("controls", alone, profile, root=store.root).document.blocks[0].rows
    assert rows[0].heading == "Late fusion"


def entries(table, label, block=0):
    """Of a row; block 0 has NDCG@10 with the history kept and left out, 1 and 2 all metrics with it
    kept, and left out."""
    (row,) = [l for l in table.document.blocks[block].rows if l.label == label]
    return row.entries


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.08434999, "0.0843"), (0.0, "0.0000"), (-0.00001, "0.0000"), (-0.5, "−0.5000")],
)
def test_number(value, text):
    assert number(value) == text


def test_number_is_a_function_of_the_csv():
    """The CSV holds six digits; what is rounded for print is what stands there."""
    assert number(0.0843500001) == number(float(f"{0.0843500001:.6g}"))


def test_formats_of_missing_and_signs():
    assert number(math.nan) == percent(math.nan) == change(1.0, math.nan) == ""
    assert change(0.11, 0.1) == "+10.0\u00a0%"
    assert change(0.09, 0.1) == "−10.0\u00a0%"
    assert change(0.1, 0.0) == ""
    assert signed("-0.0") == "0.0"
    assert count(60276) == "60\u2009276"


def test_cells_show_ours_beside_the_printed(synthetic, profile):
    store, _ = synthetic
    table = build_table("table2", planned(store, profile), profile, root=store.root)
    entry = entries(table, "SASRec")[0]
    assert entry == entries(table, "SASRec", 1)[1]
    own = table.cells.query("row == 'SASRec' and metric == 'NDCG@10'").set_index("protocol")
    cell = own.loc["kept"]
    printed = load_cells().query(
        "table == '2' and row == 'SASRec' and dataset == 'beauty' and metric == 'NDCG@10'"
    )
    assert entry.text == f"{cell['mean']:.4f}"
    assert entry.spread == f"{cell['sd']:.4f}"
    assert entry.paper == printed["printed"].item()
    assert entry.difference == percent(cell["mean"] / float(printed["value"].item()) - 1)
    left_out = entries(table, "SASRec")[1]
    assert left_out == entries(table, "SASRec", 2)[1]
    assert left_out.text == f"{own.loc['left out', 'mean']:.4f}"
    assert (left_out.paper, left_out.difference) == ("", ""), "the paper prints one protocol"


def test_every_metric_stands_under_both_protocols(synthetic, profile):
    store, _ = synthetic
    table = build_table("table2", planned(store, profile), profile, root=store.root)
    summary, kept, left_out = table.document.blocks[:3]
    assert summary.headings == ("history kept", "history left out")
    assert kept.headings == left_out.headings == ("NDCG@5", "NDCG@10", "MRR@5", "MRR@10", "HR@10")
    assert (summary.terminal, kept.terminal, left_out.terminal) == (True, False, False)
    metrics = table.cells.groupby(["row", "column", "protocol"])["metric"].agg(list)
    assert set(map(tuple, metrics)) == {kept.headings}


def test_controls_stand_apart(synthetic, profile):
    store, _ = synthetic
    table = build_table("table2", planned(store, profile), profile, root=store.root)
    rows = table.document.blocks[0].rows
    start = next(at for at, row in enumerate(rows) if row.heading.startswith("Controls"))
    controls = rows[start:]
    assert {row.label for row in controls} == {"Popularity"}
    for row in controls:
        for entry in row.entries:
            assert (entry.paper, entry.difference, entry.bold, entry.underline) == (
                "",
                "",
                False,
                False,
            )


def test_three_seeds_carry_no_star(synthetic, profile):
    store, _ = synthetic
    table = build_table("table2", planned(store, profile), profile, root=store.root)
    marks = {
        s for b in table.document.blocks for row in b.rows for e in row.entries for s in e.marks
    }
    assert not marks & {"star", "significant"}
    assert any("Inconclusive (n = 3)" in note for note in table.document.notes)
    models = ("SASRec", "MMMLP", "FindRec")
    best = max(models, key=lambda m: float(entries(table, m)[1].text))
    assert [m for m in models if entries(table, m)[1].bold] == [best]


def test_six_seeds_carry_marks(tmp_path, profile):
    store = Store(tmp_path)
    fill(store, ["table2"], profile, seeds=6, users=400, models=("SASRec", "MMMLP"))
    table = build_table(
        "table2",
        planned(store, profile, seeds=6, models=("SASRec", "MMMLP")),
        profile,
        root=store.root,
    )
    rows = table.numbers.best.query("metric == 'NDCG@10'").set_index(["row", "protocol"])
    for model in ("SASRec", "MMMLP"):
        for at, protocol in enumerate(("kept", "left out")):
            entry, row = entries(table, model)[at], rows.loc[(model, protocol)]
            assert ("star" in entry.marks) == row["paper_star"]
            assert ("significant" in entry.marks) == row["star"]
            assert entry.bold == (row["p_best"] >= 0.05)
    assert not any("Inconclusive" in note for note in table.document.notes)


def test_missing_failed_and_partial(tmp_path, profile):
    store = Store(tmp_path)
    plans = planned(store, profile, models=("SASRec", "Mamba4Rec", "GRU4Rec", "MMMLP"))
    spec = {p.spec.model: p.spec for p in plans if p.spec.variant == "base"}
    for seed in range(3):
        store.write(failed_result(spec["Mamba4Rec"], seed))
        store.write(synthetic_run(spec["GRU4Rec"], seed, 80))
    store.write(synthetic_run(spec["MMMLP"], 0, 80))
    plans = planned(store, profile, models=("SASRec", "Mamba4Rec", "GRU4Rec", "MMMLP"))
    table = build_table("table2", plans, profile, root=Path("runs"))
    assert entries(table, "SASRec")[0].text == "no runs"
    assert entries(table, "Mamba4Rec")[0].text == "failed"
    assert entries(table, "GRU4Rec")[0].marks == ()
    assert entries(table, "MMMLP")[0].marks == ("partial",)
    assert not entries(table, "MMMLP")[0].bold
    assert any("loss is NaN at step 3" in problem for problem in table.document.problems)
    assert str(tmp_path) not in to_markdown(table.document)


def test_convergence_marks_and_qualifies(tmp_path, profile):
    """A mark says what is known of a budget and blocks nothing; a verdict that a row loses is
    qualified where that row was still gaining."""
    store, models = Store(tmp_path), ("SASRec", "Mamba4Rec", "FindRec")
    fill(store, ["table2"], profile, seeds=6, users=4_000, models=models)
    known = {"SASRec": "gaining", "Mamba4Rec": "not shown", "FindRec": "shown"}
    plans = [
        replace(p, spec=p.spec.model_copy(update={"convergence": known[p.key.model]}))
        for p in planned(store, profile, seeds=6, models=models)
    ]
    table = build_table("table2", plans, profile, root=store.root)
    for model, mark in (("SASRec", "gaining"), ("Mamba4Rec", "unshown")):
        assert mark in entries(table, model)[0].marks
    assert not {"gaining", "unshown"} & set(entries(table, "FindRec")[0].marks)
    verdicts = table.numbers.verdicts.query("metric == 'NDCG@10'").set_index(["versus", "protocol"])
    assert set(verdicts.loc["SASRec", "verdict"]) == {"replicated"}
    assert set(verdicts.loc["SASRec", "note"]) == {"SASRec was still gaining at its budget"}
    assert "gaining" not in "".join(verdicts.loc["Mamba4Rec", "note"])
    assert set(table.numbers.best["row"]) == set(models), "no comparison is blocked by a mark"


def test_convergence_that_nobody_established_is_said_once(synthetic, profile):
    store, _ = synthetic
    plans = planned(store, profile)
    table = build_table("table2", plans, profile, root=store.root)
    expected = any(p.spec.convergence == "not established" for p in plans if p.spec.training)
    assert expected == any("Convergence not established" in n for n in table.document.notes)
    said = [
        replace(p, spec=p.spec.model_copy(update={"convergence": "not established"})) for p in plans
    ]
    table = build_table("table2", said, profile, root=store.root)
    assert sum("Convergence not established" in n for n in table.document.notes) == 1
    assert not any(e.marks for b in table.document.blocks for r in b.rows for e in r.entries)


def test_controls_have_a_table_of_their_own(tmp_path, profile):
    """Every multimodal row with its features, with permuted ones and without, under both protocols;
    the differences are those of the crossed bootstrap."""
    store = Store(tmp_path)
    models = ("SASRec", "MMMLP", "FindRec")
    fill(store, ["controls"], profile, seeds=6, users=120, models=models)
    plans = planned(store, profile, "controls", seeds=6, models=models)
    assert {p.key.model for p in plans} == {"MMMLP", "FindRec"}, "SASRec has no features"
    table = build_table("controls", plans, profile, root=store.root)
    assert table.document.title.startswith("Controls. ")
    rows = [(r.heading, r.label) for r in table.document.blocks[0].rows]
    assert rows == [
        ("MMMLP" if model == "MMMLP" else "FindRec", "real features") if at == 0 else ("", label)
        for model in ("MMMLP", "FindRec")
        for at, label in enumerate(("real features", "features permuted", "without features"))
    ]
    assert not any(e.paper for r in table.document.blocks[0].rows for e in r.entries)
    (effects,) = [b for b in table.document.blocks if b.title.startswith("What features add")]
    label = "real features against: FindRec, without features"
    (row,) = [r for r in effects.rows if r.label == label]
    cells = table.cells.query("row == 'FindRec' and metric == 'NDCG@10'")
    cells = cells.set_index(["column", "protocol"])["mean"]
    for at, protocol in enumerate(("kept", "left out")):
        expected = cells["", protocol] / cells["no-features", protocol] - 1
        assert row.entries[2 * at].text == percent(expected)
        assert row.entries[2 * at + 1].text.startswith("[")
    assert set(table.numbers.verdicts["verdict"]) == {""}, "intervals only"


def test_what_history_items_cost(tmp_path, profile):
    """Retention and the three terms of every row, as the numbers have them."""
    store, models = Store(tmp_path), ("SASRec", "MMMLP", "FindRec", "Popularity")
    fill(store, ["table2"], profile, seeds=6, users=300, models=models)
    plans = planned(store, profile, seeds=6, models=models)
    table = build_table("table2", plans, profile, root=store.root)
    (block,) = [b for b in table.document.blocks if b.title.startswith("What history items cost")]
    by_label = {row.label: [entry.text for entry in row.entries] for row in block.rows}
    assert set(by_label) == set(models)
    assert by_label["FindRec"][2:] == by_label["Popularity"][2:] == ["", "", ""]
    (line,) = table.numbers.decompositions.query(
        "metric == 'NDCG@10' and versus == 'SASRec'"
    ).to_dict("records")
    texts = by_label["SASRec"][2:]
    for text, name in zip(texts, ("kept", "left_out", "retention"), strict=True):
        assert text.startswith(percent(math.expm1(line[name])))
    assert by_label["Popularity"][1].startswith("["), "a control has an interval over users"


def test_csv_is_the_long_form(synthetic, profile):
    store, _ = synthetic
    table = build_table("table6", planned(store, profile, "table6"), profile, root=store.root)
    rows = list(csv.DictReader(io.StringIO(table.texts()["csv"])))
    assert tuple(rows[0]) == COLUMNS
    assert {r["table"] for r in rows} == {"6", "6-validation"}
    assert {r["column"] for r in rows} == {"0.0001", "0.001", "0.01", "0.1"}
    names = [tuple(r[c] for c in NAMES) for r in rows]
    assert len(set(names)) == len(names)


def test_sweep_is_chosen_on_validation(synthetic, profile):
    store, _ = synthetic
    table = build_table("fig3", planned(store, profile, "fig3"), profile, root=store.root)
    cells = table.cells.query("metric == 'NDCG@10' and protocol == 'kept'")
    validation = cells[cells["table"] == "fig3-validation"].set_index("column")["mean"]
    test = cells[cells["table"] == "fig3"].set_index("column")["mean"]
    (note, *_) = table.document.blocks[0].notes
    assert f"{SWEEPS['fig3'].label} = {validation.idxmax()}" in note.split(".")[0] + note
    if test.idxmax() != validation.idxmax():
        assert change(test.max(), test[validation.idxmax()]) in note


def test_every_number_of_the_texts_is_in_the_csv(synthetic, profile):
    store, _ = synthetic
    table = build_table("table2", planned(store, profile), profile, root=store.root)
    frame = table.cells
    known = {number(v) for c in ("mean", "sd", "paper") for v in frame[c] if not math.isnan(v)}
    grid = to_markdown(table.document).split("<details>")[0]
    shown = set(re.findall(r"(?<![\d.−+])0\.\d{4}(?!\d)", grid))
    assert shown
    assert shown <= known


def test_texts_are_the_same_every_time(synthetic, profile):
    store, _ = synthetic
    again = [
        build_table("table6", planned(store, profile, "table6"), profile, root=store.root).texts()
        for _ in range(2)
    ]
    assert again[0] == again[1]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory, profile):
    """(table, runs) of the experiment on alignment; the run of lambda 0.1 is missing."""
    both = profile.model_copy(update={"run_on": ("ml-100k",)})
    store = Store(tmp_path_factory.mktemp("aligned"))
    fill(store, ["alignment"], both, users=60)
    plans = planned(store, both, "alignment")
    delete_run(store, next(p.spec for p in plans if p.key.variant.endswith("=0.1")), 0)
    plans = planned(store, both, "alignment")
    runs = [run for p in plans for run in p.results(reuse_stale=False)]
    return build_table("alignment", plans, both, root=store.root), runs


def test_the_table_of_alignment_shows_what_is_measured(aligned):
    """Each cell is the measure of the snapshot's arrays; of the ID stream, which has another width,
    CKA alone."""
    table, runs = aligned
    assert len(runs) == 5
    blocks = table.document.blocks[:-1]
    assert [b.title for b in blocks] == [
        f"MovieLens-100k: {pair} states"
        for pair in ("image and text", "image and id", "text and id")
    ]
    assert [r.heading for r in blocks[0].rows if r.heading] == ["E[K]", "MMD", "CKA"]
    assert [r.heading for r in blocks[1].rows if r.heading] == ["CKA"]
    run = next(r for r in runs if r.record.spec.variant == "alignment-lambda=0.01")
    arrays = run.artefacts["snapshot"]
    row = next(r for r in blocks[1].rows if r.label == "0.01")
    for entry, when in zip(row.entries, ("before", "after"), strict=False):
        found = cka(arrays[f"{when}.image"], arrays[f"{when}.id"])
        assert entry.text == number(found.value, 3)
        assert entry.spread == number((found.high - found.low) / 2, 3)
        (cell,) = table.cells[
            (table.cells["row"] == "λ = 0.01")
            & (table.cells["column"] == f"image-id, {when}")
            & (table.cells["metric"] == "CKA")
        ].to_dict("records")
        assert (cell["mean"], cell["ci_low"], cell["ci_high"]) == (
            found.value,
            found.low,
            found.high,
        )
    missing = next(r for r in blocks[0].rows if r.label == "0.1")
    assert missing.entries[0].text == "no current run"
    assert table.document.problems == ("1 runs are missing.",)
    assert to_latex(table.document).isascii()
    assert max(map(len, console_text(table.document).splitlines())) <= 80


def console_text(document):
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(to_terminal(document))
    return console.export_text()


def test_a_slice_of_users_is_compared_with_nothing(tmp_path):
    smoke = get_profile("smoke").model_copy(update={"run_on": ("beauty",)})
    store = Store(tmp_path)
    fill(store, ["table2"], smoke, seeds=2, users=60, models=("SASRec",))
    table = build_table(
        "table2", planned(store, smoke, seeds=2, models=("SASRec",)), smoke, root=store.root
    )
    assert set(table.cells["grade"]) == {"C"}
    assert entries(table, "SASRec")[0].paper
    assert not entries(table, "SASRec")[0].difference


def test_render_writes_three_files(synthetic, profile, tmp_path):
    store, _ = synthetic
    asked = Selection(seeds=(0, 1, 2), datasets=("beauty",), source=Path("elsewhere"))
    rendered = render(
        "table6", planned(store, profile, "table6"), RunSet(store), profile, tmp_path, asked
    )
    assert [p.relative_to(tmp_path).as_posix() for p in rendered.paths] == [
        "tables/table6.md",
        "tables/table6.csv",
        "tables/table6.tex",
        "tables/table6.json",
    ]
    assert read_selection(tmp_path / "tables" / "table6.json") == asked
    assert rendered.terminal is not None
    assert all(path.read_text(encoding="utf-8") for path in rendered.paths)


def test_a_terminal_of_80_columns_cuts_no_number(synthetic, profile):
    store, _ = synthetic
    build = build_table("table2", planned(store, profile, "table2"), profile, root=store.root)
    document = build.document
    text = console_text(document)
    shown = [block for block in document.blocks if block.terminal]
    spreads = [e.spread for b in shown for row in b.rows for e in row.entries if e.spread]
    assert spreads
    assert all(f"±{spread.removeprefix('0')}" in text for spread in spreads)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    line = next(line for line in text.splitlines() if line.startswith("SASRec"))
    kept, left_out = entries(build, "SASRec")
    for part in (kept.text, kept.paper, kept.difference, left_out.text):
        assert part in line, "everything of a row stands in one line"


def test_unknown_name(synthetic, profile, tmp_path):
    store, _ = synthetic
    with pytest.raises(InputError, match="table2"):
        render("tabel2", [], RunSet(store), profile, tmp_path, Selection(seeds=(0,)))


def test_every_experiment_is_drawn():
    from benchmark.render.figures.draw import FIGURES

    assert set(experiments()) == {*TABLES, *FIGURES}


def test_counts_of_beauty(profile):
    """Table 1 to the digit once decoded, Table 4 in part (shipped data, built on first use)."""
    first = build_table("table1", [], profile, root=Path("runs"))
    agrees = [row.entries[-1].text for row in first.document.blocks[0].rows]
    assert agrees == ["yes"] * 5
    fourth = build_table("table4", [], profile, root=Path("runs"))
    verdicts = {
        row.label: [entry.difference for entry in row.entries]
        for row in fourth.document.blocks[0].rows
    }
    assert list(verdicts) == [*(b.label for b in RULES.buckets), "Total"]
    assert verdicts["10-30"][:3] == ["padded", "padded", "agrees"]
    assert verdicts["5-10"][0] == "−410"


def test_a_setting_without_effect_is_not_chosen(tmp_path, profile):
    """Where nothing is learned from what it changes, all its values rank alike."""
    store = Store(tmp_path)
    plans = planned(store, profile, "table9")
    base = next(p.spec for p in plans if p.spec.variant == "base")
    for p in plans:
        for seed in p.states:
            run = synthetic_run(base, seed, 60)
            record = run.record.model_copy(update={"spec": p.spec})
            store.write(type(run)(record, run.validation, run.test, run.length))
    plans = planned(store, profile, "table9")
    table = build_table("table9", plans, profile, root=store.root)
    assert table.document.blocks[0].notes[0].startswith("Every setting gives the same numbers")
    assert table.document.blocks[0].notes[1].startswith("Every setting gives the same numbers")


def test_what_cannot_act_has_no_number_and_a_reason(synthetic, profile):
    """Beauty has texts alone: lambda weighs nothing, and its values are not run."""
    store, _ = synthetic
    table = build_table("table6", planned(store, profile, "table6"), profile, root=store.root)
    cells = table.cells[table.cells["table"] == "6"]
    assert {*cells["status"]} == {"ok", "idle"}
    assert set(cells.loc[cells["status"] == "idle", "n"]) == {0}
    shown = {entry.text for row in table.document.blocks[0].rows for entry in row.entries}
    assert "does not act" in shown
    assert any("not testable here" in note for note in table.document.blocks[0].notes)
    assert not any("missing" in problem for problem in table.document.problems)


def test_stale_runs_are_shown_only_when_asked(synthetic, profile):
    """Synthetic runs carry made-up hashes: stale, to a plan that does not take them as they are."""
    store, _ = synthetic
    models = ("SASRec", "MMMLP")
    plans = plan(specs(["table2"], profile, models=models), range(3), RunSet(store))
    assert {state for p in plans for state in p.states.values()} == {"stale"}
    table = build_table("table2", plans, profile, root=Path("runs"))
    assert (set(table.cells["status"]), table.cells["n"].sum()) == ({"stale"}, 0)
    assert table.numbers.best.empty
    assert entries(table, "SASRec")[0].text == "no current run"
    assert set(table.shown.values()) == {()}
    assert not table.document.blocks[-1].rows
    reused = build_table("table2", plans, profile, root=Path("runs"), reuse_stale=True)
    assert set(reused.cells["status"]) == {"stale"}
    assert entries(reused, "SASRec")[0].marks[-1] == "stale"
    assert len(reused.document.blocks[-1].rows) == len(plans)


def test_some_stale_seeds_leave_a_partial_cell(tmp_path, profile):
    store = Store(tmp_path)
    plans = plan(specs(["table2"], profile, models=("SASRec",)), range(3), RunSet(store))
    current = hashes(plans[0].spec, load_bundle("beauty").meta.data_hash)
    for seed in range(3):
        run = synthetic_run(plans[0].spec, seed, 60)
        own = run.record.model_copy(update={"hashes": current} if seed else {})
        store.write(type(run)(own, run.validation, run.test, run.length))
    plans = plan([plans[0].spec], range(3), RunSet(store))
    assert plans[0].states == {0: "stale", 1: "complete", 2: "complete"}
    table = build_table("table2", plans, profile, root=Path("runs"))
    assert set(table.cells["n"]) == {2}
    assert entries(table, "SASRec")[0].marks == ("gaining", "partial")
    assert [run.record.seed for run in table.shown[plans[0].key]] == [1, 2]


@pytest.mark.parametrize("name", ["table1", "table4"])
def test_counts_of_the_datasets_asked_for(profile, name):
    both = profile.model_copy(update={"run_on": ("ml-100k", "microlens")})
    table = build_table(name, [], both, root=Path("runs"), datasets=["beauty"])
    assert set(table.cells["dataset"]) == {"beauty"}
    with pytest.raises(InputError, match="did you mean 'beauty'"):
        build_table(name, [], profile, root=Path("runs"), datasets=["beuty"])


def test_features_are_the_bundle_s(tmp_path, profile):
    """Before the bundle is built those that are shipped, and none that the configuration only
    names; then what the bundle holds."""
    assert dataset_note("microlens-50k", profile, tmp_path).encoders == {}
    assert dataset_note("ml-100k", profile, tmp_path).encoders == {
        "text": "minilm",
        "image": "efficientnet-lite0",
    }
    assert dataset_note("beauty", profile, tmp_path).encoders == {"text": "minilm"}
    meta = load_bundle("beauty").meta
    (tmp_path / "beauty").mkdir()
    built = tmp_path / "beauty" / "bundle.json"
    own = meta.model_copy(update={"encoders": {"text": None, "image": "own.npy"}})
    built.write_bytes(meta_bytes(own))
    assert dataset_note("beauty", profile, tmp_path).encoders == {"image": "own.npy"}
    built.write_text("{}")
    with pytest.raises(InputError, match=r"bundle\.json: damaged"):
        dataset_note("beauty", profile, tmp_path)


def test_peak_memory_stands_under_table_2(tmp_path, profile):
    store = Store(tmp_path)
    plans = planned(store, profile, models=("SASRec", "Popularity"))
    for p in plans:
        for seed in p.states:
            run = synthetic_run(p.spec, seed, 60)
            peak = (300 + seed) * 2**20 if p.spec.model == "SASRec" else None
            record = run.record.model_copy(update={"peak_memory": peak})
            store.write(type(run)(record, run.validation, run.test, run.length))
    plans = planned(store, profile, models=("SASRec", "Popularity"))
    table = build_table("table2", plans, profile, root=Path("runs"))
    block = table.document.blocks[-1]
    at = block.headings.index("peak memory")
    assert {row.label: row.entries[at].text for row in block.rows} == {
        "SASRec": "302 MiB",
        "Popularity": "",
    }
    assert size(3 * 2**29) == "1.5 GiB"


def test_a_selection_that_is_missing_or_damaged_says_so(tmp_path):
    for text in (None, "{}", "no json"):
        if text is not None:
            (tmp_path / "table2.json").write_text(text)
        with pytest.raises(InputError, match=r"table2\.json.*render the table again"):
            read_selection(tmp_path / "table2.json")


def test_what_one_selection_shows_of_another():
    """Rows, datasets and seeds; what is not named is everything, readings apart."""
    profile = get_profile("quick")
    some = Selection(datasets=profile.run_on[:1], models=("SASRec", "NOVA"), seeds=(0, 1))
    whole = Selection(seeds=(0, 1, 2))
    assert some.covers(some, profile)
    assert whole.covers(whole, profile)
    assert whole.covers(some, profile)
    assert not some.covers(whole, profile)
    assert some.covers(some.model_copy(update={"models": ("NOVA",)}), profile)
    for less in ({"models": ("NOVA",)}, {"seeds": (0,)}, {"seeds": (1, 2)}, {"datasets": ("x",)}):
        assert not some.model_copy(update=less).covers(some, profile), less
    assert not whole.covers(Selection(models=("FindRec (released)",), seeds=(0,)), profile)
    assert Selection(models=tuple(methods()), seeds=(0, 1, 2)).covers(whole, profile)
