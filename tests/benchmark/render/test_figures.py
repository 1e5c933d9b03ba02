"""Figures: what they are drawn from is right, and the files are fit for print."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.core import builder, split, take_snapshot
from benchmark.data.bundle import load_bundle
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
from benchmark.plan import contrasts_of, experiments, plan, specs
from benchmark.render.document import percent
from benchmark.render.experiment import render
from benchmark.render.figures.alignment import (
    Snapshot,
    States,
    draw_alignment,
    principal_plane,
)
from benchmark.render.figures.architecture import draw_architecture, parts
from benchmark.render.figures.curves import draw_learning
from benchmark.render.figures.draw import draw
from benchmark.render.figures.forest import draw_best, label_of
from benchmark.render.figures.labels import spread
from benchmark.render.figures.levels import draw_levels
from benchmark.render.figures.per_user import draw_outcomes, draw_users, scores
from benchmark.render.figures.style import (
    FORMATS,
    METHOD_STYLES,
    QUIET,
    method_style,
    save,
    styled,
)
from benchmark.render.figures.sweeps import draw_all_sweeps, draw_sweep
from benchmark.render.notes import dataset_note
from benchmark.render.selection import NotDrawn, Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.contrasts import judged_of
from benchmark.run import run_seeds
from benchmark.runs.runset import RunSet
from benchmark.runs.store import DamagedRun, Store
from benchmark.settings.registry import get_profile
from findrec.config import FindRecConfig
from findrec.model import FindRec
from tests.benchmark.render.synthetic import fill, synthetic_run
from tests.benchmark.train.synthetic import sequences
from tests.catalogues import catalogue

CONFIG = FindRecConfig(dim=8, align_dim=8, max_length=12, heads=2, experts=3, layers=1)


def states(n=200, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return States(rng.normal(size=(n, width)), rng.normal(1.0, 2.0, size=(n, width)))


@pytest.mark.parametrize("modalities", [("text", "image"), ("text",), ()])
def test_architecture_shows_every_parameter(modalities):
    model = FindRec(CONFIG, catalogue(30, modalities=modalities))
    shown = parts(model)
    assert sum(part.parameters for part in shown) == sum(p.numel() for p in model.parameters())
    drawn = draw_architecture(model, "a dataset")
    texts = [t.get_text() for axes in drawn.subfigs[0].axes for t in axes.texts]
    for part in shown:
        assert part.title in texts


@pytest.mark.parametrize(
    "change",
    [{"feed_forward": True}, {"id_input": "fused"}, {"iicm_align": "id"}, {"fusion": "sum"}],
)
def test_architecture_of_readings(change):
    config = FindRecConfig(dim=8, align_dim=8, heads=2, experts=3, **change)
    model = FindRec(config, catalogue(30))
    drawn = draw_architecture(model, "a dataset")
    texts = [t.get_text() for axes in drawn.subfigs[0].axes for t in axes.texts]
    assert all(part.title in texts for part in parts(model))


def test_principal_plane_of_a_plane():
    """Points on a plane in six dimensions keep their distances, and all their variance."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    flat = rng.normal(size=(50, 2))
    text, image, share = principal_plane(States(flat[:25] @ axes.T, flat[25:] @ axes.T))
    seen = np.concatenate([text, image])
    gaps = [np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (flat, seen)]
    np.testing.assert_allclose(*gaps, atol=1e-12)
    assert share == pytest.approx(1.0, abs=1e-12)


