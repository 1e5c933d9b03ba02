"""The commands as a user calls them, on real data with the smoke profile."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmark.analyse.analysis_plan import analysis_plan
from benchmark.cli import app, main, options, pages, results, tables
from benchmark.cli.options import only_profile, parse_seeds
from benchmark.data.meta import default_root
from benchmark.errors import InputError
from benchmark.plan import plan, spec_of, specs
from benchmark.run import run_seeds
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.results import make_result
from tests.commands import ROOT, SMALL, call


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A working folder in which Table 2 has been made for two rows, by a process as a user's."""
    place = tmp_path_factory.mktemp("work")
    first = call(place, "table2", *SMALL, FINDREC_DATA=str(default_root().resolve()))
    assert first.returncode == 0, first.stdout + first.stderr
    return place


@pytest.fixture
def folder(made, monkeypatch):
    """The same, and the commands of this process work in it."""
    work_in(made, monkeypatch)
    return made


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The commands in this process, in an empty folder of their own."""
    work_in(tmp_path, monkeypatch)
    return tmp_path


def work_in(place, monkeypatch):
    """What a process that starts there finds when it imports the command line."""
    for module in (options, tables, results, pages):
        for name, path in (("ROOT", ""), ("RUNS", "runs"), ("RESULTS", "results")):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, place / path)
        for name in ("reference", "audit"):
            if hasattr(module, name.upper()):
                monkeypatch.setattr(module, name.upper(), place / "results" / name)


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


def said(*arguments):
    """What a command that succeeds prints."""
    done = invoke(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_table_2_is_written_in_three_forms(folder):
    tables = folder / "results" / "smoke" / "tables"
    cells = pd.read_csv(tables / "table2.csv", keep_default_na=False)
    assert ",".join(cells.columns) == (
        "table,row,column,dataset,metric,protocol,mean,sd,n,paper,grade,ci_low,ci_high,p_best,status"
    )
    ours = cells[(cells["row"] == "GRU4Rec") & (cells["metric"] == "NDCG@10")]
    assert ours["protocol"].tolist() == ["kept", "left out"]
    assert ours["n"].astype(int).tolist() == [2, 2]
    assert ours["paper"].tolist() == ["0.0781", ""]
    assert "GRU4Rec" in (tables / "table2.md").read_text()
    assert r"\begin{tabular" in (tables / "table2.tex").read_text()


def test_a_second_call_trains_nothing_and_writes_the_same(folder):
    tables = folder / "results" / "smoke" / "tables"
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    runs = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("seed-*")}
    said("table2", *SMALL)
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before
    assert {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("seed-*")} == runs


def test_a_look_at_one_row_leaves_the_whole_table_and_the_report_as_they_are(folder):
    """It stands beside them; verify checks both, and a request for as much replaces the whole."""
    said("report", "--profile", "smoke")
    place = folder / "results" / "smoke"
    whole = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    one = said("table2", *SMALL[:-1], "GRU4Rec", "--seeds", "1")
    assert "table2 shows more than was asked for, and stays as it is" in " ".join(one.split())
    beside = {path for path in place.rglob("*") if path.is_file()} - set(whole)
    assert {path.relative_to(place).as_posix() for path in beside} == {
        *(f"subset/tables/table2.{suffix}" for suffix in ("md", "csv", "tex", "json")),
        *(f"subset/figures/table2.{suffix}" for suffix in ("svg", "pdf", "png")),
    }
    assert {path: path.read_bytes() for path in whole} == whole
    assert set(pd.read_csv(place / "subset" / "tables" / "table2.csv")["row"]) == {"GRU4Rec"}
    assert "2 table(s) checked, 0 difference(s)" in said("verify")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_characters_gets_plain_ones(made, encoding):
    """Markdown is written in UTF-8 as ever; the screen has +- or the encoding's own sign."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "table2", *SMALL],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("+-" if encoding == "ascii" else "±") in done.stdout.decode(encoding)
    assert "±" in (made / "results" / "smoke" / "tables" / "table2.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("redirection", "message"),
    [
        (">/dev/full", "standard output cannot be written (No space left on device)"),
        (">&-", "standard output is closed"),
        ("| true", "standard output cannot be written (its reader is gone)"),
    ],
)
def test_output_that_nobody_takes_ends_in_one_line(tmp_path, redirection, message):
    script = f"set -o pipefail; {sys.executable} -m benchmark list {redirection}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_with_a_word_and_the_log_is_named(tmp_path, number):
    """While a worker starts: no process is left, nothing is stored as failed."""
    command = subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", *SMALL[:5], "GRU4Rec", "--seeds", "3"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    logs = tmp_path / "runs" / "logs"
    while not any(" start " in path.read_text() for path in logs.glob("*.log")):
        time.sleep(0.05)
        assert command.poll() is None, command.communicate()
    os.kill(command.pid, number)
    _, said = command.communicate(timeout=60)
    (log,) = logs.glob("*.log")
    assert command.returncode == 128 + number
    said_first, said_last = said.splitlines()
    assert said_first == (
        f"interrupted ({number.name}): finished runs are stored; the same command goes on"
    )
    assert len(said_first) <= 80, "a terminal would break it in the middle of a word"
    assert said_last == f"log: {log.relative_to(tmp_path)}"
    assert "interrupted" in log.read_text()
    assert not [run for run in Store(tmp_path / "runs").scan() if run.status != "complete"]
    deadline = time.monotonic() + 90  # one that is still importing ends when it has; cores are busy
    while living := _living(command.pid):
        assert time.monotonic() < deadline, living
        time.sleep(0.1)


