"""Variants side by side: on validation alone, and no trial of any search."""

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.analyse.bootstrap import CrossedBootstrap
from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.evaluate.metrics import PROTOCOLS, per_user
from benchmark.run import run_seeds
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from benchmark.tune.grid import read_tuning
from benchmark.tune.trials import stored_trials
from benchmark.tune.variants import side_by_side, variant_trial
from tests.benchmark.results import draw_above, make_ranks, make_record, make_spec

SMOKE, RULES = get_profile("smoke"), read_tuning()


def test_a_trial_of_a_variant_is_ranked_on_validation_and_is_no_trial_of_a_search(tmp_path):
    spec = variant_trial("SMLP4Rec", "beauty", SMOKE, "layers=4", RULES)
    assert (spec.config["layers"], spec.variant) == (4, "trial [layers=4]")
    store = Store(tmp_path)
    (record,) = run_seeds(spec, [RULES.seeds[0]], store)
    assert record.status == "ok", record.message
    result = store.read(spec.key, RULES.seeds[0])
    assert result.test is None
    assert len(result.validation) == 2 * SMOKE.max_users
    (row,) = stored_trials(
        [("beauty", "SMLP4Rec")],
        SMOKE,
        RULES,
        RunSet(store),
        data=None,
        reuse_stale=False,
        as_stored=True,
    )
    assert not row.stored


def test_a_variant_in_capitals_is_the_same_trial():
    """Its key and its file go by the name that stands in the configs."""
    one, other = (variant_trial("SASRec", "beauty", SMOKE, v, RULES) for v in ("wide", "WIDE"))
    assert one == other


def test_a_dataset_that_is_not_tuned_has_no_trials():
    with pytest.raises(InputError, match="microlens"):
        variant_trial("SASRec", "microlens", SMOKE, "base", RULES)


def test_differences_are_the_bootstraps():
    rng = np.random.default_rng(0)
    length = np.full(300, 9, np.int32)

    def trials(quality):
        return [
            RunResult(
                make_record(make_spec(protocol={"trial": True}), seed),
                make_ranks(draw_above(rng, 300, quality)),
                None,
                length,
            )
            for seed in RULES.seeds
        ]

    runs = {"base": trials(1.0), "deep": trials(3.0), "failed": []}
    found = side_by_side(runs)
    assert [(line.name, line.protocol) for line in found] == [
        ("base", "kept"),
        ("base", "left out"),
        ("deep", "kept"),
        ("deep", "left out"),
    ]
    values = {
        name: np.stack([per_user(run.validation, "NDCG@10") for run in runs[name]], axis=1)
        for name in ("base", "deep")
    }
    assert found[2].mean == pytest.approx(values["deep"].mean(), rel=1e-12)
    for line in side_by_side({"base": [], "layers=4": trials(1.0), "layers=8": trials(3.0)}):
        assert np.isnan(line.difference)  # there is nothing to hold them against
    assert np.isnan(found[0].difference)
    expected = CrossedBootstrap(values).compare("deep", "base")
    assert found[2].difference == pytest.approx(expected.difference, rel=1e-12)
    # the draws of seeds are named after other scores here, so the ends agree to their noise
    assert found[2].low == pytest.approx(expected.low, abs=0.05)
    assert found[2].low > 0


def test_several_rows_are_held_against_the_first_variant_by_variant(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.cli.options.RUNS", tmp_path)
    asked = ["--models", "Popularity,EASE", "--variants", "base", "--datasets", "beauty"]
    done = CliRunner().invoke(app, ["trial", "--profile", "smoke", *asked])
    assert done.exit_code == 0, done.output
    titles = ("Popularity on beauty", "EASE on beauty", "base on beauty")
    assert [title in done.output for title in titles] == [True] * 3, done.output
    compared = done.output[done.output.index("base on beauty") :]
    assert "against Popularity" in compared
    assert compared.count("EASE") == compared.count("%") == len(PROTOCOLS)


def test_so_many_of_the_trial_seeds_are_run_as_are_asked_for(tmp_path, monkeypatch):
    """Those that are there already take part; more than there are is refused."""
    monkeypatch.setattr("benchmark.cli.options.RUNS", tmp_path)
    asked = ["trial", "--models", "Popularity", "--variants", "base", "--datasets", "beauty"]
    asked += ["--profile", "smoke", "--seeds"]
    done = CliRunner().invoke(app, [*asked, "1"])
    assert done.exit_code == 0, done.output
    stored = [run.record.seed for run in Store(tmp_path).scan()]
    assert stored == list(RULES.seeds[:1])
    with pytest.raises(InputError, match="--seeds 4: there are 3 trial seeds"):
        CliRunner().invoke(app, [*asked, "4"], catch_exceptions=False)
