"""From tables to specs: shared, deduplicated, restricted, and compared with the store."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmark.cli.console import plan_table
from benchmark.errors import InputError
from benchmark.plan import (
    Experiment,
    experiments,
    plan,
    plan_stored,
    shown_in,
    spec_of,
    specs,
    unfit,
    without_effect,
)
from benchmark.run import run_seeds
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import Timings
from benchmark.runs.spec import Training
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile, methods
from tests.benchmark.results import draw_above, make_result
from tests.catalogues import catalogue
from tests.findrec.test_model import build, states

ABOVE = draw_above(np.random.default_rng(0), 50)
QUICK, PAPER, SMOKE = (get_profile(name) for name in ("quick", "paper", "smoke"))


def test_tables_share_the_base_configuration():
    together = specs(["table5", "table6", "table7", "table9", "fig3"], QUICK, datasets=["ml-100k"])
    names = [spec.variant for spec in together]
    assert names.count("base") == 1
    assert len(names) == len(set(names)) == 1 + 3 + 3 + 3 + 3 + 3


def test_a_swept_value_that_the_base_has_is_the_base():
    """The paper's profile aligns in 512 dimensions, which Table 8 lists too."""
    assert spec_of("FindRec", "beauty", PAPER).config["align_dim"] == 512
    variants = [spec.variant for spec in specs(["table8"], PAPER, datasets=["beauty"])]
    assert variants == ["base", "align_dim=128", "align_dim=256"]


BY_NAME_ALONE = {"FindRec (released)", "Late fusion"}
"""A reading and an arm."""


def test_table_2_has_every_row_but_the_readings_and_the_arms():
    names = {spec.model for spec in specs(["table2"], QUICK, datasets=["beauty"])}
    assert {"FindRec", "SASRec", "MMMLP", "Popularity"} <= names
    assert not names & BY_NAME_ALONE
    asked = specs(["table2"], QUICK, datasets=["beauty"], models=sorted(BY_NAME_ALONE))
    assert {spec.model for spec in asked} == BY_NAME_ALONE


def test_an_experiment_that_names_an_arm_shows_it(monkeypatch):
    named = Experiment(title="", models=("FindRec", "Late fusion"))
    monkeypatch.setitem(experiments(), "trial", named)
    found = [spec.model for spec in specs(["trial"], QUICK, datasets=["beauty"])]
    assert found == ["FindRec", "Late fusion"]


def test_multimodal_rows_bring_their_feature_controls():
    variants = {
        spec.variant for spec in specs(["controls"], QUICK, datasets=["beauty"], models=["FindRec"])
    }
    assert variants == {"base", "permuted-features", "no-features"}


def test_feature_controls_stand_apart_from_table_2():
    rows = specs(["table2"], QUICK, datasets=["beauty"])
    assert {spec.variant for spec in rows} == {"base"}
    with_features = {spec.model for spec in specs(["controls"], QUICK, datasets=["beauty"])}
    assert {"FindRec", "MMMLP", "Content KNN"} <= with_features
    assert not with_features & {"SASRec", "Popularity"}


def test_variants_of_every_row_that_has_them():
    found = specs(["order"], QUICK, datasets=["beauty"])
    assert [(spec.model, spec.variant) for spec in found] == [
        (model, variant)
        for model in ("SASRec", "GRU4Rec", "FindRec")
        for variant in ("base", "shuffled-histories")
    ]
    units = {spec.variant for spec in specs(["diagnose"], QUICK, datasets=["beauty"])}
    assert units == {"base", "split-ratio", "split-ratio-one-list", "leaked"}


def test_one_moment_is_for_datasets_with_times():
    """Beauty's timestamps number each user's items."""
    found = specs(["global-time"], QUICK)
    assert {spec.dataset for spec in found} == {"ml-100k"}
    assert {spec.protocol.split for spec in found} == {"global-time"}
    assert {spec.model for spec in found} == {"SASRec", "FindRec", "Popularity", "Last-item KNN"}
    assert specs(["global-time"], QUICK, datasets=["beauty"]) == []


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="did you mean 'table2'"):
        specs(["tabl2"], QUICK)
    with pytest.raises(InputError, match="did you mean 'SASRec'"):
        specs(["table2"], QUICK, models=["SASRecs"])


def test_every_table_of_the_paper_is_planned():
    assert {f"table{i}" for i in range(1, 10)} | {f"fig{i}" for i in range(1, 4)} <= set(
        experiments()
    )


def test_the_plan_tells_what_is_there_what_is_stale_and_what_is_missing(tmp_path):
    store = Store(tmp_path)
    spec = spec_of("Popularity", "beauty", SMOKE)
    other = spec_of("EASE", "beauty", SMOKE)
    run_seeds(spec, [0], store)
    done, missing = plan([spec, other], [0, 1], RunSet(store))
    assert done.states == {0: "complete"}  # a control has one seed
    assert done.to_run() == []
    assert missing.to_run() == [0]
    changed = spec.with_protocol(max_users=100)
    (stale,) = plan([changed], [0], RunSet(store))
    assert stale.states == {0: "stale"}
    assert stale.to_run() == [0]
    assert stale.to_run(reuse_stale=True) == []
    (taken,) = plan([changed], [0], RunSet(store), as_stored=True)
    assert taken.states == {0: "complete"}


