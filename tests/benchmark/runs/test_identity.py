"""What makes a run stale, and what does not: mutations of everything that could move a rank."""

import importlib
import shutil
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.runs.code import ROOT, code_of
from benchmark.runs.identity import config_hash, hashes, identity, why_stale
from benchmark.runs.imports import ImportWatch
from tests.benchmark.results import HASHES, make_record, make_spec

SASREC = "baselines.sasrec:SASRec"
FINDREC = "findrec.model:FindRec"
CONTROL = "baselines.controls:EASE"


# ---- mutations of this repository's own files ---------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages' sources."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("findrec", "baselines", "benchmark", "rankaudit"):
        for path in (ROOT / package).rglob("*.py"):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder


def code_hash(implementation: str, root: Path) -> str:
    return code_of(implementation, roots=[root]).hash


def changed(root: Path, implementation: str, name: str, old: str, new: str) -> bool:
    """Whether an edit of one file changes the code hash of a model; the edit is undone."""
    path = root / name
    source = path.read_text(encoding="utf-8")
    assert old in source, f"{name} no longer holds {old!r}: choose another mutation"
    before = code_hash(implementation, root)
    path.write_text(source.replace(old, new, 1), encoding="utf-8")
    try:
        return code_hash(implementation, root) != before
    finally:
        path.write_text(source, encoding="utf-8")


MOVES_A_RANK = [
    (
        "the permutation of the feature control",
        SASREC,
        "benchmark/feature_controls.py",
        "20250803",
        "1",
    ),
    (
        "a control fitted on the test history",
        CONTROL,
        "benchmark/core.py",
        "control.fit(sequences.histories.items, sequences.histories.offsets,",
        "control.fit(sequences.test.seen_items, sequences.test.seen_offsets,",
    ),
    (
        "what a method is fed",
        SASREC,
        "benchmark/feature_controls.py",
        '"text" in spec.modalities',
        "True",
    ),
    ("a control's formula", CONTROL, "baselines/controls.py", "np.", "np.core."),
    ("the split", SASREC, "benchmark/data/splits.py", "length - 3, 1,", "length - 3, 2,"),
    ("training windows", SASREC, "benchmark/data/sequences.py", "index * stride", "index"),
    ("attributes", SASREC, "benchmark/data/content.py", 'split("|")', 'split(";")'),
    ("the order of batches", SASREC, "benchmark/train/order.py", "[self.seed, epoch]", "epoch"),
    ("the objective", SASREC, "benchmark/train/objectives.py", "(targets > 0)", "(targets >= 0)"),
    ("the schedule", SASREC, "benchmark/train/schedule.py", "math.pi", "3.1"),
    (
        "the step",
        SASREC,
        "benchmark/train/step.py",
        "recommendation + sum(weighted)",
        "recommendation",
    ),
    ("selection", SASREC, "benchmark/train/engine.py", '"NDCG@10"', '"HR@10"'),
    ("the stack", SASREC, "benchmark/train/stack.py", 'device.type != "cpu"', "True"),
    ("the metric that selects", SASREC, "benchmark/evaluate/metrics.py", "np.log2", "np.log"),
    (
        "the comparison of scores",
        SASREC,
        "benchmark/evaluate/ranking.py",
        "scores > target",
        "scores >= target",
    ),
    ("defaults of the training", SASREC, "benchmark/runs/spec.py", "(0.01, ge=0", "(0.02, ge=0"),
    ("the cross-entropy", SASREC, "findrec/ops/loss.py", "logits.amax(-1)", "logits.amin(-1)"),
    ("random draws", SASREC, "findrec/ops/random.py", "0x7FEB352D", "0x7FEB352F"),
    ("a compiled kernel", SASREC, "findrec/ops/loops_cpu.py", "0.0096180569", "0.0096180570"),
    ("a layer", SASREC, "findrec/layers.py", "std", "mean"),
    ("the model", SASREC, "baselines/sasrec.py", "class SASRec(", "class SASRec(object, "),
    ("its helper", SASREC, "baselines/transformer.py", "1e-12", "1e-6"),
    ("the scan, of a row that scans", FINDREC, "findrec/ops/scan.py", "torch.exp", "torch.exp2"),
    ("what a package does on import", SASREC, "findrec/__init__.py", "__all__", "x = 1\n__all__"),
]
MOVES_NONE = [
    ("a docstring", SASREC, "baselines/sasrec.py", '"""', '"""Reworded. '),
    ("a comment", SASREC, "benchmark/train/engine.py", "\n\n\n", "\n\n# said otherwise\n\n"),
    ("line breaks", SASREC, "baselines/sasrec.py", "(config, catalogue)", "(\nconfig, catalogue)"),
    ("a renderer", SASREC, "benchmark/render/document.py", '"†"', '"+"'),
    ("rules of inference", SASREC, "benchmark/analyse/rules.py", "0.05", "0.01"),
    ("the store", SASREC, "benchmark/runs/store.py", '".lock"', '".locked"'),
    ("records", SASREC, "benchmark/runs/schema.py", "SCHEMA_VERSION = 7", "SCHEMA_VERSION = 8"),
    ("checkpoints", SASREC, "benchmark/runs/checkpoint.py", "30.0", "60.0"),
    ("reading data", SASREC, "benchmark/data/readers.py", '"timestamp"', '"time"'),
    ("the launcher", SASREC, "benchmark/launch/local.py", "_TICK = 0.5", "_TICK = 0.7"),
    ("the loading around the core", SASREC, "benchmark/run.py", "[:16]", "[:12]"),
    ("the wording of errors", SASREC, "rankaudit/errors.py", "did you mean", "perhaps"),
    ("another model", SASREC, "baselines/nova.py", "gating", "gate"),
    ("the scan, of a row without", SASREC, "findrec/ops/scan.py", "torch.exp", "torch.exp2"),
    ("a model that a package exports", SASREC, "findrec/released.py", "0.1", "0.2"),
    ("an export", SASREC, "findrec/__init__.py", '"FindRec",', '"FindRec",\n    "Attribute",'),
]


