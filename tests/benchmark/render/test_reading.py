"""What rendering reads and imports: every stored file once a command, and no torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.data.bundle import load_bundle
from benchmark.data.meta import default_root
from benchmark.plan import experiments, plan, shown_in, specs, without_effect
from benchmark.render.experiment import render
from benchmark.render.report.page import write_report
from benchmark.render.selection import Selection
from benchmark.runs.runset import RunSet
from benchmark.runs.store import Store
from benchmark.settings.registry import get_profile
from tests.benchmark.reads import Reads
from tests.benchmark.render.synthetic import fill

ROOT = Path(__file__).resolve().parents[3]
QUICK = get_profile("quick")
MODELS = ("SASRec", "FindRec", "Popularity")

SCRIPT = """
import json, sys
from pathlib import Path
from benchmark.cli import app
from tests.benchmark.reads import Reads

source, commands = Path(sys.argv[1]), json.loads(sys.argv[2])
found = {}
for command in commands:
    with Reads(source) as reads:
        try:
            app([command, "--from", str(source)], standalone_mode=False)
        except BaseException as error:
            assert getattr(error, "exit_code", 1) == 0, repr(error)
    heavy = [name for name in ("torch", "findrec", "baselines") if name in sys.modules]
    found[command] = {"heavy": heavy, "reads": reads.counts}
Path(sys.argv[3]).write_text(json.dumps(found))
"""


def files_of(store, wanted, seeds):
    """The files of every run that the specs need, as `Reads` names them."""
    found = set()
    for spec in wanted:
        alone = spec.protocol.control or spec.protocol.snapshot
        for seed in range(1 if alone else seeds):
            path = store.path(spec.key, seed)
            files = [path, path.with_suffix(".npz")]
            files += [path.with_suffix(".snapshot.npz")] * spec.protocol.snapshot
            found |= {file.relative_to(store.root).as_posix() for file in files}
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store of synthetic runs of some rows, for every table and figure."""
    for dataset in QUICK.run_on:
        load_bundle(dataset)  # built here, where torch is at hand
    store = Store(tmp_path_factory.mktemp("elsewhere"))
    fill(store, list(experiments()), QUICK, seeds=QUICK.seeds, users=40, models=MODELS)
    return store


@pytest.fixture(scope="module")
def rendered(filled, tmp_path_factory):
    """What rendering everything from that folder read and imported, in a process of its own."""
    work = tmp_path_factory.mktemp("work")
    commands = ["table1", "table2", "table6", "fig2", "fig3", "curves", "report", "verify"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, filled.root, json.dumps(commands), work / "found.json"],
        cwd=work,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FINDREC_DATA": str(default_root().resolve()),
            "FINDREC_RAW": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return work, json.loads((work / "found.json").read_text())


def test_results_from_elsewhere_are_rendered_without_torch(rendered):
    work, found = rendered
    assert len(found) == 8
    for command, seen in found.items():
        assert seen["heavy"] == [], command
    results = work / "results" / "quick"
    for name in ("tables/table2.md", "figures/fig2.svg", "figures/curves-experts.pdf"):
        assert (results / name).stat().st_size > 1000
    assert "0.0" in (results / "report" / "tables.html").read_text(encoding="utf-8")


def test_a_command_reads_each_file_of_its_runs_once(rendered, filled):
    _, found = rendered
    for command, names in {
        "table1": [],
        "table2": ["table2"],
        "table6": ["table6"],
        "fig2": ["fig2"],
        "curves": ["curves", "fig2"],
        "report": shown_in(QUICK),
    }.items():
        wanted = specs(names, QUICK, models=MODELS)
        acts = [s for s in wanted if not without_effect(s.model, s.variant, s.dataset, None)]
        expected = files_of(filled, acts, QUICK.seeds)
        assert found[command]["reads"] == dict.fromkeys(expected, 1), command
    assert set(found["verify"]["reads"].values()) == {1}  # several tables, one reading


def test_runs_made_here_are_read_once_too(filled, tmp_path):
    """Planned from the present settings, they are stale; asked for, they are in every table."""
    selection = Selection(seeds=(0, 1, 2), models=MODELS, reuse_stale=True)
    with Reads(filled.root) as reads:
        runs = RunSet(filled)
        for name in ("table2", "table3", "table5", "table6"):
            planned = plan(specs([name], QUICK, models=MODELS), range(3), runs)
            assert {state for p in planned for state in p.states.values()} == {"stale"}
            render(name, planned, runs, QUICK, tmp_path, selection)
        write_report(QUICK, tmp_path, runs, reuse_stale=True)
    assert "2|SASRec||beauty|NDCG@10" in (tmp_path / "report" / "tables.html").read_text("utf-8")
    assert set(reads.counts.values()) == {1}
    assert len(reads.counts) > 100
