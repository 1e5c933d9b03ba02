"""Readings of the paper: the page against the map, and the tables and pictures of their arms."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analyse.rules import RULES
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.paper.readings import readings
from benchmark.plan import (
    OWN_MODEL,
    against_base,
    contrasts_of,
    experiments,
    favourable_reading,
    plan,
    specs,
)
from benchmark.render.document import percent
from benchmark.render.experiment import render
from benchmark.render.figures.specifications import SWITCHES, draw_specifications, order
from benchmark.render.figures.style import FORMATS, styled
from benchmark.render.selection import Selection
from benchmark.render.tables.build import build_table
from benchmark.render.tables.contrasts import frame_of
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import Settings, get_profile, methods
from tests.benchmark.render.synthetic import fill, scores_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "paper-readings.md"
NAMES = ("readings", "specifications", "four-ways")
PROFILE = get_profile("quick").model_copy(update={"run_on": ("ml-100k",), "seeds": 3})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"))
    fill(store, list(NAMES), PROFILE, seeds=3, users=60)
    return store


def planned(store, name):
    return plan(specs([name], PROFILE), range(3), RunSet(store), as_stored=True)


def lines_of_the_page():
    """(section, first cell, last cell) of every line of every table."""
    section, found = "", []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(("| choice |", "| part |")):
            cells = line.strip().removeprefix("|").removesuffix("|").split("|")
            found.append((section, cells[0].strip(), cells[-1].strip()))
    return found


def test_every_line_of_the_page_is_measured_or_says_why_not():
    assert lines_of_the_page() == [(r.section, r.choice, r.effect) for r in readings()]


def test_every_reading_among_the_variants_is_measured():
    """No variant called a reading is left out, and each arm is compared once."""
    arms = [arm for reading in readings() for arm in reading.arms]
    wanted = {s.variant for s in specs(["readings"], PROFILE)}
    own = {v for v in methods()[OWN_MODEL].variants if v.startswith("reading-")}
    assert own <= wanted
    compared = contrasts_of(experiments()["readings"])
    assert [one.id for one in compared] == list(dict.fromkeys(arms))


def test_each_arm_is_held_against_its_own_base():
    released = "FindRec (released)"
    found = against_base([OWN_MODEL, "FindRec reading-kl", released, f"{released} mamba-fusion"])
    assert [(*one.plus, *one.minus) for one in found] == [
        ("FindRec reading-kl", OWN_MODEL),
        (released, OWN_MODEL),
        (f"{released} mamba-fusion", released),
    ]


def test_the_specifications_are_every_combination_once():
    found = [
        tuple(spec.config[field] for field, _, _ in SWITCHES)
        for spec in specs(["specifications"], PROFILE)
    ]
    wanted = list(product(*(values for _, _, values in SWITCHES)))
    assert len(found) == len(wanted) == 24
    assert set(found) == set(wanted)


def test_effects_are_those_of_the_crossed_bootstrap(store):
    """Against a bootstrap of the two arms alone, read anew: the same draws, so equal to 1e-12."""
    built = build_table("readings", planned(store, "readings"), PROFILE, root=store.root)
    frame = frame_of(built.judged)  # the file has fewer digits
    assert len(pd.read_csv(io.StringIO(built.texts()["contrasts.csv"]))) == len(frame)
    assert len(frame) == len(PROTOCOLS) * len(contrasts_of(experiments()["readings"]))
    assert set(frame["verdict"]) == {"not reached"}, "three seeds carry no verdict"
    by_variant = {s.variant: s for s in specs(["readings"], PROFILE, models=[OWN_MODEL])}
    scores = scores_of(store, [by_variant["reading-kl"], by_variant["base"]], 3)
    for protocol in PROTOCOLS:
        own = [s for s in scores.values if s.protocol == protocol]
        line = frame[(frame["claim"] == "FindRec reading-kl") & (frame["protocol"] == protocol)]
        kl, base = own
        found = scores.contrast({kl: 1, base: -1})
        assert np.log1p(line["difference"].item()) == pytest.approx(found.value, abs=1e-12)
        low, high = np.expm1(found.interval(RULES.alpha))
        assert line["low"].item() == pytest.approx(low, abs=1e-12)
        assert line["high"].item() == pytest.approx(high, abs=1e-12)
    (block,) = [b for b in built.document.blocks if "every line" in b.title]
    row = next(r for r in block.rows if r.label == "KL divergence")
    shown = frame[frame["claim"] == "FindRec reading-kl"].set_index("protocol")["difference"]
    assert [row.entries[1].text, row.entries[3].text] == [percent(shown[p]) for p in PROTOCOLS]
    assert {row.label for row in block.rows} == {reading.choice for reading in readings()}


def test_the_curve_is_sorted_and_its_dots_are_the_switches(store):
    plans = planned(store, "specifications")
    built = build_table("specifications", plans, PROFILE, root=store.root)
    with styled():
        drawn = draw_specifications(built.judged, plans)
    above, below = drawn.axes[0], drawn.axes[len(PROTOCOLS)]
    effects = {c.claim: c.effect for c in built.judged.contrasts if c.protocol == PROTOCOLS[0]}
    names = order(effects)
    assert len(names) == 24
    marks = [line for line in above.lines if line.get_marker() == "o"]
    heights = [line.get_ydata()[0] for line in marks]
    assert heights == sorted(heights)
    configs = {p.key.variant: p.spec.config for p in plans}
    values = [(field, value) for field, _, own in SWITCHES for value in own]
    large = max(line.get_markersize() for line in below.lines)
    on = {
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in below.lines
        if line.get_markersize() == large
    }
    assert on == {
        (at, y)
        for at, name in enumerate(names)
        for y, (field, value) in enumerate(values)
        if configs[name.removeprefix(OWN_MODEL).strip() or "base"][field] == value
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_written(store, tmp_path, name):
    made = render(
        name, planned(store, name), RunSet(store), PROFILE, tmp_path, Selection(seeds=(0, 1, 2))
    )
    assert {path.name for path in made.paths} == {
        f"{name}.{suffix}" for suffix in (*FORMATS, "md", "tex", "csv", "contrasts.csv", "json")
    }


def test_the_reading_that_validation_prefers(store, monkeypatch):
    """While none is chosen it is no row and no copy of the base, and the table says why; once one
    is, it has a row, and where validation prefers the base, the base stands for it."""
    own = methods()[OWN_MODEL].variants
    plans = planned(store, "four-ways")
    assert "favourable" not in {p.key.variant for p in plans}
    built = build_table("four-ways", plans, PROFILE, root=store.root)
    by_name = {one.claim: one for one in built.judged.contrasts}
    assert by_name["FindRec favourable"].note.startswith("not chosen yet: `./reproduce.sh")
    assert any("not chosen yet" in n for b in built.document.blocks for n in b.notes)
    chosen = own["favourable"].model_copy(update={"datasets": {"ml-100k": Settings()}})
    monkeypatch.setitem(own, "favourable", chosen)
    judged = build_table("four-ways", plans, PROFILE, root=store.root).judged
    by_name = {one.claim: one for one in judged.contrasts}
    assert by_name["FindRec favourable"].note == "validation prefers the base itself"
    layer = {"ml-100k": Settings(model={"iicm_kl": 0.01})}
    monkeypatch.setitem(own, "favourable", chosen.model_copy(update={"datasets": layer}))
    assert favourable_reading("ml-100k") == "another"


def test_what_was_not_run_says_so(tmp_path):
    plans = planned(Store(tmp_path), "specifications")
    built = build_table("specifications", plans, PROFILE, root=tmp_path)
    assert {one.word for one in built.judged.contrasts} == {"not reached"}
    with styled():
        drawn = draw_specifications(built.judged, plans)
    assert "23 without runs" in drawn.axes[0].get_title(loc="left")