@pytest.mark.parametrize("case", MOVES_A_RANK, ids=lambda case: case[0])
def test_edits_that_can_move_a_rank_change_the_identity(copy, case):
    assert changed(copy, *case[1:])


@pytest.mark.parametrize("case", MOVES_NONE, ids=lambda case: case[0])
def test_edits_that_move_none_leave_it(copy, case):
    assert not changed(copy, *case[1:])


def test_this_repository_has_a_hash_that_lists_its_files():
    code = code_of(FINDREC)
    assert len(code.hash) == 64
    assert {"benchmark/core.py", "findrec/model.py", "findrec/ops/scan.py"} <= set(code.files)
    assert not any(name.startswith(("rankaudit/", "benchmark/render/")) for name in code.files)


# ---- what a closure follows ---------------------------------------------------------------------

MODEL = "mine.toy:Toy"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small house: a core, a user's model with helpers, and a package that exports names."""
    files = {
        "benchmark/core.py": "from findrec.ops.loss import loss\n",
        "findrec/__init__.py": "from findrec.base import Base\nfrom findrec.big import Big\n",
        "findrec/base.py": "class Base: pass\n",
        "findrec/big.py": "class Big: pass\n",
        "findrec/ops/loss.py": 'def loss(x):\n    """Doc."""\n    return 2 * x  # twice\n',
        "mine/__init__.py": "",
        "mine/toy.py": "import torch\nfrom findrec import Base\nfrom . import mixing\n"
        "class Toy(Base): pass\n",
        "mine/mixing.py": "def mix():\n    from .deep.layers import LAYER\n    return LAYER\n",
        "mine/deep/layers.py": "LAYER = 1\n",
        "mine/other.py": "class Other: pass\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("findrec/ops/loss.py", "2 * x", "3 * x"),
        ("findrec/ops/loss.py", "loss(x)", "loss(x, /)"),
        ("findrec/base.py", "pass", "x = 1"),
        ("mine/toy.py", "pass", "x = None"),
        ("mine/mixing.py", "import LAYER", "import LAYER as L"),
        ("mine/deep/layers.py", "1", "2"),
    ],
)
def test_helpers_wherever_they_lie_count(tree, name, old, new):
    assert changed(tree, MODEL, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("findrec/ops/loss.py", "Doc.", "Another text."),
        ("findrec/ops/loss.py", "# twice", "# two times"),
        ("findrec/ops/loss.py", "2 * x", "(2\n            * x)"),
        ("findrec/big.py", "pass", "x = 1"),
        ("mine/other.py", "pass", "x = 1"),
    ],
)
def test_what_is_not_imported_does_not(tree, name, old, new):
    assert not changed(tree, MODEL, name, old, new)


