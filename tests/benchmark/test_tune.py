"""Tuning: every row the same trials, chosen on validation, and test targets that nobody sees."""

import dataclasses
import functools
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import benchmark.core
from benchmark.analyse.compare import compare_runs
from benchmark.analyse.regression import check_runs
from benchmark.cli import app
from benchmark.cli.console import LiveTable
from benchmark.errors import InputError
from benchmark.launch.local import Event, Job
from benchmark.plan import plan, spec_of
from benchmark.render.tables.build import build_table
from benchmark.run import run_seeds
from benchmark.runs.identity import config_hash
from benchmark.runs.ranks import Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.store import DamagedRun, Store, promote
from benchmark.settings import registry
from benchmark.settings.registry import Method, get_method, get_profile, methods
from benchmark.settings.resolve import resolve
from benchmark.tune import (
    FILE,
    choices,
    groups,
    log,
    markdown,
    trial_specs,
    tried_pairs,
    tuned,
    tuning,
    write_log,
)
from tests.benchmark.results import draw_above, make_ranks, make_record, make_result, make_spec

SMOKE, QUICK = get_profile("smoke"), get_profile("quick")
GRID = tuning()
LENGTH = np.full(50, 9, np.int32)


def make_trial(spec, above, seed=GRID.seed, **fields):
    """A finished trial made by hand."""
    ranks = make_ranks(above)
    return RunResult(make_record(spec, seed, **fields), ranks, None, LENGTH[: len(above)])


class Sealed:
    """Sequences whose test part cannot be touched."""

    def __init__(self, sequences):
        self._sequences = sequences
        self.train, self.validation = sequences.train, sequences.validation

    @property
    def test(self):
        raise AssertionError("the test targets were looked at")

    def first_users(self, number):
        return Sealed(self._sequences.first_users(number))


@pytest.fixture
def sealed(monkeypatch):
    """Every run of this test gets sequences whose test part raises."""
    split = benchmark.core.hold_out

    @functools.wraps(split)  # else the run would refuse a function of a module that is not hashed
    def sealed_split(*args, **options):
        return Sealed(split(*args, **options))

    monkeypatch.setattr(benchmark.core, "hold_out", sealed_split)


# ---------------------------------------------------------------- the grid


def test_every_row_has_the_same_number_of_trials_on_every_dataset():
    names, left_out = tuned()
    assert {"FindRec", "SASRec", "MMMLP", "UniSRec"} <= set(names)
    controls = {n for n, method in methods().items() if method.category == "control"}
    assert set(left_out) == controls
    datasets = ["ml-100k", "beauty"]
    specs = trial_specs([(d, n) for d in datasets for n in names], QUICK, GRID)
    counts = pd.Series([(spec.dataset, spec.model) for spec in specs]).value_counts()
    assert len(counts) == 2 * len(names)
    assert set(counts) == {GRID.trials}


@pytest.mark.parametrize("name", tuned()[0])
def test_a_trial_differs_from_the_row_in_its_settings_alone(name):
    base = spec_of(name, "beauty", QUICK)
    assert not base.protocol.trial
    specs = trial_specs([("beauty", name)], QUICK, GRID)
    assert len({config_hash(spec) for spec in specs} | {config_hash(base)}) == GRID.trials + 1
    for spec, setting in zip(specs, GRID.settings, strict=True):
        assert spec.protocol.trial
        assert spec.variant == setting.variant
        assert spec.config == base.config | setting.model
        half = {"steps": math.ceil(base.training.steps / 2)}
        assert spec.training.model_dump() == base.training.model_dump() | half | setting.training
        assert spec.protocol == base.protocol.model_copy(update={"trial": True})


def test_trials_have_folders_of_their_own(tmp_path):
    specs = trial_specs([("beauty", "SASRec")], QUICK, GRID)
    paths = {Store(tmp_path).path(spec.key, GRID.seed).parent for spec in specs}
    assert len(paths) == GRID.trials
    assert "trial-lr=0.002-dropout=0.2" in {path.name for path in paths}


