"""Trials as runs: what they change, what they never see, what reads the store beside them."""

import functools

import numpy as np
import pandas as pd
import pytest
import yaml

import benchmark.core
from benchmark.analyse.compare import compare_runs
from benchmark.analyse.regression import check_runs
from benchmark.errors import InputError
from benchmark.plan import plan, spec_of
from benchmark.run import run_seeds
from benchmark.runs.promote import promote
from benchmark.runs.ranks import Ranks
from benchmark.runs.runset import RunSet
from benchmark.runs.schema import RunResult
from benchmark.runs.store import DamagedRun, Store
from benchmark.settings.registry import Method, get_method, get_profile, methods
from benchmark.settings.resolve import resolve
from benchmark.tune.grid import FILE, Point, Trial, read_tuning, rungs, trial_spec, tuned
from benchmark.tune.log import write_log
from benchmark.tune.trials import stored_pairs, stored_trials
from tests.benchmark.results import draw_above, make_ranks, make_record, make_result, make_spec
from tests.commands import call

SMOKE, QUICK = get_profile("smoke"), get_profile("quick")
RULES = read_tuning()
SEED = RULES.seeds[0]
LENGTH = np.full(50, 9, np.int32)
TRIAL = Trial(Point(0.001, 0.3), 300, SEED)


def make_trial(spec, above, seed=SEED, **fields):
    """A finished trial made by hand."""
    ranks = make_ranks(above)
    return RunResult(make_record(spec, seed, **fields), ranks, None, LENGTH[: len(above)])


class Sealed:
    """Sequences whose test part cannot be touched."""

    def __init__(self, sequences):
        self._sequences = sequences
        self.train, self.validation = sequences.train, sequences.validation
        self.histories = sequences.histories

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


# ---------------------------------------------------------------- specs


@pytest.mark.parametrize("name", tuned()[0])
def test_a_trial_differs_from_the_row_in_its_settings_alone(name):
    for dataset in ("beauty", "ml-100k"):
        base = spec_of(name, dataset, QUICK)
        spec = trial_spec(name, dataset, QUICK, RULES, TRIAL)
        changed = {"lr": 0.001, "steps": 300, "eval_every": rungs(name, dataset, RULES)[0]}
        targets = RULES.domain(dataset).validation_targets
        assert spec.variant == "trial:lr=0.001,dropout=0.3,steps=300"
        assert spec.config == base.config | {"dropout": 0.3}
        assert spec.training.model_dump() == base.training.model_dump() | changed
        assert spec.protocol == base.protocol.model_copy(
            update={"trial": True, "validation_targets": targets}
        )


def test_every_trained_row_is_tuned_and_no_control():
    names, left_out = tuned()
    assert {"FindRec", "SASRec", "MMMLP", "UniSRec"} <= set(names)
    assert set(left_out) == {n for n, m in methods().items() if m.category == "control"}


