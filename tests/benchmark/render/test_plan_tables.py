"""The tables `primary` and `machinery`: what they show of the plan, and when they say nothing."""

import io

import pandas as pd
import pytest
from rich.console import Console

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.analyse.verify import verify
from benchmark.plan import plan, specs
from benchmark.render.document import percent
from benchmark.render.experiment import render
from benchmark.render.figures.style import FORMATS
from benchmark.render.selection import Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.contrasts import COLUMNS, compared_rows
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.render.synthetic import fill, synthetic_run

DATASETS = ("ml-1m", "beauty")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six seeds of every arm and row; the seeds are not the plan's, which the tables do not ask."""
    store = Store(tmp_path_factory.mktemp("runs"))
    profile = get_profile("rolling")
    fill(store, ["machinery", "primary"], profile, seeds=6, users=120, datasets=DATASETS)
    return store


def table(store, name, profile="rolling", seeds=6):
    chosen = get_profile(profile)
    planned = plan(
        specs([name], chosen, datasets=DATASETS), range(seeds), RunSet(store), as_stored=True
    )
    return build_table(name, planned, chosen, root=store.root, datasets=DATASETS), planned


def test_every_contrast_stands_under_its_protocols(store):
    built, _ = table(store, "machinery")
    frame = pd.read_csv(io.StringIO(built.texts()["contrasts.csv"]))
    assert tuple(frame.columns) == COLUMNS
    wanted = {
        (contrast.id, dataset, protocol)
        for contrast in analysis_plan().contrasts
        for dataset in DATASETS
        for protocol in contrast.protocols
    }
    assert set(zip(frame["claim"], frame["dataset"], frame["protocol"], strict=True)) == wanted
    assert set(frame.query("claim == 'M4' and dataset == 'beauty'")["verdict"]) == {
        "not testable here"
    }
    assert set(frame["role"]) == {"primary", "replication"}
    first = built.document.blocks[0]
    shown = {row.label: row.entries for row in first.rows}
    own = frame.query("claim == 'M2 constant' and dataset == 'ml-1m' and protocol == 'left out'")
    assert shown["M2 constant"][0].text == percent(own["difference"].item())
    assert shown["M2 constant"][2].text == own["verdict"].item()


def test_primary_compares_with_every_trained_row(store):
    built, planned = table(store, "primary")
    rows = compared_rows(planned)
    assert len(rows) == 11
    assert "Late fusion" not in rows
    frame = pd.read_csv(io.StringIO(built.texts()["contrasts.csv"]))
    for claim in ("P1", "P2"):
        own = frame[(frame["claim"] == claim) & (frame["dataset"] == "ml-1m")]
        assert list(own["minus"]) == rows
        assert own["verdict"].nunique() == own["p_adjusted"].nunique() == 1
        assert (own["upper_simultaneous"] >= own["high"]).all()
    assert set(frame.query("claim == 'M1'")["minus"]) == {"Late fusion"}
    shown = [block for block in built.document.blocks if not block.detail]
    labels = [row.label for block in shown for row in block.rows]
    assert "Late fusion" not in labels, "it is no row of the paper's table"


def test_verdicts_need_six_seeds(store):
    built, _ = table(store, "machinery", seeds=2)
    frame = pd.read_csv(io.StringIO(built.texts()["contrasts.csv"]))
    assert set(frame["verdict"]) == {"not reached", "not testable here"}
    notes = " ".join(note for block in built.document.blocks for note in block.notes)
    assert "no verdict on 2 seeds" in notes


def test_smoke_runs_end_to_end(tmp_path):
    """From stored runs to all files; what was written is what the ranks give."""
    store, profile = Store(tmp_path / "runs"), get_profile("smoke")
    for name in ("machinery", "primary"):
        planned = fill(store, [name], profile, seeds=2, users=60)
        selection = Selection(seeds=(0, 1))
        made = render(name, planned, RunSet(store), profile, tmp_path / "out", selection)
        assert {path.name for path in made.paths} >= {
            *(f"{name}.{suffix}" for suffix in (*FORMATS, "md", "tex", "csv", "contrasts.csv"))
        }
        built = build_table(name, planned, profile, root=store.root)
        assert verify(tmp_path / "out" / "tables" / f"{name}.csv", built.cells) == []
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(made.terminal)
        assert "not reached" in console.export_text()


def test_seeds_far_apart_are_named_one_by_one(store):
    """The plan's seeds are of the order of 2^30: a range between them would fill the memory."""
    profile = get_profile("rolling")
    seeds = profile.first_seeds()
    wanted = specs(["machinery"], profile, datasets=["ml-1m"])
    for seed in seeds:
        store.write(synthetic_run(wanted[0], seed, 120))
    planned = plan(wanted, seeds, RunSet(store), as_stored=True)
    built = build_table("machinery", planned, profile, root=store.root)
    (line,) = [note for note in built.document.notes if "over 6 seeds" in note]
    assert all(str(seed) in line for seed in seeds)
    assert any("last items of each user are tested, 10" in note for note in built.document.notes)