def test_no_profile_reports_the_seed_of_the_trials():
    assert all(GRID.seed >= profile.seeds for profile in registry.profiles().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 7}, "trials is 7, but the grid has 4 points"),
        ({"grid": {"training": {"lr": [0.1, 0.1]}}, "trials": 2}, "lr: give at least one value"),
        ({"grid": {"training": {"lr": []}}, "trials": 1}, "lr: give at least one value"),
        ({"grid": {"training": {"rate": [0.1]}}, "trials": 1}, "no setting 'rate'"),
        ({"grid": {"training": {"lr": [0.1]}, "model": {"lr": [0.1]}}, "trials": 1}, "not in both"),
        ({"metric": "NDCG@5"}, "metric"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_by_file(tmp_path, change, message):
    path = tmp_path / "tuning.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(FILE.read_text()) | change))
    with pytest.raises(InputError, match=message) as refused:
        tuning(path)
    assert str(path) in str(refused.value)


def test_a_field_that_a_row_lacks_is_named(tmp_path):
    path = tmp_path / "tuning.yaml"
    path.write_text("trials: 1\nseed: 9\ngrid: {model: {experts: [2]}}\n")
    grid = tuning(path)
    assert trial_specs([("beauty", "FindRec")], QUICK, grid)[0].config["experts"] == 2
    with pytest.raises(InputError, match="'experts', which 'SASRec' does not have"):
        trial_specs([("beauty", "SASRec")], QUICK, grid)


def test_a_value_that_training_refuses_is_named(tmp_path):
    path = tmp_path / "tuning.yaml"
    path.write_text("trials: 1\nseed: 9\ngrid: {training: {lr: [-1.0]}}\n")
    with pytest.raises(InputError, match=r"'SASRec' cannot be tried with lr=-1\.0"):
        trial_specs([("beauty", "SASRec")], QUICK, tuning(path))


# ---------------------------------------------------------------- runs


def test_a_trial_never_touches_the_test_targets(tmp_path, sealed):
    store = Store(tmp_path)
    spec = trial_specs([("beauty", "GRU4Rec")], SMOKE, GRID)[0]
    (record,) = run_seeds(spec, [GRID.seed], store)
    assert record.status == "ok", record.message
    stored = store.read(spec.key, GRID.seed)
    assert stored.test is None
    assert isinstance(stored.validation, Ranks)
    assert len(stored.validation) == len(stored.length) == SMOKE.max_users
    (planned,) = plan([spec], [GRID.seed], RunSet(store))
    assert planned.to_run() == []  # resumed by identity
    (other,) = run_seeds(spec_of("GRU4Rec", "beauty", SMOKE), [0], store)
    assert "the test targets were looked at" in other.message  # or the seal would prove nothing


def test_runs_without_test_ranks_are_legal_for_trials_alone():
    trial = trial_specs([("beauty", "SASRec")], QUICK, GRID)[0]
    ranks = make_ranks(np.arange(50))
    make_trial(trial, np.arange(50))
    with pytest.raises(ValueError, match="ranks of both splits"):
        RunResult(make_record(make_spec(), 0), ranks, None, LENGTH)
    with pytest.raises(ValueError, match="a trial has no ranks of the test split"):
        RunResult(make_record(trial, 0), ranks, ranks, LENGTH)
    with pytest.raises(ValueError, match="a trial, of validation"):
        RunResult(make_record(trial, 0), None, None, LENGTH)


def test_an_ordinary_run_whose_test_ranks_are_gone_is_damaged(tmp_path):
    """A trial's record edited into an ordinary one, hashes and all, is still no finished run."""
    store = Store(tmp_path)
    trial = trial_specs([("beauty", "SASRec")], QUICK, GRID)[0]
    written = make_trial(trial, np.arange(50))
    path = store.write(written)
    ordinary = trial.with_protocol(trial=False)
    record = written.record.model_copy(update={"spec": ordinary})
    digest = store.read(trial.key, GRID.seed).record.arrays_sha256
    path.write_bytes(
        benchmark.runs.store._text(record.model_copy(update={"arrays_sha256": digest}))
    )
    with pytest.raises(DamagedRun, match="not a file of ranks"):
        store.read(trial.key, GRID.seed)


# ---------------------------------------------------------------- what reads the store


@pytest.fixture
def mixed(tmp_path):
    """A store with an ordinary run and trials of the same row."""
    store = Store(tmp_path / "runs")
    rng = np.random.default_rng(0)
    store.write(make_result(spec_of("SASRec", "beauty", SMOKE), 0, draw_above(rng, 50)))
    for spec in trial_specs([("beauty", "SASRec")], SMOKE, GRID):
        store.write(make_trial(spec, draw_above(rng, 50)))
    return store


def test_promote_passes_over_trials(mixed, tmp_path):
    reference = Store(tmp_path / "reference")
    (path,) = promote(mixed, reference)
    assert path == reference.path(spec_of("SASRec", "beauty", SMOKE).key, 0)
    assert len(list(reference.scan())) == 1


def test_compare_and_check_leave_trials_out(mixed, tmp_path):
    assert set(compare_runs(RunSet(mixed), RunSet(mixed))["variant"]) == {"base"}
    checks = check_runs(RunSet(mixed), RunSet(mixed), profile="smoke")
    assert [check.name for check in checks] == [str(spec_of("SASRec", "beauty", SMOKE).key)]


def test_tables_never_show_a_trial(tmp_path):
    store = Store(tmp_path)
    for spec in trial_specs([("beauty", "SASRec")], SMOKE, GRID):
        store.write(make_trial(spec, np.arange(50), seed=0))
    planned = plan([spec_of("SASRec", "beauty", SMOKE)], [0], RunSet(store), as_stored=True)
    assert planned[0].states == {0: "missing"}
    cells = build_table("table2", planned, SMOKE, root=store.root).cells
    assert set(cells.loc[cells["row"] == "SASRec", "n"]) == {0}


def test_the_live_table_shows_validation(mixed, capsys):
    from benchmark.cli.terminal import Terminal

    spec = trial_specs([("beauty", "SASRec")], SMOKE, GRID)[0]
    planned = plan([spec], [GRID.seed], RunSet(mixed), as_stored=True)
    job = Job(spec, (GRID.seed,), 1.0)
    console = Terminal(width=200, force_terminal=False)
    live_table = LiveTable(planned, [job], RunSet(mixed), 1, console)
    with live_table as watch:
        watch(Event(job, "start", 0))
        watch(Event(job, "done", 0, finished=job.seeds))
        console.print(live_table)
    shown = capsys.readouterr().out
    assert "NDCG@10 on validation" in shown
    assert shown.count("[trial:lr=0.002,dropout=0.2]") == 2  # the line and the table


# ---------------------------------------------------------------- choice and log


@pytest.fixture
def tried(tmp_path):
    """FindRec and SASRec tried on two datasets; the fourth setting is the best by construction."""
    store = Store(tmp_path / "runs")
    pairs = [(d, m) for d in ("beauty", "ml-100k") for m in ("SASRec", "FindRec")]
    for at, spec in enumerate(trial_specs(pairs, QUICK, GRID)):
        above = np.full(50, 0 if at % GRID.trials == 3 else 4 + at % 2)
        store.write(make_trial(spec, above, best_step=40, steps=120, plateau=at % 2 == 0))
    return store


def read_groups(store, **options):
    planned = plan(
        trial_specs(tried_pairs(RunSet(store), QUICK), QUICK, GRID),
        [GRID.seed],
        RunSet(store),
        as_stored=True,
    )
    return groups(planned, GRID, **options)


def test_the_best_on_validation_is_chosen(tried):
    found = read_groups(tried)
    assert [(group.dataset, group.model) for group in found] == [
        (d, m) for d in ("beauty", "ml-100k") for m in ("SASRec", "FindRec")
    ]
    assert [group.chosen.setting for group in found] == 4 * [GRID.settings[3]]
    assert {group.chosen.value for group in found} == {1.0}  # rank 1 for everybody: NDCG is 1


def test_a_tie_goes_to_the_earlier_setting(tmp_path):
    store = Store(tmp_path)
    for spec in trial_specs([("beauty", "SASRec")], QUICK, GRID):
        store.write(make_trial(spec, np.full(50, 2)))
    (group,) = read_groups(store)
    assert group.chosen.setting == GRID.settings[0]


@pytest.mark.parametrize(("better", "chosen"), [(1, 0), (5, 3)])
def test_what_is_within_the_tolerance_is_as_good(tmp_path, better, chosen):
    """One user of 50 at rank 2 instead of 3 is half a per cent of the mean, five are 2.6 %."""
    store = Store(tmp_path)
    for at, spec in enumerate(trial_specs([("beauty", "SASRec")], QUICK, GRID)):
        above = np.full(50, 2)
        if at == 3:
            above[:better] = 1
        store.write(make_trial(spec, above))
    (group,) = read_groups(store)
    assert group.chosen.setting == GRID.settings[chosen]


def test_nothing_is_chosen_before_every_trial_has_ended(tried):
    other, best = (
        spec.key
        for at, spec in enumerate(trial_specs([("beauty", "SASRec")], QUICK, GRID))
        if at in (2, 3)
    )
    tried.path(other, GRID.seed).unlink()
    group = read_groups(tried)[0]
    assert group.chosen is None
    frame = log([group], GRID)
    assert "missing" in markdown(frame, GRID, QUICK)
    assert choices(frame, GRID, QUICK) == ""
    spec = group.trials[2].spec
    tried.write(RunResult(make_record(spec, GRID.seed, status="failed", message="loss is NaN")))
    ended = read_groups(tried)[0]
    assert ended.chosen.spec.key == best
    assert math.isnan(ended.trials[2].value)


def test_stale_trials_are_chosen_only_when_asked(tried):
    planned = [
        dataclasses.replace(
            p, runs={k: dataclasses.replace(r, status="stale") for k, r in p.runs.items()}
        )
        for p in plan(
            trial_specs([("beauty", "SASRec")], QUICK, GRID),
            [GRID.seed],
            RunSet(tried),
            as_stored=True,
        )
    ]
    (group,) = groups(planned, GRID)
    assert group.chosen is None
    (group,) = groups(planned, GRID, reuse_stale=True)
    assert group.chosen.setting == GRID.settings[3]


def test_the_log_holds_every_trial(tried, tmp_path):
    found = read_groups(tried)
    paths = write_log(found, GRID, QUICK, tmp_path / "tuning")
    frame = pd.read_csv(paths["csv"])
    assert paths["csv"].name == "quick.csv"
    assert list(frame.columns) == [
        *("dataset", "model", "lr", "dropout", "validation_ndcg@10", "best_step", "steps"),
        *("plateau", "seconds", "code", "seed", "status", "chosen"),
    ]
    assert len(frame) == 4 * GRID.trials
    chosen = frame[frame["chosen"]]
    assert len(chosen) == 4
    assert set(zip(chosen["lr"], chosen["dropout"], strict=True)) == {(0.005, 0.4)}
    assert set(frame["code"]) == {"code"}
    assert set(frame["seed"]) == {GRID.seed}
    # 0, 4 or 5 better items: 1 / log2(above + 2); the CSV holds float64 in full
    expected = {1.0, 1 / np.log2(6), 1 / np.log2(7)}
    assert np.allclose(sorted(set(frame["validation_ndcg@10"])), sorted(expected), rtol=1e-12)
    text = paths["md"].read_text()
    assert text.count("**1.0000**†") == 4
    assert log(found, GRID).shape == frame.shape


def test_trying_one_row_again_keeps_the_lines_of_the_others(tried, tmp_path):
    paths = write_log(read_groups(tried), GRID, QUICK, tmp_path / "tuning")
    before = {suffix: path.read_text() for suffix, path in paths.items()}
    store = Store(tmp_path / "another")
    specs = trial_specs([("ml-100k", "SASRec")], QUICK, GRID)
    for at, spec in enumerate(specs):
        store.write(make_trial(spec, np.full(50, at), best_step=40, steps=120, plateau=True))
    write_log(read_groups(store), GRID, QUICK, tmp_path / "tuning")
    lines, earlier = paths["csv"].read_text().splitlines(), before["csv"].splitlines()
    changed = [line for line in lines if line not in earlier]
    assert len(lines) == len(earlier)
    assert {tuple(line.split(",")[:2]) for line in changed} == {("ml-100k", "SASRec")}
    assert [line.split(",")[:4] for line in lines] == [line.split(",")[:4] for line in earlier]
    assert "| SASRec | **1.0000** |" in paths["md"].read_text()
    write_log(read_groups(tried), GRID, QUICK, tmp_path / "tuning")
    assert {suffix: path.read_text() for suffix, path in paths.items()} == before


def test_the_printed_lines_give_the_row_what_was_chosen(tried, monkeypatch):
    text = choices(log(read_groups(tried), GRID), GRID, QUICK)
    parts = text.split("\n\n")
    assert [part.splitlines()[0] for part in parts] == [
        "# configs/models/sasrec.yaml",
        "# configs/models/findrec.yaml",
    ]
    method = get_method("SASRec")
    profiles = yaml.safe_load(parts[0])["profiles"]
    pasted = Method.model_validate(method.model_dump(by_alias=True) | {"profiles": profiles})
    before = trial_specs([("beauty", "SASRec")], QUICK, GRID)
    monkeypatch.setitem(methods(), "SASRec", pasted)
    for dataset in ("beauty", "ml-100k"):
        resolved = resolve("SASRec", dataset, QUICK)
        assert (resolved.training.lr, resolved.config.dropout) == (0.005, 0.4)
    assert trial_specs([("beauty", "SASRec")], QUICK, GRID) == before  # no trial becomes stale


# ---------------------------------------------------------------- the command


def test_dry_run_plans_the_trials_and_words_the_controls():
    options = ["--profile", "smoke", "--datasets", "beauty", "--models", "SASRec,Popularity"]
    result = CliRunner().invoke(app, ["tune", *options, "--device", "cpu", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "left out, for they are not trained: Popularity" in result.output
    assert "to go on" in result.output


@pytest.mark.slow
def test_the_command_trains_writes_and_resumes(tmp_path):
    """All of it with the smoke profile, in a folder of its own: all trials of one row."""
    from tests.benchmark.test_cli import call

    options = ["--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec"]
    first = call(tmp_path, "tune", *options, "--device", "cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    path = tmp_path / "results" / "tuning" / "smoke.csv"
    before = path.read_bytes()
    frame = pd.read_csv(path)
    assert frame["status"].tolist() == ["complete"] * GRID.trials
    assert frame["chosen"].sum() == 1
    assert frame["validation_ndcg@10"].idxmax() == frame["chosen"].idxmax()
    assert "# configs/models/gru4rec.yaml" in first.stdout
    runs = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("seed-*")}
    again = call(tmp_path, "tune", *options, "--device", "cpu")
    assert again.returncode == 0
    assert path.read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("seed-*")} == runs
    rendered = call(tmp_path, "tune", *options, "--from", "runs")
    assert rendered.returncode == 0, rendered.stdout + rendered.stderr
    assert path.read_bytes() == before