def _living(group: int) -> list[str]:
    """The processes of a group, those left out that have ended and that nobody has waited for."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return [args for own, stat, args in rows if int(own) == group and not stat.startswith("Z")]


def test_dry_run_prints_the_plan_and_trains_nothing(folder):
    options = [*SMALL[:-1], "GRU4Rec,SASRec"]
    assert "to go on" in said("table2", *options, "--dry-run")
    assert not list((folder / "runs").rglob("sasrec"))


def test_verify_passes_and_names_an_edited_cell(folder):
    said("verify")
    path = folder / "results" / "smoke" / "tables" / "table2.csv"
    whole = path.read_text()
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    own = (cells["row"] == "GRU4Rec") & (cells["metric"] == "MRR@5")
    value = cells.loc[own & (cells["protocol"] == "left out"), "mean"].item()
    digit = "1" if value[-1] != "1" else "2"
    path.write_text(whole.replace(value, value[:-1] + digit))
    try:
        found = invoke("verify")
        assert found.exit_code == 1
        assert "GRU4Rec" in found.output
        assert "MRR@5" in found.output
    finally:
        path.write_text(whole)


def test_verify_notices_one_byte_of_a_rank_file(folder):
    path = next((folder / "runs").rglob("gru4rec/base/seed-0.npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    try:
        found = invoke("verify", "--profile", "smoke")
        assert found.exit_code == 1
        assert "GRU4Rec" in found.output
    finally:
        path.write_bytes(whole)


def test_another_results_folder_renders_without_training(made, work):
    said("table2", *SMALL[2:], "--from", str(made / "runs"))  # it holds one profile
    there = made / "results" / "smoke" / "tables" / "table2.csv"
    assert (work / "results" / "smoke" / "tables" / "table2.csv").read_text() == there.read_text()
    assert not (work / "runs").exists()
    said("verify")
    assert "0 difference(s)" in said("verify", "--from", str(made / "runs"))


def test_a_folder_equals_itself(made):
    runs = str(made / "runs")
    assert "GRU4Rec" in said("compare", runs, runs)


def test_several_profiles_are_not_guessed_among(tmp_path):
    for profile in ("quick", "smoke"):
        (tmp_path / profile / "beauty" / "fpmc" / "base").mkdir(parents=True)
        (tmp_path / profile / "beauty" / "fpmc" / "base" / "seed-0.json").touch()
    with pytest.raises(InputError, match=r"several profiles \(quick, smoke\).*--profile"):
        only_profile(tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("table2 --address nowhere --dry-run", "--address and --gpus-per-job are of --launcher"),
        ("readings --datasets beauty --dry-run", "needs a dataset with both text and image"),
        ("fig2 --datasets beauty --from reference", "needs a dataset with both text and image"),
        (
            "global-time --datasets beauty --dry-run",
            "needs a dataset with times; asked for: beauty",
        ),
        ("table2 --gpus-per-job 0.5 --dry-run", "--address and --gpus-per-job are of --launcher"),
        ("table2 --from reference --launcher ray", "leave out --launcher ray"),
        ("data ml-100k --core 20", "--core: describes your own data"),
        ("data shop --interactions s.csv --official", "--official is of known datasets"),
        ("data shop --interactions s.csv --raw raw", "--raw is of known datasets"),
        ("audit table.csv --base-rate", "leave out table.csv"),
        ("verify --from nowhere", "--from nowhere: no such folder"),
        ("power --from nowhere", "--from nowhere: no such folder"),
        ("recommend SASRec beauty u --from nowhere", "--from nowhere: no such folder"),
    ],
)
def test_options_that_would_be_ignored_are_refused(work, command, message):
    (work / "results" / "reference").mkdir(parents=True)
    assert message in str(invoke(*command.split()).exception)


def test_reference_names_the_committed_runs_in_every_command(work):
    reference = Store(work / "results" / "reference")
    run_seeds(spec_of("Popularity", "beauty", get_profile("smoke")), [0], reference)
    done = invoke("recommend", "Popularity", "beauty", "0", "--from", "reference")
    assert "no such folder" not in str(done.exception)
    done = invoke("export", str(work / "out.zip"), "--from", "reference")
    assert done.exit_code == 0, done.output


def write_stale(store, profile):
    """A run of Popularity on beauty with ranks and hashes that nothing ever had."""
    spec = spec_of("Popularity", "beauty", get_profile(profile))
    made = make_result(spec, 0, np.full(943, 400))
    store.write(made)
    return spec, made


def test_check_trains_anew_whatever_is_stored(work):
    """A stored run of the same spec, worse by far and of other code, plays no part and stays."""
    store, reference = Store(work / "runs"), Store(work / "results" / "reference")
    spec, made = write_stale(store, "ci")
    run_seeds(spec, [0, 1], reference)
    done = invoke("check", "--no-golden", "--reference", str(reference.root), "--seeds", "1")
    assert done.exit_code == 0, done.output
    assert "passed" in done.output
    assert store.read(spec.key, 0).record.hashes == made.record.hashes
    assert len(list(store.scan())) == 1
    worse = reference.read(spec.key, 0)
    for seed in (0, 1):
        above, masked = worse.test.above // 2, worse.test.above_masked // 2
        better = replace(worse.test, above=above, above_masked=masked)
        record = worse.record.model_copy(update={"seed": seed})
        reference.write(replace(worse, record=record, test=better))
    done = invoke("check", "--no-golden", "--reference", str(reference.root), "--seeds", "1")
    assert (done.exit_code, "unjudged" in done.output) == (1, True)


def test_committed_runs_count_unless_they_are_asked_for_anew(work):
    """What is committed is said and not trained; `--anew` makes the same run here, which then
    counts by itself."""
    store, reference = Store(work / "runs"), Store(work / "results" / "reference")
    spec = spec_of("Popularity", "beauty", get_profile("smoke"))
    run_seeds(spec, [0], reference)
    asked = ("run", "--models", "Popularity", "--profile", "smoke", "--datasets", "beauty")
    done = invoke(*asked, "--seeds", "1")
    assert done.exit_code == 0, done.output
    assert "1 of 1 runs are committed" in " ".join(done.output.split())
    assert not list(store.scan())
    for anew in (["--anew"], []):
        done = invoke(*asked, "--seeds", "1", *anew)
        assert done.exit_code == 0, done.output
        assert "committed" not in done.output
        own = store.read(spec.key, 0)
        assert (own.test.above == reference.read(spec.key, 0).test.above).all()
    refused = invoke("table2", "--from", str(reference.root), "--anew")
    assert "leave out --anew" in str(refused.exception)


def test_promote_refuses_stale_runs_of_its_profile_alone(work):
    store, reference = Store(work / "runs"), Store(work / "results" / "reference")
    write_stale(store, "ci")
    run_seeds(spec_of("Popularity", "beauty", get_profile("smoke")), [0], store)
    done = invoke("promote", "--profile", "ci")
    assert isinstance(done.exception, InputError)
    assert "1 stale run(s)" in str(done.exception)
    for part in ("made with other settings", "other code", "other data (bundle beauty)"):
        assert part in str(done.exception)
    assert invoke("promote", "--profile", "smoke").exit_code == 0
    (promoted,) = reference.scan()
    assert promoted.record.spec.profile == "smoke"
    assert store.read(promoted.record.spec.key, 0).test.popularity is not None
    assert promoted.result.test.popularity is None, "a slice is not described"


def test_all_shows_no_stale_number_as_current(work, monkeypatch):
    """With training switched off, `all` and `verify` meet a stale run and show it nowhere."""
    write_stale(Store(work / "runs"), "smoke")
    monkeypatch.setattr(tables, "ensure", plan_alone)
    small = ("--profile", "smoke", "--datasets", "beauty", "--models", "Popularity")
    done = invoke("all", *small, "--seeds", "1")
    assert done.exit_code == 0, done.output
    assert "fig2 is left out" in done.output
    assert "table5 is left out: none of the rows" in done.output
    table = work / "results" / "smoke" / "tables" / "table2.csv"
    assert set(pd.read_csv(table)["status"]) == {"stale"}
    assert pd.read_csv(table)["mean"].isna().all()
    verified = invoke("verify")
    assert (verified.exit_code, "0 difference(s)" in verified.output) == (0, True), verified.output
    assert invoke("table2", *small, "--reuse-stale").exit_code == 0
    assert pd.read_csv(table)["mean"].notna().all()
    assert invoke("verify").exit_code == 0


def plan_alone(names, request):
    wanted = specs(names, request.profile, datasets=request.datasets, models=request.models)
    return plan(wanted, request.seeds, request.runs, data=request.data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table2", "--profile", "quik"), "did you mean 'quick'"),
        (("table2", "--models", "SASrecc"), "did you mean 'SASRec'"),
        (("table2", "--datasets", "beuty"), "did you mean 'beauty'"),
        (("table2", "--seeds", "0,0"), "--seeds 0,0: write a number"),
        (("table2", "--device", "cuda:9"), "--device cuda:9: not here"),
        (("table2", "--launcher", "slurm"), "unknown launcher 'slurm'"),
        (("table2", "--from", "nowhere"), "--from nowhere: no such folder"),
        (("table2", "--from", "."), "--from .: holds no runs"),
        (("verify", "--from", "nowhere"), "--from nowhere: no such folder"),
        (("table1", "--datasets", "beuty"), "did you mean 'beauty'"),
        (("fig1", "--datasets", "beuty"), "did you mean 'beauty'"),
        (("fig2", "--datasets", "beauty"), "with both text and image features; asked for: beauty"),
        (("promote",), "--profile"),
        (("promote", "--profile", "smok"), "did you mean 'smoke'"),
        (
            ("check", "--no-golden", "--reference", "empty"),
            "holds no finished run of the profile 'ci'",
        ),
        (("check", "--reference", "empty"), "make them: ./reproduce.sh golden --write"),
        (("golden", "--reference", "empty"), "make them: ./reproduce.sh golden --write"),
        (("golden", "--write", "--models", "SASRec"), "leave --datasets, --models and --junit out"),
        (("data", "ml100k"), "did you mean 'ml-100k'"),
        (("features", "beauty", "--modality", "texts"), "did you mean 'text'"),
        (("audit", "missing.csv"), "missing.csv"),
        (("compare", "a", "b"), "a: no such folder"),
        (("verify",), "holds no table"),
        (("table2", "--seeds", ""), "--seeds: names nothing"),
        (("data", "beauty", "--data="), "--data: names nothing"),
        (("run", "--datasets", " "), "--datasets: names nothing"),
        (("", "--help"), "an argument: names nothing"),
        (("power", "--datasets", "nosuch"), "unknown dataset with a pilot 'nosuch'"),
        (("audit", "结果.csv"), "结果.csv: no such file"),
        (("promote", "--profile", "QUICK"), "no finished run"),
    ],
)
def test_a_mistake_is_answered_with_the_remedy_and_status_2(
    work, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(work)
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "Traceback" not in said


def test_an_unknown_command_or_option_is_refused(work):
    assert invoke("tabel2").exit_code == 2
    assert invoke("table2", "--sedes", "3").exit_code == 2


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("0-2", [0, 1, 2]), ("0,4,7", [0, 4, 7])]
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text, get_profile("quick")) == seeds


def test_a_number_of_seeds_means_the_profiles_own():
    plan = analysis_plan()
    assert parse_seeds("3", get_profile("rolling")) == plan.seeds(3)
    assert parse_seeds("0-2", get_profile("rolling")) == [0, 1, 2]


@pytest.mark.parametrize("text", ["", "x", "0,0", "-1", "3-1", "0"])
def test_seeds_that_make_no_sense_are_refused(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text, get_profile("quick"))


def test_what_all_leaves_out_is_said(work):
    """With its reason; asked for by name, what says nothing under a profile is refused."""
    done = invoke("diagnose", "--profile", "rolling", "--dry-run")
    assert isinstance(done.exception, InputError)
    assert "one test target a user" in str(done.exception)
    done = invoke("all", "--profile", "smoke", "--dry-run", "--models", "SASRec")
    assert done.exit_code == 0, done.output
    assert "readings, specifications: left out" in done.output
    (work / "results" / "smoke" / "tables").mkdir(parents=True)
    (work / "results" / "smoke" / "tables" / "readings.json").touch()
    done = invoke("all", "--profile", "smoke", "--dry-run", "--models", "SASRec")
    assert "specifications: left out" in done.output
    assert "readings, specifications" not in done.output
