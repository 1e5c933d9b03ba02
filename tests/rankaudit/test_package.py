"""The package stands alone: what it imports, and files that are whole or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rankaudit.errors import InputError
from rankaudit.files import write_text


def test_it_imports_neither_torch_nor_the_harness() -> None:
    """In a fresh interpreter, every module of the package."""
    names = sorted(p.stem for p in Path(__file__).parents[2].glob("rankaudit/*.py"))
    modules = ", ".join(f"rankaudit.{name}" for name in names if not name.startswith("__"))
    script = (
        f"import sys, rankaudit, rankaudit.__main__, {modules}\n"
        "heavy = {'torch', 'numba', 'yaml', 'benchmark', 'findrec', 'baselines'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_file_where_a_folder_is_needed_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"a file stands where a folder is needed.*--out"):
        write_text(tmp_path / "out" / "audit.md", "x", "choose another folder (option --out)")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