def test_snapshot_of_a_model():
    """Shapes, normalised states, gates that sum to one; items without a modality are left out."""
    _, queries = sequences(items=30)
    seen = take_snapshot(FindRec(CONFIG, catalogue(30)).eval(), queries, "now")
    assert seen["now.text"].shape == seen["now.image"].shape == (len(queries.history), 8)
    np.testing.assert_allclose(seen["now.text"].mean(1), 0, atol=1e-6)  # float32 LayerNorm
    assert seen["now.id"].shape == (len(queries.history), 8)
    np.testing.assert_allclose(seen["now.id"].mean(1), 0, atol=1e-6)
    assert seen["now.gates"].shape == (2, 3)
    np.testing.assert_allclose(seen["now.gates"].sum(1), 1, atol=1e-6)
    some = take_snapshot(FindRec(CONFIG, catalogue(30, missing=0.4)).eval(), queries, "now")
    assert 0 < len(some["now.text"]) < len(seen["now.text"])
    assert len(some["now.id"]) == len(some["now.text"])
    wide = replace(CONFIG, align_dim=12)
    apart = take_snapshot(FindRec(wide, catalogue(30)).eval(), queries, "now")
    aligned = FindRec(replace(wide, iicm_align="id"), catalogue(30)).eval()
    together = take_snapshot(aligned, queries, "now")
    widths = [one["now.id"].shape[1] for one in (apart, together)]
    assert widths == [8, 12]  # its own width; that of the modalities, where IICM projects it
    with pytest.raises(ValueError, match="lacks one"):
        take_snapshot(FindRec(CONFIG, catalogue(30, modalities=("text",))), queries, "now")
    with pytest.raises(InputError, match="has no method `snapshot`"):
        take_snapshot(torch.nn.Linear(2, 2), queries, "now")


def test_methods_differ_in_colour_and_in_grey():
    colours = [style.colour for style in METHOD_STYLES.values()]
    assert len(set(colours)) == len(colours)
    strokes = [(str(style.line), style.marker) for style in METHOD_STYLES.values()]
    assert len(set(strokes)) == len(strokes)
    assert method_style("EASE") == method_style("EASE")


def test_files_are_fit_for_print(tmp_path):
    """Text stays text: no Type 3 fonts in the PDF, <text> in the SVG; equal bytes again."""
    seen = Snapshot(states(seed=1), states(seed=2), np.full((2, 3), 1 / 3), steps=7)
    with styled():
        for folder in ("a", "b"):
            save(draw_alignment(seen, "synthetic states"), tmp_path / folder, "fig")
    files = {suffix: (tmp_path / "a" / f"fig.{suffix}").read_bytes() for suffix in FORMATS}
    assert b"/Type3" not in files["pdf"]
    assert b"synthetic states, before training" in files["svg"]
    for suffix in ("svg", "pdf"):
        assert (tmp_path / "b" / f"fig.{suffix}").read_bytes() == files[suffix]


