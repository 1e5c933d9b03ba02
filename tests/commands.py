"""Python in processes of its own, and commands as a user calls them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec,Popularity")


def python(place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m ...` in a folder, with variables added to the environment; the packages are this
    checkout's unless PYTHONPATH names others."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "140"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def call(place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of the benchmark."""
    return python(place, "benchmark", *arguments, **variables)