def test_new_and_moved_files_count(tree):
    before = code_hash(MODEL, tree)
    (tree / "mine/new.py").write_text("")
    assert code_hash(MODEL, tree) == before, "nothing imports it yet"
    toy = (tree / "mine/toy.py").read_text()
    (tree / "mine/toy.py").write_text(f"{toy}from . import new\n")
    added = code_hash(MODEL, tree)
    (tree / "mine/new.py").rename(tree / "mine/newer.py")
    assert len({before, added, code_hash(MODEL, tree)}) == 3


def test_imports_for_type_checkers_do_not_count(tree):
    toy = (tree / "mine/toy.py").read_text()
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mine import other\n"
    (tree / "mine/toy.py").write_text(guarded + toy)
    assert not changed(tree, MODEL, "mine/other.py", "pass", "x = 1")


def test_a_module_named_to_import_module_counts(tree):
    toy = (tree / "mine/toy.py").read_text()
    called = "import importlib\nother = importlib.import_module('mine.other')\n"
    (tree / "mine/toy.py").write_text(called + toy)
    assert changed(tree, MODEL, "mine/other.py", "pass", "x = 1")


def test_keyword_expansion_is_not_lost(tree):
    """A field of None inside a list has meaning: {**a, 'b': c} is not {'b': a, **c}."""
    (tree / "findrec/ops/loss.py").write_text("def loss(a, c):\n    return {**a, 'b': c}\n")
    assert changed(tree, MODEL, "findrec/ops/loss.py", "{**a, 'b': c}", "{'b': a, **c}")


def test_hash_is_the_same_in_every_python(tree):
    """A golden value, the same on Python 3.11, 3.12 and 3.13: what a version adds to its syntax
    trees must not make every stored run stale."""
    source = (
        'def f(a: int, *b, c=1.5, **d) -> str:\n    """Doc."""\n'
        "    with open(a) as g, h:\n        return f'{a!r:>{c}} {b}' if not d else None\n"
    )
    (tree / "mine/toy.py").write_text(source)
    (tree / "benchmark/core.py").write_text("")
    assert code_of(MODEL, roots=[tree]).files["mine/toy.py"] == "91b55139947bf747"