@pytest.mark.parametrize("highest", [np.inf, 0.8])
def test_spread_is_the_nearest_with_gaps(highest):
    """Against a quadratic programme; what lies far enough apart and low enough stays where it
    is."""
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 9):
        places = rng.uniform(0, 1, count)
        order = np.argsort(places)
        found = minimize(
            lambda moved, places=places: ((moved - places) ** 2).sum(),
            np.sort(places)[np.argsort(order)],
            bounds=[(None, highest)] * count,
            constraints=[
                {"type": "ineq", "fun": lambda y, a=a, b=b: y[b] - y[a] - 0.2}
                for a, b in itertools.pairwise(order)
            ],
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        # the solver stops at 1e-12 of the sum, that is about 1e-6 of a place
        np.testing.assert_allclose(spread(places, 0.2, highest), found.x, atol=1e-5)
    np.testing.assert_array_equal(spread([0.7, 0.1, 0.4], 0.2, highest), [0.7, 0.1, 0.4])


def test_learning_names_the_best_and_greys_the_others(synthetic, profile):
    """With ten other rows, three of them and FindRec are named and coloured."""
    _, planned = synthetic
    spec = next(p.spec for p in planned if p.key.model == "FindRec" and p.key.variant == "base")
    run = synthetic_run(spec, 0, 20).record
    steps = run.curves.validation_steps
    runs = {}
    for at in range(11):
        name = f"row {at}" if at else "FindRec"
        level = [0.01 * (at + 1) * step / steps[-1] for step in steps]
        curves = run.curves.model_copy(update={"validation": level, "validation_left_out": level})
        runs[name] = [run.model_copy(update={"curves": curves})]
    drawn = draw_learning({"beauty": runs}, {"beauty": dataset_note("beauty", profile, None)})
    for panel in drawn.axes:
        texts = [text.get_text() for text in panel.texts]
        assert texts == ["row 10", "row 9", "row 8", "FindRec", "7 others"]
        pale = [line for line in panel.lines if line.get_color() == "#c4c4c4"]
        assert len(pale) == 7


def test_printed_points_have_an_axis_of_their_own(synthetic, profile):
    """Ours and the paper's levels differ by their factor here; neither axis holds the other's."""
    store, planned = synthetic
    own = [p for p in planned if p.key.model == "FindRec" and p.key.variant.startswith("lambda")]
    base = [p for p in planned if p.key.model == "FindRec" and p.key.variant == "base"]
    cells = build_table("table6", own + base, profile, root=store.root).cells
    printed = cells["paper"].notna()
    assert printed.any()
    cells.loc[printed, "paper"] *= 20
    notes = {"beauty": dataset_note("beauty", profile, None)}
    for drawn in (draw_sweep("table6", cells, notes), draw_all_sweeps({"table6": cells}, notes)):
        shown = [panel for panel in drawn.axes if panel.get_visible()]
        tops = [panel.get_ylim()[1] for panel in shown]
        assert max(tops) > 1
        assert all(
            top < 0.5 or low > 0.5
            for (low, _), top in zip((panel.get_ylim() for panel in shown), tops, strict=True)
        )


def test_users_and_outcomes_are_of_the_row_best_on_validation(synthetic, profile):
    """Whatever test ranks say; shares of a bar sum to 1, and rows are sorted by win less loss."""
    _, planned = synthetic
    found = scores(planned, reuse_stale=False)
    own = found["beauty"]
    rivals = {m: s for m, s in own.items() if m != "FindRec" and not s.control}
    best = max(rivals, key=lambda m: rivals[m].validation["kept"])
    other = next(m for m in rivals if m != best)
    flattered = {p: v + 1 for p, v in rivals[other].values.items()}
    found = {"beauty": own | {other: replace(rivals[other], values=flattered)}}
    notes = {"beauty": dataset_note("beauty", profile, None)}
    with styled():
        drawn = draw_users(found, notes)
    assert drawn.axes[0].get_title(loc="left").endswith(f"against {best}")
    widths = [patch.get_width() for patch in drawn.axes[0].patches]
    np.testing.assert_allclose(np.reshape(widths, (-1, 3)).sum(1), 1)
    panel = draw_outcomes(found, notes).axes[0]
    bars = np.reshape([patch.get_width() for patch in panel.patches], (-1, 3))
    trained = len(rivals)
    assert (np.diff((bars[:, 0] - bars[:, 2])[:trained]) >= 0).all()
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels[0] == other  # which wins everywhere now
    assert set(labels[:trained]) == set(rivals)


def test_a_contrast_is_labelled_with_what_it_compares():
    """One label for the two halves of M1, else one for each contrast of an experiment."""
    for experiment in experiments().values():
        contrasts = contrasts_of(experiment)
        places = [(label_of(c), protocol) for c in contrasts for protocol in c.protocols]
        assert len(set(places)) == len(places), experiment.title
    labels = {c.id: label_of(c) for c in contrasts_of(experiments()["four-ways"])}
    assert labels["FindRec reading-b"] == "FindRec reading-b"
    assert labels["FindRec (released)"] == "FindRec (released)"
    labels = {c.id: label_of(c) for c in analysis_plan().contrasts}
    assert labels["M1"] == labels["M1 kept"] == "M1 FindRec / Late fusion"
    assert labels["M2 constant"] == "M2 FindRec / with one constant vector"
    assert labels["M3 late fusion"] == "M3 gain of FindRec / gain of Late fusion"
    assert labels["M4"] == "M4 FindRec / with images permuted"


def test_forest_is_sorted_and_says_the_verdict(tmp_path):
    profile = get_profile("smoke").model_copy(update={"run_on": ("ml-100k",)})
    store = Store(tmp_path)
    models = ("SASRec", "GRU4Rec", "MMMLP", "FindRec")
    planned = fill(store, ["primary"], profile, seeds=6, users=60, models=models)
    notes = {"ml-100k": dataset_note("ml-100k", profile, None)}
    judged = judged_of(planned, notes, best_row=True, reuse_stale=False)
    with styled():
        drawn = draw_best(judged, notes)
    for panel, one in zip(drawn.axes, judged.best, strict=True):
        title = panel.get_title(loc="left")
        assert title.endswith(f"history {one.protocol}. {one.claim}: {one.word}")
        effects = dict(zip(one.others, one.result.effects, strict=True))
        labels = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
        assert set(labels) == set(effects)
        texts = [text.get_text() for text in panel.texts]
        assert texts[: len(labels)] == [percent(effects[name].relative[0]) for name in labels]
        if one is judged.best[0]:
            values = [effects[name].value for name in labels]
            assert values == sorted(values)
    assert drawn.axes[0].get_xlim() == drawn.axes[1].get_xlim()


def test_levels_are_the_tables_cells(synthetic, profile):
    """A point and an interval for each row and protocol, where the CSV has them; rows in the order
    of their means with the history kept; controls are grey; printed numbers are text."""
    store, planned = synthetic
    own = [p for p in planned if p.key.variant == "base"]
    cells = build_table("table2", own, profile, root=store.root).cells
    cells = cells[cells["metric"] == "NDCG@10"]
    with styled():
        drawn = draw_levels(cells, {"beauty": dataset_note("beauty", profile, None)})
    (panel,) = drawn.axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    finished = cells[(cells["protocol"] == "kept") & (cells["n"] > 0)]
    best_first = finished.sort_values("mean", ascending=False)["row"].tolist()
    assert names[: len(best_first)] == best_first
    points = [line for line in panel.lines if len(line.get_xdata()) == 1]
    bars = [line for line in panel.lines if len(line.get_xdata()) == 2]
    assert len(points) == len(bars) == 2 * len(best_first)
    for point, bar in zip(points, bars, strict=True):
        (x,), (y,) = point.get_xdata(), point.get_ydata()
        row = names[round(y)]
        protocol = "kept" if y < round(y) else "left out"
        (cell,) = cells[(cells["row"] == row) & (cells["protocol"] == protocol)].to_dict("records")
        assert x == cell["mean"]
        assert list(bar.get_xdata()) == [cell["ci_low"], cell["ci_high"]]
        assert (point.get_markerfacecolor() == "white") == (protocol == "left out")
        assert (point.get_color() == QUIET) == (row == "Popularity")
    texts = [text.get_text() for text in panel.texts]
    assert texts[names.index("FindRec")] == "0.1027"


def test_curves_and_figure_3(synthetic, profile, tmp_path):
    store, planned = synthetic
    own = [p for p in planned if p.spec.variant == "base" or "=" in p.spec.variant]
    asked = Selection(seeds=(0, 1, 2))
    rendered = render("curves", own, RunSet(store), profile, tmp_path, asked)
    names = {path.stem for path in rendered.paths}
    assert names == {
        "curves",
        *(f"curves-{n}" for n in ("learning", "terms", "users", "cost", "outcomes")),
    }
    experts = [p for p in own if p.spec.model == "FindRec" and "lambda" not in p.spec.variant]
    rendered = render("fig3", experts, RunSet(store), profile, tmp_path, asked)
    assert {p.name for p in rendered.paths} >= {"fig3.csv", "fig3.svg", "fig3.pdf", "fig3.png"}


def test_figure_1_of_beauty_leaves_out_images():
    model = FindRec(FindRecConfig(), load_bundle("beauty").catalogue())
    assert not any("image" in part.path for part in parts(model))
    assert any(part.path == "features.text" for part in parts(model))


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_figures_1_and_2_are_of_the_datasets_asked_for(name, profile, tmp_path):
    both = profile.model_copy(update={"run_on": ("ml-100k",)})
    asked = Selection(seeds=(0,), datasets=("beauty",))
    with pytest.raises(NotDrawn, match="none of the datasets beauty"):
        render(name, [], RunSet(Store(tmp_path)), both, tmp_path, asked)
    with pytest.raises(InputError, match="did you mean 'beauty'"):
        render(
            name,
            [],
            RunSet(Store(tmp_path)),
            both,
            tmp_path,
            Selection(seeds=(0,), datasets=("beuty",)),
        )


@pytest.fixture(scope="module")
def with_both(tmp_path_factory):
    """(folder of bundles, profile): a dataset of random interactions and features, trained for the
    12 steps of `smoke`."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    users, items = np.repeat(np.arange(60), 12), rng.integers(0, 40, 720)
    frame = pd.DataFrame({"user": users, "item": items, "timestamp": np.arange(720)})
    frame.to_csv(folder / "own.csv", index=False)
    pd.DataFrame({"id": np.arange(40)}).to_csv(folder / "items.csv", index=False)
    for modality in ("text", "image"):
        np.save(folder / f"{modality}.npy", rng.normal(size=(40, 6)).astype(np.float32))
    import_dataset(
        "own",
        folder / "own.csv",
        items=folder / "items.csv",
        features={"text": folder / "text.npy", "image": folder / "image.npy"},
        core=None,
        root=folder,
    )
    return folder, get_profile("smoke")


def test_figure_2_is_drawn_from_its_stored_run(tmp_path, with_both):
    """Without the run it says so; with it, results from elsewhere give the same picture, and a
    damaged snapshot none. The states before training are those of the seed's first model."""
    data, profile = with_both
    here = Selection(seeds=(0, 1), datasets=("own",), data=data)
    elsewhere = here.model_copy(update={"source": tmp_path / "runs"})
    store = Store(tmp_path / "runs")

    def drawn(selection):
        runs = RunSet(store)
        as_stored = selection.source is not None
        planned = selection.planned(["fig2"], profile, runs, as_stored=as_stored)
        render("fig2", planned, runs, profile, tmp_path, selection)
        return (tmp_path / "figures" / "fig2.svg").read_bytes()

    for selection in (here, elsewhere):
        with pytest.raises(NotDrawn, match="holds no finished run of FindRec"):
            drawn(selection)
    assert not (tmp_path / "figures").exists()
    (spec,) = specs(["fig2"], profile, datasets=["own"], data=data)
    (record,) = run_seeds(spec, [0], store, data=data)
    assert record.status == "ok", record.message
    assert drawn(here) == drawn(elsewhere)

    arrays = store.read(spec.key, 0).artefacts["snapshot"]
    bundle = load_bundle("own", root=data)
    torch.manual_seed(0)
    model = builder(spec, bundle.catalogue())().eval()
    queries = split(bundle, spec.protocol).validation
    expected = take_snapshot(model, queries, "before")
    names = itertools.product(("before", "after"), ("text", "image", "id", "gates"))
    assert set(arrays) == set(map(".".join, names))
    for name, values in expected.items():
        np.testing.assert_array_equal(arrays[name], values)
    assert not np.array_equal(arrays["after.text"], arrays["before.text"])

    file = store.path(spec.key, 0).with_suffix(".snapshot.npz")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedRun, match=r"seed-0\.snapshot\.npz: its SHA-256"):
        store.read(spec.key, 0)
    with pytest.raises(NotDrawn, match="holds no finished run of FindRec"):
        drawn(elsewhere)


