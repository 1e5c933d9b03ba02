"""The commands as a user calls them, on real data with the smoke profile."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmark.cli.options import parse_seeds
from benchmark.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec,Popularity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder in which Table 2 has been made for two rows."""
    place = tmp_path_factory.mktemp("work")
    first = call(place, "table2", *SMALL)
    assert first.returncode == 0, first.stdout + first.stderr
    return place


def call(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_table_2_is_written_in_three_forms(folder):
    tables = folder / "results" / "smoke" / "tables"
    cells = pd.read_csv(tables / "table2.csv", keep_default_na=False)
    assert ",".join(cells.columns) == (
        "table,row,column,dataset,metric,mean,sd,n,paper,grade,ci_low,ci_high,p,p_holm,status"
    )
    ours = cells[(cells["row"] == "GRU4Rec") & (cells["metric"] == "NDCG@10")]
    assert ours["n"].astype(int).tolist() == [2]
    assert ours["paper"].astype(float).tolist() == [0.0781]
    assert "GRU4Rec" in (tables / "table2.md").read_text()
    assert r"\begin{tabular" in (tables / "table2.tex").read_text()


def test_a_second_call_trains_nothing_and_writes_the_same(folder):
    tables = folder / "results" / "smoke" / "tables"
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    runs = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("seed-*")}
    assert call(folder, "table2", *SMALL).returncode == 0
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before
    assert {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("seed-*")} == runs


def test_dry_run_prints_the_plan_and_trains_nothing(folder):
    options = [*SMALL[:-1], "GRU4Rec,SASRec"]
    planned = call(folder, "table2", *options, "--dry-run")
    assert planned.returncode == 0
    assert "to go on" in planned.stdout
    assert not list((folder / "runs").rglob("sasrec"))


def test_verify_passes_and_names_an_edited_cell(folder):
    options = [*SMALL]
    assert call(folder, "verify", *options).returncode == 0
    path = folder / "results" / "smoke" / "tables" / "table2.csv"
    whole = path.read_text()
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    value = cells.loc[(cells["row"] == "GRU4Rec") & (cells["metric"] == "MRR@5"), "mean"].item()
    digit = "1" if value[-1] != "1" else "2"
    path.write_text(whole.replace(value, value[:-1] + digit))
    try:
        found = call(folder, "verify", *options)
        assert found.returncode == 1
        assert "GRU4Rec" in found.stdout
        assert "MRR@5" in found.stdout
    finally:
        path.write_text(whole)


def test_verify_notices_one_byte_of_a_rank_file(folder):
    path = next((folder / "runs").rglob("gru4rec/base/seed-0.npz"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    try:
        found = call(folder, "verify", *SMALL)
        assert found.returncode == 1
        assert "GRU4Rec" in found.stdout
    finally:
        path.write_bytes(whole)


def test_another_results_folder_renders_without_training(folder, tmp_path):
    done = call(tmp_path, "table2", *SMALL, "--from", str(folder / "runs"))
    assert done.returncode == 0, done.stdout + done.stderr
    there = folder / "results" / "smoke" / "tables" / "table2.csv"
    assert (tmp_path / "results" / "smoke" / "tables" / "table2.csv").read_text() == (
        there.read_text()
    )
    assert not (tmp_path / "runs").exists()


def test_a_folder_equals_itself(folder):
    done = call(folder, "compare", "runs", "runs")
    assert done.returncode == 0
    assert "GRU4Rec" in done.stdout


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
        (("data", "ml100k"), "did you mean 'ml-100k'"),
        (("features", "beauty", "--modality", "texts"), "did you mean 'text'"),
        (("audit", "missing.csv"), "missing.csv"),
        (("compare", "a", "b"), "a: no such folder"),
        (("verify",), "holds no table"),
    ],
)
def test_a_mistake_is_answered_with_the_remedy_and_status_2(tmp_path, arguments, message):
    done = call(tmp_path, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_unknown_command_or_option_is_refused(tmp_path):
    assert call(tmp_path, "tabel2").returncode == 2
    assert call(tmp_path, "table2", "--sedes", "3").returncode == 2


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [0, 1, 2]), ("0-2", [0, 1, 2]), ("0,4,7", [0, 4, 7])]
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "0,0", "-1", "3-1", "0"])
def test_seeds_that_make_no_sense_are_refused(text):
    with pytest.raises(InputError, match="--seeds"):
        parse_seeds(text)