def test_missing_model_and_broken_source_are_named(tree):
    with pytest.raises(InputError, match=r"mine\.absent"):
        code_hash("mine.absent:Absent", tree)
    (tree / "findrec/ops/loss.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(InputError, match=r"loss\.py, line 2: not valid Python"):
        code_hash(MODEL, tree)


# ---- what was really imported -------------------------------------------------------------------


def used(tree: Path, monkeypatch: pytest.MonkeyPatch, toy: str) -> list[str]:
    """What a run of the user's model is found to use beyond its closure. The model's package is
    loaded beforehand, as in a worker that has run it before."""
    (tree / "users/__init__.py").parent.mkdir()
    (tree / "users/__init__.py").write_text("from users import exported\n")
    (tree / "users/exported.py").write_text("")
    (tree / "users/hidden.py").write_text("class Hidden: pass\n")
    (tree / "users/model.py").write_text(toy)
    monkeypatch.syspath_prepend(str(tree))
    for name in [name for name in sys.modules if name.partition(".")[0] == "users"]:
        monkeypatch.delitem(sys.modules, name)
    model: Any = importlib.import_module("users.model")
    with ImportWatch(code_of("users.model:Toy")) as watch:
        model.Toy()
        return watch.missing()


@pytest.mark.parametrize(
    "toy",
    [
        "import importlib\nname = 'users.' + 'hidden'\n"
        "class Toy:\n    def __init__(self): importlib.import_module(name)\n",
        "class Toy:\n    def __init__(self): exec('import users.hidden')\n",
        "class Toy:\n    def __init__(self): exec('from users.hidden import Hidden')\n",
        "import importlib\nHidden = importlib.import_module('users.' + 'hidden').Hidden\n"
        "class Toy: pass\n",
    ],
    ids=["import_module when built", "exec", "exec from", "import_module at the top"],
)
def test_an_import_that_the_closure_cannot_see_is_found(tree, monkeypatch, toy):
    (found,) = used(tree, monkeypatch, toy)
    assert found.startswith("users.model uses users.hidden (")


@pytest.mark.parametrize(
    "toy",
    [
        "class Toy:\n    def __init__(self):\n        from users import hidden\n",
        "from users.hidden import Hidden\nclass Toy: pass\n",
        "import json\nimport users\nclass Toy: pass\n",
    ],
)
def test_plain_imports_are_in_the_closure(tree, monkeypatch, toy):
    assert used(tree, monkeypatch, toy) == []


# ---- settings and messages ----------------------------------------------------------------------


def test_names_do_not_matter_but_settings_do():
    base = config_hash(make_spec(config={"layers": 2}, training={"lr": 1e-3}))
    same = make_spec(
        "Other name",
        variant="layers=2",
        profile="paper",
        config={"layers": 2},
        training={"lr": 0.001},
    )
    assert config_hash(same) == base
    for fields in (
        {"config": {"layers": 3}},
        {"training": {"lr": 2e-3}},
        {"protocol": {"stride": 10}},
        {"dataset": "other"},
        {"implementation": "baselines.other:Other"},
        {"modalities": ("text",)},
    ):
        spec = make_spec(**({"config": {"layers": 2}, "training": {"lr": 1e-3}} | fields))
        assert config_hash(spec) != base, fields


def test_identity_depends_on_every_part_and_the_seed():
    names = {identity(HASHES, 0), identity(HASHES, 1)}
    names |= {identity(HASHES.model_copy(update={p: "x"}), 0) for p in ("config", "code", "data")}
    assert len(names) == 5


def test_hashes_of_a_spec(tree):
    spec = make_spec(implementation=MODEL)
    parts = hashes(spec, "data hash", code=partial(code_of, roots=[tree]))
    code = code_of(MODEL, roots=[tree])
    assert (parts.config, parts.code, parts.data) == (config_hash(spec), code.hash, "data hash")
    assert parts.files == code.files
    assert parts.differing(parts) == ()


def test_code_that_is_at_hand_is_not_read_again(tree):
    code = cache(partial(code_of, roots=[tree]))
    specs = [make_spec(implementation=MODEL, training={"lr": lr}) for lr in (1e-3, 2e-3)]
    first, second = (hashes(spec, "data", code=code) for spec in specs)
    assert code.cache_info().misses == 1
    assert first.code == second.code == code_of(MODEL, roots=[tree]).hash
    assert first.config != second.config


def test_a_stale_run_names_settings_and_files_that_changed(tree):
    old = make_spec(implementation=MODEL, training={"lr": 1e-3}, config={"layers": 2})
    code = partial(code_of, roots=[tree])
    record = make_record(old, 0, hashes=hashes(old, "data", code=code))
    assert why_stale(record, hashes(old, "data", code=code)) == ""
    new = make_spec(implementation=MODEL, training={"lr": 2e-3}, config={"heads": 1})
    (tree / "mine/deep/layers.py").write_text("LAYER = 2\n")
    (tree / "mine/mixing.py").write_text("from . import other\nfrom .deep.layers import LAYER\n")
    reason = why_stale(record, hashes(new, "other data", code=code))
    assert "config.layers 2, now unset" in reason
    assert "training.lr 0.001, now 0.002" in reason
    assert "mine/deep/layers.py, mine/mixing.py, mine/other.py (new)" in reason
    assert "other data (bundle toy)" in reason