def test_an_arm_is_tuned_where_it_is_named():
    assert "Late fusion" not in tuned()[0]
    assert tuned(["Late fusion", "EASE"]) == (["Late fusion"], ["EASE"])
    assert rungs("Late fusion", "beauty", RULES) == rungs("FindRec", "beauty", RULES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 0}, "trials"),
        ({"grid": {"lr": [0.002, 0.001], "dropout": [0.2]}}, "have to ascend"),
        ({"start": {"lr": 0.003, "dropout": 0.2}}, "no point of the grid"),
        ({"seeds": [1000]}, "seeds"),
        ({"seeds": [1000, 1000]}, "stands twice"),
        ({"seeds": [-1, 1000]}, "seeds.0"),
        ({"seeds": [True, 1000]}, "seeds.0"),
        ({"seeds": [2**63, 1000]}, "seeds.0"),
        ({"seeds": [3, 1000]}, "seed 3 is one that profile .* reports"),
        ({"grid": {"lr": [-0.5, 0.002], "dropout": [0.2]}}, "lr.0"),
        ({"grid": {"lr": [0.001, 0.0010000001, 0.002], "dropout": [0.2]}}, "equal to six digits"),
        ({"grid": {"lr": [0.002], "dropout": [0.2, 1.5]}}, "dropout.1"),
        ({"metric": "NDCG@5"}, "metric"),
        (
            {"datasets": {"beauty": {"validation_targets": 2, "rungs": {"causal": [1, 2, 3]}}}},
            "each twice the one before",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused_by_file(tmp_path, change, message):
    path = tmp_path / "tuning.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(FILE.read_text()) | change))
    with pytest.raises(InputError, match=message) as refused:
        read_tuning(path)
    assert str(path) in str(refused.value)


def test_a_dataset_without_rungs_is_named():
    with pytest.raises(InputError, match="no entry for 'microlens'"):
        rungs("SASRec", "microlens", RULES)


# ---------------------------------------------------------------- runs


def test_a_trial_never_touches_the_test_targets(tmp_path, sealed):
    store = Store(tmp_path)
    trial = Trial(Point(0.002, 0.2), 6, SEED)
    spec = trial_spec("GRU4Rec", "beauty", SMOKE, RULES, trial)
    (record,) = run_seeds(spec, [SEED], store)
    assert record.status == "ok", record.message
    stored = store.read(spec.key, SEED)
    assert stored.test is None
    assert isinstance(stored.validation, Ranks)
    assert len(stored.validation) == 2 * SMOKE.max_users  # two validation targets a user
    assert len(stored.length) == SMOKE.max_users
    (planned,) = plan([spec], [SEED], RunSet(store))
    assert planned.to_run() == []  # resumed by identity
    control = spec_of("Popularity", "beauty", SMOKE).with_protocol(trial=True)
    (fitted,) = run_seeds(control, [SEED], store)
    assert fitted.status == "ok", fitted.message
    (other,) = run_seeds(spec_of("GRU4Rec", "beauty", SMOKE), [0], store)
    assert "the test targets were looked at" in other.message  # or the seal would prove nothing


def test_runs_without_test_ranks_are_legal_for_trials_alone():
    trial = trial_spec("SASRec", "beauty", QUICK, RULES, TRIAL)
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
    trial = trial_spec("SASRec", "beauty", QUICK, RULES, TRIAL)
    written = make_trial(trial, np.arange(50))
    path = store.write(written)
    ordinary = trial.with_protocol(trial=False)
    record = written.record.model_copy(update={"spec": ordinary})
    digest = store.read(trial.key, SEED).record.arrays_sha256
    path.write_bytes(
        benchmark.runs.store.record_text(record.model_copy(update={"arrays_sha256": digest}))
    )
    with pytest.raises(DamagedRun, match="not a file of ranks"):
        store.read(trial.key, SEED)


# ---------------------------------------------------------------- what reads the store


@pytest.fixture
def mixed(tmp_path):
    """A store with an ordinary run and trials of the same row."""
    store = Store(tmp_path / "runs")
    rng = np.random.default_rng(0)
    store.write(make_result(spec_of("SASRec", "beauty", SMOKE), 0, draw_above(rng, 50)))
    for steps in RULES.domain("beauty").rungs["causal"]:
        spec = trial_spec("SASRec", "beauty", SMOKE, RULES, TRIAL._replace(steps=steps))
        store.write(make_trial(spec, draw_above(rng, 50)))
    return store


def test_promote_passes_over_trials(mixed, tmp_path):
    reference = Store(tmp_path / "reference")
    (path,) = promote(mixed, reference)
    assert path == reference.path(spec_of("SASRec", "beauty", SMOKE).key, 0)
    assert len(list(reference.scan())) == 1


def test_compare_and_check_leave_trials_out(mixed):
    assert set(compare_runs(RunSet(mixed), RunSet(mixed))["variant"]) == {"base"}
    checks = check_runs(RunSet(mixed), RunSet(mixed), profile="smoke")
    assert [check.name for check in checks] == [str(spec_of("SASRec", "beauty", SMOKE).key)]


# ---------------------------------------------------------------- the log


def read_rows(store, **options):
    settings = {"data": None, "reuse_stale": False, "as_stored": True} | options
    runs = RunSet(store)
    return stored_trials(stored_pairs(runs, QUICK), QUICK, RULES, runs, **settings)


@pytest.fixture
def decided(tmp_path):
    """SASRec on two datasets, tried until nothing is wanted; the start is the best by construction,
    and no budget gains."""
    from benchmark.tune.grid import floor_spec

    store = Store(tmp_path / "runs")
    for dataset in ("beauty", "ml-100k"):
        floor = floor_spec(dataset, QUICK, RULES)
        store.write(make_trial(floor, np.full(50, 30)))
        for _ in range(40):
            spec = trial_spec("SASRec", dataset, QUICK, RULES, TRIAL)
            store.write(make_trial(spec, np.full(50, 9), seed=SEED))
            (row,) = [r for r in read_rows(store) if r.dataset == dataset]
            wanted = row.search.wanted()
            if not wanted:
                break
            for trial in wanted:
                spec = trial_spec("SASRec", dataset, QUICK, RULES, trial)
                away = (trial.point.lr != 0.002) + (trial.point.dropout != 0.2)
                store.write(make_trial(spec, np.full(50, away), seed=trial.seed))
    return store


def test_the_log_says_what_was_tried_and_chosen(decided, tmp_path):
    rows = read_rows(decided)
    assert [row.dataset for row in rows] == ["beauty", "ml-100k"]
    for row in rows:
        choice = row.search.choice()
        assert choice.point == Point(0.002, 0.2)
        assert (choice.steps, choice.convergence) == (row.search.rungs[0], "shown")
    paths = write_log(rows, RULES, QUICK, tmp_path / "tuning")
    assert [path.name for path in paths] == ["quick.csv", "quick-budgets.csv", "quick.md"]
    trials, budgets = pd.read_csv(paths[0]), pd.read_csv(paths[1])
    assert len(trials) == sum(len(row.stored) for row in rows)
    chosen = trials[trials["chosen"]]
    assert set(zip(chosen["lr"], chosen["dropout"], strict=True)) == {(0.002, 0.2)}
    assert sorted(chosen["seed"]) == sorted(2 * RULES.seeds)
    # rank 1 for everybody is NDCG 1, rank 10 is 1 / log2(11); six digits are kept
    assert trials["validation_kept"].max() == 1.0
    assert len(budgets) == 2 * 2 * 4  # datasets, protocols, rungs
    assert set(budgets["convergence"]) == {"shown"}
    assert set(budgets["separate_gain"]) == {0.0}
    assert "convergence: shown" in paths[2].read_text()


def test_trying_one_row_again_keeps_the_lines_of_the_others(decided, tmp_path):
    rows = read_rows(decided)
    paths = write_log(rows, RULES, QUICK, tmp_path / "tuning")
    before = [path.read_text() for path in paths]
    write_log(rows[:1], RULES, QUICK, tmp_path / "tuning")
    assert [path.read_text() for path in paths] == before


@pytest.mark.parametrize("damage", ["column", "empty", "bytes"])
def test_a_log_that_cannot_be_read_is_not_written_over(decided, tmp_path, damage):
    """What it says of other rows would be lost."""
    rows = read_rows(decided)
    (path, *_) = write_log(rows, RULES, QUICK, tmp_path / "tuning")
    if damage == "column":
        pd.read_csv(path).assign(note="mine").to_csv(path, index=False)
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes() + b"\xff")
    before = path.read_bytes()
    with pytest.raises(InputError, match="mend it, or move it away") as refused:
        write_log(rows[:1], RULES, QUICK, tmp_path / "tuning")
    assert str(path) in str(refused.value)
    assert path.read_bytes() == before