@pytest.mark.parametrize("counting", [True, False])
def test_a_runs_time_is_known_from_finished_ones(tmp_path, counting):
    """From the store's own, else from the committed ones though they be stale or do not count; in
    the ratio of the budgets. A variant without any takes about as long as its row."""
    spec = spec_of("SASRec", "beauty", get_profile("ci"))
    own, committed = Store(tmp_path / "own"), Store(tmp_path / "reference")

    def planned():
        (found,) = plan([spec], [0, 1], RunSet(own, committed, count_references=counting))
        assert found.to_run() == [0, 1]
        return found.seconds

    by_cost = planned()
    training = spec.training.model_dump()
    half, double = (
        spec.model_copy(
            update={"training": Training(**training | {"steps": int(share * training["steps"])})}
        )
        for share in (0.5, 2)
    )
    committed.write(make_result(half, 1, ABOVE, timings=Timings(training=10.0, evaluation=1.0)))
    assert planned() == pytest.approx(22.0) != by_cost
    own.write(make_result(double, 0, ABOVE, timings=Timings(training=8.0)))
    assert planned() == pytest.approx(4.0)
    variant = spec_of("SASRec", "beauty", get_profile("ci"), "long")
    (found,) = plan([variant], [0, 1], RunSet(own, committed, count_references=counting))
    ratio = variant.training.steps / spec.training.steps
    assert found.seconds == pytest.approx(4.0 * ratio)


def test_what_cannot_act_on_a_dataset_is_not_run(tmp_path):
    """Beauty has texts alone here. Rows stay, with the reason, in results from elsewhere, too."""
    runs = RunSet(Store(tmp_path))
    wanted = specs(["table5", "table6"], QUICK, datasets=["beauty", "ml-100k"], models=["FindRec"])
    planned = {(p.key.dataset, p.key.variant): p for p in plan(wanted, [0, 1], runs)}
    for dataset, seeds in (("beauty", []), ("ml-100k", [0, 1])):
        for variant in ("without-iicm", "without-cross-attention", "lambda=0.1"):
            assert planned[dataset, variant].to_run() == seeds
        assert planned[dataset, "without-moe"].to_run() == [0, 1]
    idle = planned["beauty", "without-iicm"]
    assert (idle.states, idle.idle) == ({}, "there is no cross-attention and no alignment")
    stored = plan_stored(["table5"], QUICK, [0], runs, datasets=["beauty"])
    assert [p.key.variant for p in stored if p.idle] == ["without-cross-attention", "without-iicm"]
    base = spec_of("FindRec", "beauty", QUICK)
    runs.store.write(make_result(base, 0, ABOVE))
    swept = plan_stored(["table6"], QUICK, [0], RunSet(runs.store), datasets=["beauty"])
    shown = {p.key.variant: (p.idle != "", p.usable(reuse_stale=False)) for p in swept}
    (snapshot,) = plan_stored(["fig2"], QUICK, [0, 1], runs, datasets=["ml-100k"])
    assert list(snapshot.runs) == [0], "of a snapshot one seed is run, be it stored or not"
    assert shown["base"] == (False, (0,)), "the value that the base has is the base"
    assert shown["lambda=0.1"] == (True, ())


def test_a_dry_run_says_why_a_row_is_not_run(tmp_path):
    """Nothing of it counts as done."""
    wanted = specs(["table5"], QUICK, datasets=["beauty"])
    base, _, idle, acts = plan(wanted, [0, 1], RunSet(Store(tmp_path)))
    shown = Console(width=120, file=io.StringIO())
    shown.print(plan_table([replace(base, problem="damaged"), idle, acts], 1, reuse_stale=False))
    lines = [
        line.split("│")[3:7] for line in shown.file.getvalue().splitlines() if "FindRec" in line
    ]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[0] == ["base", "0", "0", "no data"]
    assert cells[1] == ["without-iicm", "0", "0", "does not act"]
    assert cells[2][:3] == ["without-moe", "0", "2"]


def test_variants_that_are_not_run_change_nothing():
    """The model that each of them builds on texts alone is the base, to the bit."""
    texts = catalogue(modalities=("text",))
    base = build(texts)
    variants = methods()["FindRec"].variants
    idle = {
        name: variants[name].model
        for name in variants
        if without_effect("FindRec", name, "beauty", None)
    }
    assert {"without-iicm", "lambda=0.1", "reading-kl", "permuted-images"} <= set(idle)
    assert not {"without-moe", "heads=2", "layers=1", "no-features"} & set(idle)
    for name, change in idle.items():
        other = build(texts, **change)
        assert other.state_dict().keys() == base.state_dict().keys(), name
        assert torch.equal(states(other, training=True), states(base, training=True)), name
        assert other.aux_loss_weights() == base.aux_loss_weights() == {}, name


def test_feature_controls_have_all_seeds(tmp_path):
    spec = spec_of("FindRec", "beauty", SMOKE, "no-features")
    (planned,) = plan([spec], [0, 1, 2], RunSet(Store(tmp_path)))
    assert list(planned.states) == [0, 1, 2]


def test_what_all_shows_under_a_profile():
    """What needs one test target a user is not for a rolling split, and says so; what trains dozens
    of further arms is made on request alone."""
    rolling = get_profile("rolling")
    assert unfit("diagnose", QUICK) == ""
    assert "up to 10" in unfit("diagnose", rolling)
    assert "diagnose" in shown_in(QUICK)
    for profile in (QUICK, rolling):
        assert not {"readings", "specifications"} & set(shown_in(profile))
        assert {"table2", "four-ways", "controls"} <= set(shown_in(profile))
    assert not {"diagnose"} & set(shown_in(rolling))