def test_only_a_dataset_with_both_modalities_gets_a_snapshot(with_both):
    data, profile = with_both
    for datasets, found in ((["beauty"], []), (["beauty", "own", "ml-100k"], ["own"])):
        planned = specs(["fig2"], profile, datasets=datasets, data=data)
        assert [spec.dataset for spec in planned] == found


def test_a_dataset_without_runs_has_no_panel(tmp_path, monkeypatch):
    """What shows the picture names it; where no dataset has any, the picture says so."""
    seen = []
    monkeypatch.setattr("benchmark.render.figures.draw.save", lambda *_: [])
    monkeypatch.setattr(
        "benchmark.render.figures.draw.levels.draw_levels", lambda _, notes: seen.append([*notes])
    )
    profile, store = get_profile("smoke"), Store(tmp_path)
    fill(store, ["table2"], profile, datasets=["beauty"], models=["SASRec"], seeds=1, users=40)
    wanted = specs(["table2"], profile, datasets=["ml-100k", "beauty"], models=["SASRec"])
    for root in (tmp_path, tmp_path / "none"):
        runs = RunSet(Store(root))
        planned = plan(wanted, [0], runs, as_stored=True)
        selection = Selection(seeds=(0,))
        draw("table2", planned, runs, profile, tmp_path, selection, pd.DataFrame())
    assert seen == [["beauty"], ["ml-100k", "beauty"]]
