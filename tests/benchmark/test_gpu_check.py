"""gpu-check: what it finds out, how it keeps its time, and what it says. Its parts run on a CPU."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import InputError
from benchmark.gpu_check import speed
from benchmark.gpu_check.correct import (
    draws_agree,
    mamba_agrees,
    scan_backends_agree,
    training_agrees,
)
from benchmark.gpu_check.page import page
from benchmark.gpu_check.parts import Clock, Part, Report, Setting, run_parts
from benchmark.gpu_check.run import FIRST, all_parts, facts
from benchmark.gpu_check.speed import bandwidth, kernels, precisions, scan_floor, step_speed
from benchmark.gpu_check.workload import SHAPES, trained_rows, windows
from findrec.ops import scan

CPU = torch.device("cpu")
ABOUT = {"device": "a card", "code": "0123456789abcdef", "packages": {"torch": "2"}}


def setting(minutes=10.0) -> Setting:
    return Setting(CPU, Clock(60 * minutes), small=True)


# ---- what it finds out -------------------------------------------------------------------------


def test_right_backends_pass():
    found = scan_backends_agree(setting())
    assert found["ok"]
    assert set(found["deviation"]) == {"cpu, float32", "reference, float32"}


@pytest.mark.parametrize("where", ["output", "gradient"])
def test_a_wrong_backend_is_found(monkeypatch, where):
    """By a share of a thousandth in the last position, of the output or of a gradient alone."""

    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.001 if where == "output" else x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * 1.001 if where == "gradient" else grad

    wrong = scan.Backend(lambda u, *rest: Off.apply(scan.reference(u, *rest)), ("cpu",))
    monkeypatch.setitem(scan._BACKENDS, "cpu", wrong)
    assert not scan_backends_agree(setting())["ok"]


def test_a_backend_that_raises_is_not_right(monkeypatch):
    def broken(*_):
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(scan._BACKENDS, "cpu", scan.Backend(broken, ("cpu",)))
    found = scan_backends_agree(setting())
    assert not found["ok"]
    assert found["deviation"]["cpu, float32"] == "RuntimeError: no kernel image"


def test_draws_and_mamba():
    assert draws_agree(setting())["ok"]
    assert "skipped" in mamba_agrees(setting())


def test_training_is_compared_between_devices_and_stacks():
    found = training_agrees("SASRec", setting())
    assert found["ok"]
    assert set(found["deviation"]) == {"op by op", "graph", "graph of a stack"}


def test_a_row_that_trains_otherwise_in_a_stack_is_found(monkeypatch):
    """A stack whose seeds are drawn with another step's keys."""
    from benchmark.train.graph import FixedStep

    compute = FixedStep.compute

    def other_keys(self, cut):
        if len(self.seeds) > 1:
            self.seeds = self.seeds + 1
        compute(self, cut)

    monkeypatch.setattr(FixedStep, "compute", other_keys)
    found = training_agrees("SASRec", setting())
    assert not found["ok"]
    assert found["deviation"]["graph"] == 0


