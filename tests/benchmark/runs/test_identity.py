"""What makes a run stale, and what does not."""

import shutil
from pathlib import Path

import pytest

from benchmark.errors import InputError
from benchmark.runs.identity import ROOT, code_hash, config_hash, hashes, identity
from tests.benchmark.results import HASHES, make_spec

MODEL = "baselines.toy:Toy"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small house: every hashed floor, a model with a helper, another model and a renderer."""
    files = {
        "findrec/ops/loss.py": 'def loss(x):\n    """Doc."""\n    return 2 * x  # twice\n',
        "benchmark/data/split.py": "LAST = -1\n",
        "benchmark/train/engine.py": 'class State:\n    step: int = 0\n    """Field doc."""\n',
        "benchmark/evaluate/ranking.py": "def rank(s):\n    return s > 0\n",
        "benchmark/render/tables/build.py": "WIDTH = 80\n",
        "benchmark/runs/store.py": "ROOT = 'runs'\n",
        "baselines/__init__.py": "",
        "baselines/toy.py": "import torch\nfrom baselines import mixing\nclass Toy: pass\n",
        "baselines/mixing.py": "from .deep.layers import LAYER\n",
        "baselines/deep/layers.py": "LAYER = 1\n",
        "baselines/other.py": "class Other: pass\n",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def changed(tree: Path, name: str, old: str, new: str) -> bool:
    """Whether the edit changes the code hash of the model."""
    before = code_hash(MODEL, root=tree)
    source = (tree / name).read_text()
    assert old in source
    (tree / name).write_text(source.replace(old, new))
    return code_hash(MODEL, root=tree) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("findrec/ops/loss.py", "Doc.", "Another text."),
        ("findrec/ops/loss.py", "# twice", "# two times"),
        ("findrec/ops/loss.py", "2 * x", "(2\n            * x)"),
        ("benchmark/train/engine.py", "Field doc.", "Reworded."),
        ("benchmark/render/tables/build.py", "80", "100"),
        ("benchmark/runs/store.py", "runs", "results"),
        ("baselines/other.py", "pass", "x = 1"),
    ],
)
def test_edits_that_change_no_rank(tree, name, old, new):
    assert not changed(tree, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("findrec/ops/loss.py", "2 * x", "3 * x"),
        ("findrec/ops/loss.py", "loss(x)", "loss(x, /)"),
        ("benchmark/data/split.py", "-1", "-2"),
        ("benchmark/train/engine.py", "= 0", "= 1"),
        ("benchmark/evaluate/ranking.py", ">", ">="),
        ("baselines/toy.py", "pass", "x = None"),
        ("baselines/mixing.py", "import LAYER", "import LAYER as L"),
        ("baselines/deep/layers.py", "1", "2"),
    ],
)
def test_edits_that_can_change_a_rank(tree, name, old, new):
    assert changed(tree, name, old, new)


def test_new_and_moved_files_count(tree):
    before = code_hash(MODEL, root=tree)
    (tree / "findrec/new.py").write_text("")
    added = code_hash(MODEL, root=tree)
    (tree / "findrec/new.py").rename(tree / "findrec/newer.py")
    assert len({before, added, code_hash(MODEL, root=tree)}) == 3


def test_keyword_expansion_is_not_lost(tree):
    """A field of None inside a list has meaning: {**a, 'b': c} is not {'b': a, **c}."""
    (tree / "findrec/d.py").write_text("def f(a, c):\n    return {**a, 'b': c}\n")
    assert changed(tree, "findrec/d.py", "{**a, 'b': c}", "{'b': a, **c}")


def test_hash_is_the_same_in_every_python(tree):
    """A golden value, the same on Python 3.11, 3.12 and 3.13: what a version adds to its syntax
    trees must not make every stored run stale."""
    for folder in ("benchmark/data", "benchmark/train", "benchmark/evaluate", "findrec"):
        shutil.rmtree(tree / folder)
    source = (
        'def f(a: int, *b, c=1.5, **d) -> str:\n    """Doc."""\n'
        "    with open(a) as g, h:\n        return f'{a!r:>{c}} {b}' if not d else None\n"
    )
    (tree / "baselines/toy.py").write_text(source)
    golden = "4784a39390fdef49e5a8134cfdca9b4d471650953742b99ef0eccfe17ce2ba5f"
    assert code_hash(MODEL, root=tree) == golden


def test_missing_model_and_broken_source_are_named(tree):
    with pytest.raises(InputError, match=r"baselines\.absent"):
        code_hash("baselines.absent:Absent", root=tree)
    (tree / "findrec/ops/loss.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(InputError, match=r"loss\.py, line 2: not valid Python"):
        code_hash(MODEL, root=tree)


def test_this_repository_has_a_hash():
    assert len(code_hash("findrec.recommender:Recommender", root=ROOT)) == 64


def test_config_hash_covers_settings_and_no_names():
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


def test_hashes_of_a_unit(tree):
    spec = make_spec(implementation=MODEL)
    parts = hashes(spec, "data hash", root=tree)
    assert (parts.config, parts.code, parts.data) == (
        config_hash(spec),
        code_hash(MODEL, root=tree),
        "data hash",
    )