def test_the_printed_lines_give_the_row_what_was_chosen(decided, tmp_path, monkeypatch):
    paths = write_log(read_rows(decided), RULES, QUICK, tmp_path / "tuning")
    text = paths[2].read_text().split("```yaml\n")[1].split("```")[0]
    assert text.startswith("# configs/models/sasrec.yaml")
    profiles = yaml.safe_load(text)["profiles"]
    method = get_method("SASRec")
    pasted = Method.model_validate(method.model_dump(by_alias=True) | {"profiles": profiles})
    monkeypatch.setitem(methods(), "SASRec", pasted)
    for dataset, steps in (("beauty", 150), ("ml-100k", 200)):
        resolved = resolve("SASRec", dataset, QUICK)
        assert (resolved.training.lr, resolved.config.dropout) == (0.002, 0.2)
        assert (resolved.training.steps, resolved.convergence) == (steps, "shown")


# ---------------------------------------------------------------- the command


def test_a_dry_run_shows_the_first_trials(tmp_path):
    """With no stored run: Popularity, which ladders are held against, and the first search."""
    options = ["--profile", "quick", "--datasets", "beauty", "--models", "GRU4Rec", "--dry-run"]
    done = call(tmp_path, "tune", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if " beauty " in line]
    assert [row.split("│")[2].strip() for row in rows] == ["Popularity", *["GRU4Rec"] * 3]
    assert not list((tmp_path / "runs").rglob("seed-*"))


@pytest.mark.slow
def test_the_command_trains_writes_and_resumes(tmp_path):
    """All of it with tiny budgets, in a folder of its own."""
    rules = yaml.safe_load(FILE.read_text())
    rules["datasets"] = {"beauty": {"validation_targets": 2, "rungs": {"causal": [4, 8, 16]}}}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules | {"trials": 3, "seeds": [1000, 1001]}))
    options = ["--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec"]
    options += ["--rules", str(path)]
    first = call(tmp_path, "tune", *options, "--device", "cpu")
    assert first.returncode == 0, first.stdout + first.stderr
    log = tmp_path / "results" / "tuning" / "smoke.csv"
    before = log.read_bytes()
    frame = pd.read_csv(log)
    assert set(frame["status"]) == {"complete"}
    assert frame["chosen"].sum() == 2  # both seeds of the chosen budget
    assert "# configs/models/gru4rec.yaml" in first.stdout
    runs = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("seed-*")}
    again = call(tmp_path, "tune", *options, "--device", "cpu")
    assert again.returncode == 0
    assert log.read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("seed-*")} == runs
    rendered = call(tmp_path, "tune", *options, "--from", "runs")
    assert rendered.returncode == 0, rendered.stdout + rendered.stderr
    assert log.read_bytes() == before
