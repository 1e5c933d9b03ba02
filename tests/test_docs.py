"""The tutorial does what it says: its files, written beside a copy of the packages, work."""

import re
import shutil

import pandas as pd
import pytest

from benchmark.data.meta import default_root
from tests.commands import ROOT, python

BLOCK = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the packages with the tutorial's files added; what is compiled goes along."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("findrec", "baselines", "benchmark", "tests"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    blocks = BLOCK.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    assert len(blocks) == 3
    for path, text in blocks:
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def _run(folder, *arguments):
    data = str(default_root().resolve())
    done = python(folder, *arguments, PYTHONPATH=str(folder), FINDREC_DATA=data)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tutorials_model_keeps_the_contract(house):
    assert "passed" in _run(house, "pytest", "tests/baselines/test_average.py")


def test_the_tutorials_model_is_a_row_of_table_2(house):
    _run(
        house,
        "benchmark",
        "table2",
        *("--profile", "smoke", "--models", "Average,Popularity", "--datasets", "beauty"),
    )
    cells = pd.read_csv(house / "results" / "smoke" / "tables" / "table2.csv")
    ours = cells[(cells["row"] == "Average") & (cells["metric"] == "NDCG@10")]
    assert ours["protocol"].tolist() == ["kept", "left out"]
    assert ours["n"].tolist() == [2, 2]
    assert ours["mean"].between(0, 1).all()
