"""Planted faults: each is caught by something that CI runs (docs/regression.md has the table).

A fault is a change of the source in a copy of the checkout. Its guard is run there as CI runs it:
`golden` for some rows, or a test file. Golden curves are compared as on another machine, within
their tolerances, so that what is shown here holds wherever the tests run; a fault that only equal
versions can show is compared with curves that the unchanged copy has made.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass

import pytest

from tests.commands import ROOT, python

COPIED = ("findrec", "baselines", "benchmark", "rankaudit", "tests", "results/reference")
PLACE = re.compile(r"\$(\d)")


@dataclass(frozen=True)
class Fault:
    """A change of the source, and what has to notice it."""

    name: str
    folder: str
    """Where its line stands; one match in all files of the folder."""
    pattern: str
    replacement: str
    guard: tuple[str, ...]
    """A row and a dataset, for golden curves, or a test file and a part of the tests' names."""


FAULTS = [
    Fault(
        "learning rate halved",
        "benchmark/train",
        r"return training\.lr \* torch\.minimum",
        "return 0.5 * training.lr * torch.minimum",
        ("SASRec", "beauty"),
    ),
    Fault(
        "warm-up left out",
        "benchmark/train",
        r"\(\(step \+ 1\) / warmup\)\.clamp\(max=1\) if warmup else torch\.ones_like\(step\)",
        "torch.ones_like(step)",
        ("SASRec", "beauty"),
    ),
    Fault(
        "weight decay off",
        "benchmark/train",
        r"weight_decay=(self\.)?training\.weight_decay",
        "weight_decay=0.0",
        ("SASRec", "beauty"),
    ),
    Fault(
        "gradient clipping off",
        "benchmark/train",
        r"grad\.mul_\(scale\.view.*\)$",
        "pass",
        ("UniSRec", "beauty"),
    ),
    Fault(
        "skip term of the scan gone",
        "findrec/ops",
        r"y_t\[i\] = skip\[seed, i\] \* u_t\[i\]",
        "y_t[i] = zero",
        ("Mamba4Rec", "beauty"),
    ),
    Fault(
        "dropout not scaled",
        "findrec/ops",
        r"1 / \(1 - p\), _threshold\(p\)",
        "1.0, _threshold(p)",
        ("SASRec", "beauty"),
    ),
    Fault(
        "cross-attention looks ahead",
        "findrec",
        r"batch\.valid, causal=True\)  # A",
        "batch.valid, causal=False)  # A",
        ("FindRec", "ml-100k"),
    ),
    Fault(
        "target is the input itself",
        "benchmark/train",
        r"(def _causal(?:.|\n)*?= windows\[\.\.\., :-1\], windows\[\.\.\.,) 1:\]",
        r"\1 :-1]",
        ("SASRec", "beauty"),
    ),
    Fault(
        "padding is scored",
        "benchmark/train",
        r"counts = \(targets > 0\) &",
        "counts = (targets >= 0) &",
        ("SASRec", "beauty"),
    ),
    Fault(
        "mask probability of cloze turned round",
        "benchmark/train",
        r"draws < config\.mask_probability",
        "draws >= config.mask_probability",
        ("BERT4Rec", "ml-100k"),
    ),
    Fault(
        "history holds the tested item",
        "benchmark/data",
        r"first \+ oldest, before - oldest, L",
        "first + oldest, before - oldest + 1, L",
        ("tests/benchmark/data/test_sequences.py", "queries"),
    ),
    Fault(
        "ties count as won",
        "benchmark/evaluate",
        r"torch\.count_nonzero\(scores == target, dim=2\) - 1",
        "torch.zeros_like(above)",
        ("tests/benchmark/evaluate/test_ranking.py", ""),
    ),
    Fault(
        "items scored by their neighbours' rows",
        "benchmark/train",
        r"table\[0\]\.T",
        "table[0].roll(1, 0).T",
        ("tests/benchmark/train/test_scoring.py", ""),
    ),
    Fault(
        "the rate does not fall",
        "benchmark/train",
        r"torch\.minimum\(rise, fall\)",
        "rise",
        ("tests/benchmark/train/test_schedule.py", ""),
    ),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what the guards need, its golden curves made as if on another machine. Times of
    files are kept, so that what numba has compiled stays valid."""
    folder = tmp_path_factory.mktemp("planted")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    path = folder / "results" / "reference" / "golden.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held["made_with"]["cpu"] = "another"
    path.write_text(json.dumps(held), encoding="utf-8")
    return folder


def run_guard(folder, guard):
    """Whether the guard passes in the copy, and what it says."""
    if guard[0].endswith(".py"):
        command = ["pytest", "-x", "-q", "-p", "no:cacheprovider", guard[0], "-k", guard[1]]
    else:
        command = ["benchmark", "golden", "--models", guard[0], "--datasets", guard[1]]
    data = os.environ.get("FINDREC_DATA", str(ROOT / "data"))
    done = python(folder, *command, PYTHONPATH=str(folder), FINDREC_DATA=data, COLUMNS="200")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0, done.stdout + done.stderr


def plant(folder, fault):
    """Change the one place that the pattern matches; returns its file and what stood there."""
    hits = []
    for path in sorted((folder / fault.folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        changed, count = re.subn(fault.pattern, fault.replacement, text, flags=re.MULTILINE)
        hits += [(path, text, changed)] * count
    assert len(hits) == 1, f"{fault.name}: {len(hits)} places match {fault.pattern!r}"
    path, text, changed = hits[0]
    path.write_text(changed, encoding="utf-8")
    return path, text


@pytest.mark.slow
@pytest.mark.parametrize("guard", sorted({fault.guard for fault in FAULTS}), ids=" ".join)
def test_guards_pass_where_nothing_is_planted(copy, guard):
    passes, said = run_guard(copy, guard)
    assert passes, said


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_caught(copy, fault):
    path, text = plant(copy, fault)
    try:
        passes, said = run_guard(copy, fault.guard)
    finally:
        path.write_text(text, encoding="utf-8")
    assert not passes, said


def test_every_fault_stands_in_the_table():
    page = (ROOT / "docs" / "regression.md").read_text(encoding="utf-8")
    assert [fault.name for fault in FAULTS if f"| {fault.name} |" not in page] == []