def test_steps_kernels_and_precisions_are_measured(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS_A_TIMING", 0.05)
    found = step_speed("SASRec", "beauty", setting())
    assert found["1 seed"]["op by op, ms"] > 0
    assert found["2 seeds"]["op by op, ms"] > 0
    largest = kernels("SASRec", "beauty", 1, setting())
    shares = [kernel["share"] for kernel in largest["largest"]]
    assert len(shares) == 10
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    assert bandwidth(setting())["GB a second"] > 0
    assert set(precisions("SASRec", "beauty", setting())) == {"fp32", "tf32", "bf16"}


@pytest.mark.parametrize(
    ("call", "megabytes"),
    [
        ((256, 50, 128, 16), (27.9, 49.2)),
        ((256, 50, 1_024, 16), (211.4, 370.4)),
        ((256, 100, 1_024, 16), (422.8, 740.7)),
        ((256, 50, 128, 32), (29.5, 52.5)),
    ],
)
def test_floors_are_those_of_the_documentation(call, megabytes):
    """Rounded to 0.1 MB there."""
    assert [round(size / 1e6, 1) for size in scan_floor(*call)] == list(megabytes)


@pytest.mark.parametrize("name", SHAPES)
def test_synthetic_lengths_are_those_of_the_dataset(name):
    """Quantiles of 1,859 or 4,425 draws: within 3 positions, or 4 where they lie far apart."""
    shape = SHAPES[name]
    drawn = windows(shape, max(shape.lengths))
    lengths = (drawn.items > 0).sum(1) - 1
    assert drawn.items.max() <= shape.items
    grid = np.quantile(lengths, np.linspace(0, 1, len(shape.lengths)))
    gaps = np.maximum(np.diff(shape.lengths, prepend=shape.lengths[0]), 3)
    assert (np.abs(grid - shape.lengths) <= gaps).all()


def test_every_trained_row_is_checked_and_measured():
    names = [part.name for part in all_parts()]
    assert len(set(names)) == len(names)
    assert set(FIRST) < set(trained_rows())
    assert len(trained_rows()) == 12
    for row in trained_rows():
        assert f"training of {row}: device, graph, stack" in names
        assert {f"steps of {row} on {dataset}" for dataset in SHAPES} <= set(names)


# ---- how it keeps its time ---------------------------------------------------------------------


def part(name, seconds=0.0, run=lambda _: {"ok": True}) -> Part:
    return Part(name, seconds, run)


def test_parts_that_would_take_too_long_are_left_out(tmp_path):
    said = []
    parts = [part("short"), part("long", seconds=60), part("short too")]
    report = Report(tmp_path / "a.json", ABOUT)
    left_out = run_parts(parts, report, setting(minutes=0.5), say=said.append)
    assert left_out == ["long"]
    assert list(report.parts) == ["short", "short too"]
    assert [line.partition(" (")[0] for line in said] == ["short", "short too"]


def test_a_check_that_is_cut_off_goes_on_where_it_was(tmp_path):
    """Nothing is run twice but what failed."""
    runs = []

    def noting(name, fails=False, cut=False):
        def run(_):
            runs.append(name)
            if cut and runs.count(name) == 1:
                raise KeyboardInterrupt
            if fails and runs.count(name) == 1:
                raise RuntimeError("a bad moment")
            return {"ok": True}

        return Part(name, 0, run)

    path = tmp_path / "a.json"
    parts = [noting("a"), noting("b", fails=True), noting("c", cut=True), noting("d")]
    with pytest.raises(KeyboardInterrupt):
        run_parts(parts, Report.at(path, ABOUT), setting(), say=lambda _: None)
    kept = Report.at(path, ABOUT)
    assert list(kept.parts) == ["a", "b"]
    assert kept.parts["b"]["error"] == "RuntimeError: a bad moment"
    run_parts(parts, kept, setting(), say=lambda _: None)
    assert runs == ["a", "b", "c", "b", "c", "d"]
    assert all("error" not in result for result in json.loads(path.read_text())["parts"].values())


def test_another_device_or_code_begins_anew(tmp_path):
    path = tmp_path / "a.json"
    Report(path, ABOUT).keep("a", {"ok": True})
    assert Report.at(path, ABOUT).parts
    assert not Report.at(path, ABOUT | {"code": "other"}).parts
    path.write_text('{"something": "else"}')
    with pytest.raises(InputError, match="is no report of gpu-check; delete or move it"):
        Report.at(path, ABOUT)


# ---- what it says --------------------------------------------------------------------------------


def steps(one, stack, *, multimodal=False, eager=10.0):
    return {
        "multimodal": multimodal,
        "budget, steps": 4_000,
        "1 seed": {"op by op, ms": eager, "captured, ms": one, "execution": "CUDA graph"},
        "10 seeds": {"op by op, ms": eager, "captured, ms": stack, "execution": "CUDA graph"},
    }


def target(text, words):
    (line,) = [line for line in text.splitlines() if line.startswith("|") and words in line]
    return line.split(" | ")


def test_the_page_holds_figures_against_the_targets(tmp_path):
    """By hand: stacks cost 1.4 and 1.6 times one seed; 2 ms x 4,000 steps are 0.1 minutes."""
    call = {"forward, ms": 0.1, "both, ms": 0.5, "times the floors": 2.5}
    parts = {
        "scan backends against float64": {"ok": False, "deviation": {"triton, float32": 0.2}},
        "steps of SASRec on beauty": steps(1.0, 1.4),
        "steps of GRU4Rec on beauty": steps(5.0, 8.0),
        "steps of FindRec on beauty": steps(3.0, 8.0, multimodal=True),
        "scan": {"calls": {"x: triton": call, "x: mamba_ssm": call | {"both, ms": 0.6}}},
        "steps of NOVA on beauty": {"error": "OutOfMemoryError: too large"},
    }
    text = page(Report(tmp_path / "a.json", ABOUT, parts), 10)
    assert text.startswith("# GPU check: a card\n")
    _, found, verdict = target(text, "at most 1.5 times one, ID rows")
    assert found == "1 of 2; worst 1.60 (GRU4Rec on beauty)"
    assert verdict.startswith("MISSED")
    assert target(text, "at most 3 times one, multimodal rows")[-1].startswith("met")
    assert target(text, "a captured step at least 3")[1].startswith("2 of 3; worst 2.00 (GRU4Rec")
    assert target(text, "not slower than mamba-ssm")[1:] == ["1 of 1; worst 2.50 times", "met |"]
    assert target(text, "Table 2 on ML-100k")[1:] == ["1.2 minutes for 3 of 24", "not measured |"]
    assert "| scan backends against float64 | WRONG | triton, float32 2.0e-01 |" in text
    assert "| steps of NOVA on beauty | failed | OutOfMemoryError: too large |" in text


def test_a_page_without_figures_claims_nothing(tmp_path):
    text = page(Report(tmp_path / "a.json", ABOUT), 10)
    assert text.count("not measured |") == 5
    assert "met |" not in text


def test_the_command_keeps_what_it_had_time_for(tmp_path):
    arguments = ["gpu-check", "--device", "cpu", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--minutes", "0.001"])
    assert result.exit_code == 0, result.output
    assert "the same command goes on with them" in result.output
    (written,) = tmp_path.iterdir()  # no part was run whose figures could be kept
    assert written.suffix == ".md"
    for minutes in ("0", "nan", "-1"):
        result = CliRunner().invoke(app, [*arguments, "--minutes", minutes])
        assert isinstance(result.exception, InputError)


def test_a_report_is_about_device_code_and_packages():
    about = facts(CPU)
    assert about["device"].startswith("cpu ")
    assert len(about["code"]) == 64
    assert about["packages"]["torch"] == torch.__version__
