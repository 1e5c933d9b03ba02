"""Figures: what they are drawn from is right, and the files are fit for print."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.core import builder, split, take_snapshot
from benchmark.data.bundle import load_bundle
from benchmark.data.own import import_dataset
from benchmark.errors import InputError
from benchmark.plan import specs
from benchmark.render.experiment import render
from benchmark.render.figures.alignment import (
    Snapshot,
    States,
    draw_alignment,
    principal_plane,
)
from benchmark.render.figures.architecture import draw_architecture, parts
from benchmark.render.figures.style import FORMATS, METHOD_STYLES, method_style, save, styled
from benchmark.render.selection import NotDrawn, Selection
from benchmark.run import run_seeds
from benchmark.runs.runset import RunSet
from benchmark.runs.store import DamagedRun, Store
from benchmark.settings.registry import get_profile
from findrec.config import FindRecConfig
from findrec.model import FindRec
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
